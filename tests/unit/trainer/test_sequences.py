"""Which questions a document is asked, and what each answer counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import VerifiedExample
from ml_backend.prompts import Prompt
from ml_backend.questions import questions
from ml_backend.training_config import Balance, Negatives
from trainer.sequences import FEWEST_OTHERS, Sequenced, asked_of, sequences

CODES = tuple(Code(f"c{n}", f"Code {n}", f"About {n}.", f"w{n}") for n in range(12))
SEVERAL = Codebook("several", Kind.MULTILABEL, CODES)
GRADED = replace(SEVERAL, kind=Kind.GRADED, levels=("low", "high"))
ONE = replace(SEVERAL, kind=Kind.EXCLUSIVE)
TEMPLATE = (
    "{% block system %}s{% endblock %}{% block user %}<{{ document }}>{% endblock %}"
    "{% block question %}{% if code %}{{ code.word }}?{% endif %}{% endblock %}"
)


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_llama)


def prompt_for(book: Codebook, tokenizer: Any, folder: Path) -> Prompt:
    (folder / "own.j2").write_text(TEMPLATE)
    return Prompt(str(folder / "own.j2"), book, tokenizer, max_document_tokens=8)


def example(name: str, labels: Sequence[str], rejected: Sequence[str] = (), weight: float = 1.0) -> VerifiedExample:
    return VerifiedExample(name, name, tuple(labels), ("c",), False, None, tuple(rejected), weight)


def asked(row: Sequenced, tokenizer: Any) -> dict[str, tuple[str, float]]:
    """By its code, each question's answer and what that counts."""
    found = {}
    for (path, start), weight in zip(row.paths, row.weights, strict=True):
        word = str(tokenizer.decode(path[:start])).partition("?")[0].rpartition("\n")[2]
        found[word] = (str(tokenizer.decode(path[start:])).removesuffix("<|im_end|>"), weight)
    return found


def test_all_questions_are_asked_where_all_negatives_are(tokenizer: Any, tmp_path: Path) -> None:
    prompt = prompt_for(SEVERAL, tokenizer, tmp_path)
    (row,) = sequences([example("d", ["c1"], ["c2"], weight=0.3)], prompt)
    assert asked(row, tokenizer) == {f"w{n}": ("yes" if n == 1 else "no", 0.3) for n in range(12)}


@pytest.mark.parametrize(("book", "mark", "yes"), [(SEVERAL, "", "yes"), (GRADED, ":high", "high")])
def test_hard_negatives_are_what_coders_struck_out_and_a_few_others(
    tokenizer: Any, tmp_path: Path, book: Codebook, mark: str, yes: str
) -> None:
    prompt = prompt_for(book, tokenizer, tmp_path)
    one = example("d", [f"c1{mark}"], [f"c2{mark}", f"c5{mark}"], weight=0.5)
    (row,) = sequences([one], prompt, negatives=Negatives.HARD, seed=3)
    found = asked(row, tokenizer)
    no = "none" if mark else "no"
    assert {word: found.pop(word) for word in ("w1", "w2", "w5")} == {
        "w1": (yes, 0.5),
        "w2": (no, 0.5),
        "w5": (no, 0.5),
    }
    # 4 of the 9 others, which stand for all of them.
    assert list(found.values()) == [(no, 0.5 * 9 / 4)] * FEWEST_OTHERS
    assert sequences([one], prompt, negatives=Negatives.HARD, seed=3) == [row]
    others = {tuple(asked(sequences([one], prompt, negatives=Negatives.HARD, seed=n)[0], tokenizer)) for n in range(9)}
    assert len(others) > 1, "the seed draws"


def test_a_level_that_was_struck_out_asks_about_its_code_once(tokenizer: Any, tmp_path: Path) -> None:
    one = example("d", ["c1:low"], ["c1:high"])
    (row,) = sequences([one], prompt_for(GRADED, tokenizer, tmp_path), negatives=Negatives.HARD)
    assert asked(row, tokenizer)["w1"] == ("low", 1.0)
    assert len(row.paths) == 1 + FEWEST_OTHERS


