"""Batches, token by token: with one token per byte, an off-by-one cannot hide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import VerifiedExample
from ml_backend.prompts import Prompt
from trainer.collate import IGNORED, Collator
from trainer.sequences import Sequenced, sequences

CODES = (Code("s", "S", "Ships.", "ab"), Code("t", "T", "Trains.", "abc"), Code("u", "U", "Grain.", "x"))
BOOK = Codebook("small", Kind.EXCLUSIVE, CODES)
SEVERAL = replace(BOOK, kind=Kind.MULTILABEL)
GRADED = replace(BOOK, kind=Kind.GRADED, levels=("low", "high"))
TEMPLATE = (
    "{% block system %}s{% endblock %}{% block user %}<{{ document }}>{% endblock %}"
    "{% block question %}{% if code %}{{ code.word }}?{% endif %}{% endblock %}"
)
CUE = "<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_llama)


def prompt_for(book: Codebook, tokenizer: Any, folder: Path) -> Prompt:
    (folder / "own.j2").write_text(TEMPLATE)
    return Prompt(str(folder / "own.j2"), book, tokenizer, max_document_tokens=3)


def example(text: str, *labels: str) -> VerifiedExample:
    return VerifiedExample("d", text, labels, ("coder",), False)


def read(tokenizer: Any, row: Sequenced) -> list[tuple[str, str]]:
    """Each question with the document before it, and its answer."""
    found = [([*row.document, *path[:start]], path[start:]) for path, start in row.paths]
    return [(str(tokenizer.decode(before)), str(tokenizer.decode(answer))) for before, answer in found]


def test_where_one_code_holds_its_word_is_learned(tokenizer: Any, tmp_path: Path) -> None:
    prompt = prompt_for(BOOK, tokenizer, tmp_path)
    rows = sequences([example("hi", "u"), example("none"), example("hello", "s"), example("?", "s", "t")], prompt)
    assert [read(tokenizer, row) for row in rows] == [
        [("hi>" + CUE, "x")],
        [("heo>" + CUE, "ab<|im_end|>")],
    ]


def test_where_several_may_hold_each_is_a_question(tokenizer: Any, tmp_path: Path) -> None:
    rows = sequences([example("hi", "u", "s"), example("no")], prompt_for(SEVERAL, tokenizer, tmp_path))
    assert [read(tokenizer, row) for row in rows] == [
        [(f"hi>\n{word}?{CUE}", answer) for word, answer in (("ab", "yes"), ("abc", "no"), ("x", "yes"))],
        [(f"no>\n{word}?{CUE}", "no") for word in ("ab", "abc", "x")],
    ]


def test_a_grade_is_the_answer_and_none_is_one(tokenizer: Any, tmp_path: Path) -> None:
    (row,) = sequences([example("hi", "t:high")], prompt_for(GRADED, tokenizer, tmp_path))
    assert [answer for _, answer in read(tokenizer, row)] == ["none", "high", "none"]


def test_every_token_of_a_batch_is_where_it_belongs() -> None:
    rows = [Sequenced((5, 6, 7), (((1, 8, 9), 1), ((1, 2, 4), 2)), (1, 1)), Sequenced((4,), (((1, 2), 1),), (1,))]
    batch = Collator(prefix=2)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 1, 8, 2], [4, 0, 0, 1, 0, 0]]
    assert batch["positions"].tolist() == [[2, 3, 4, 5, 6, 6], [2, 3, 4, 3, 6, 7]]
    assert batch["targets"].tolist() == [
        [IGNORED, IGNORED, IGNORED, 8, 9, 4],
        [IGNORED, IGNORED, IGNORED, 2, IGNORED, IGNORED],
    ]
    assert batch["allowed"].int().tolist()[0] == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 0, 1],
    ]
    assert batch["allowed"].int().tolist()[1][3] == [1, 1, 1, 0, 0, 1, 0, 0], "padding is not seen"


def test_what_is_learned_is_each_answer_once(tokenizer: Any, tmp_path: Path) -> None:
    prompt = prompt_for(SEVERAL, tokenizer, tmp_path)
    rows = sequences([example("hi", "s"), example("abcdefgh", "t", "u")], prompt)
    batch = Collator(len(prompt.prefix_ids))(rows)
    learned = [sorted(t for t in row.tolist() if t != IGNORED) for row in batch["targets"]]
    assert learned == [sorted(token for path, start in row.paths for token in path[start:]) for row in rows]
    assert batch["allowed"].dtype == torch.bool