def test_as_many_others_are_drawn_as_were_answered_and_no_more_than_there_are() -> None:
    every = questions(SEVERAL, each_code=False)
    many = asked_of(example("d", [f"c{n}" for n in range(5)]), SEVERAL, every, "0 0")
    assert sorted(many.values()) == [1.0] * 5 + [7 / 5] * 5
    most = asked_of(example("d", [f"c{n}" for n in range(9)]), SEVERAL, every, "0 0")
    assert list(most.values()) == [1.0] * 12
    none = asked_of(example("d", []), SEVERAL, every, "0 0")
    assert list(none.values()) == [3.0] * 4


def test_the_expected_loss_is_that_of_all_questions() -> None:
    """Each other question counts, on average over documents, as it would if it were asked of each."""
    every = questions(SEVERAL, each_code=False)
    number = 3000
    total = [0.0] * 12
    for n in range(number):
        for question, weight in asked_of(example(f"d{n}", ["c0"], ["c1"]), SEVERAL, every, "7 0").items():
            total[question] += weight
    assert total[:2] == [number, number]
    assert [one / number for one in total[2:]] == pytest.approx([1.0] * 10, abs=0.08)


def test_where_one_code_holds_its_softmax_has_all_negatives(tokenizer: Any, tmp_path: Path) -> None:
    prompt = prompt_for(ONE, tokenizer, tmp_path)
    examples = [example("a", ["c1"], ["c2"]), example("b", []), example("c", ["c2", "c3"])]
    assert sequences(examples, prompt, negatives=Negatives.HARD) == sequences(examples, prompt)
    assert len(sequences(examples, prompt)) == 1


def test_balanced_weights_multiply_what_an_answer_counts(tokenizer: Any, tmp_path: Path) -> None:
    prompt = prompt_for(ONE, tokenizer, tmp_path)
    examples = [example(f"a{n}", ["c1"]) for n in range(3)] + [example("b", ["c2"])]
    rows = sequences(examples, prompt, balance=Balance.WEIGHTS)
    assert [row.weights for row in rows] == [pytest.approx((2 / 3,))] * 3 + [(2.0,)]
    silver = sequences([*examples[:3], replace(examples[3], weight=0.5)], prompt, balance=Balance.WEIGHTS)
    # n = 3.5, n_c = 0.5: 3.5 / (2 * 0.5) = 3.5, of which half counts.
    assert silver[3].weights == (pytest.approx(1.75),)


def test_balanced_weights_of_hard_negatives_count_what_these_stand_for(tokenizer: Any, tmp_path: Path) -> None:
    prompt = prompt_for(SEVERAL, tokenizer, tmp_path)
    examples = [example(f"d{n}", ["c1"] if n % 8 == 0 else []) for n in range(400)]
    every = sequences(examples, prompt, balance=Balance.WEIGHTS)
    hard = sequences(examples, prompt, negatives=Negatives.HARD, balance=Balance.WEIGHTS)
    yes_among_all, yes_among_few = (asked(rows[0], tokenizer)["w1"] for rows in (every, hard))
    assert yes_among_all == ("yes", pytest.approx(4.0))  # 400 / (2 * 50)
    assert yes_among_few == ("yes", pytest.approx(4.0, rel=0.25))


def test_sampling_repeats_documents_and_draws_their_negatives_anew(tokenizer: Any, tmp_path: Path) -> None:
    prompt = prompt_for(SEVERAL, tokenizer, tmp_path)
    examples = [example(f"d{n}", ["c1"]) for n in range(60)] + [example("rare", ["c2"])]
    rows = sequences(examples, prompt, negatives=Negatives.HARD, balance=Balance.SAMPLING, seed=1)
    rare = [row for row in rows if row.document == rows[-1].document]
    assert len(rows) == 60 + len(rare)
    assert len(rare) in (5, 6)  # sqrt(30.5)
    assert {tuple(sorted(row.weights)) for row in rare} == {(1.0, *[11 / 4] * 4)}
    assert len({tuple(asked(row, tokenizer)) for row in rare}) > 1
