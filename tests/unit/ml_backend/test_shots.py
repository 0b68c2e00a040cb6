"""Which examples a few-shot prompt shows: short and typical ones, or near ones; never the document's own answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import VerifiedExample
from ml_backend.devices import DeviceFacts
from ml_backend.embeddings import EmbeddingCache
from ml_backend.sentence_encoder import SentenceEncoder
from ml_backend.shots import CHARACTERS, Nearest, Shot, choose_per_code, shortened
from ml_backend.snapshot import publish_snapshot, read_examples
from ml_backend.templates import PromptTemplate, shows_examples
from trainer.demo.wheels import DemoFiles

CODES = tuple(Code(key, key.title(), f"All about {key}.", f"{key} word") for key in ("oil", "grain", "music"))
TOPICS = Codebook("topics", Kind.EXCLUSIVE, CODES)
EXAMPLES = [
    VerifiedExample(document_id, text, (code,), ("ann",), False)
    for document_id, code, text in [
        ("a", "oil", "Crude oil and petrol prices rose on the oil market."),
        ("b", "oil", "The oil minister likes a good song and wheat bread."),
        ("c", "oil", "Oil prices, crude oil prices and petrol prices fell. " * 20),
        ("d", "oil", "OPEC cut its oil output."),
        ("e", "grain", "The wheat harvest was poor."),
        ("f", "grain", "Maize and wheat were exported by sea."),
        ("g", "grain", "Farmers sow barley, maize and wheat."),
    ]
]


@pytest.fixture(scope="module")
def encoder(demo_files: DemoFiles, tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    cache = EmbeddingCache(tmp_path_factory.mktemp("embeddings"))
    return SentenceEncoder(str(demo_files.minilm), DeviceFacts("cpu", "cpu", 1 << 30, False), cache)


def texts(shots: list[Shot]) -> list[str]:
    return [shot.text for shot in shots]


# For every document the same


def test_without_an_encoder_the_shortest_of_each_code_are_shown() -> None:
    shots = choose_per_code(EXAMPLES, TOPICS, 1)
    assert shots == [Shot("OPEC cut its oil output.", ("oil word",)), Shot(EXAMPLES[4].text, ("grain word",))]
    assert len(choose_per_code(EXAMPLES, TOPICS, 2)) == 4
    assert len(choose_per_code(EXAMPLES, TOPICS, 10)) == 7, "all that there are"
    assert choose_per_code([], TOPICS, 3) == []


@pytest.mark.models
def test_with_an_encoder_those_nearest_to_the_codes_mean_are(encoder: SentenceEncoder) -> None:
    chosen = texts(choose_per_code(EXAMPLES, TOPICS, 2, encoder))
    assert chosen[0] == EXAMPLES[0].text
    assert EXAMPLES[1].text not in chosen
    assert len(chosen) == 4
    assert texts(choose_per_code(EXAMPLES[::-1], TOPICS, 2, encoder)) == chosen


@given(st.permutations(EXAMPLES), st.integers(1, 4))
def test_the_order_of_the_examples_does_not_matter(examples: list[VerifiedExample], number: int) -> None:
    assert choose_per_code(examples, TOPICS, number) == choose_per_code(EXAMPLES, TOPICS, number)


def test_an_example_of_several_codes_is_shown_once_with_all_its_words() -> None:
    multilabel = replace(TOPICS, kind=Kind.MULTILABEL)
    both = [replace(e, labels=("grain", "oil")) for e in EXAMPLES[:1]]
    shots = choose_per_code([*both, *EXAMPLES[4:5]], multilabel, 1)
    assert shots == [Shot(both[0].text, ("oil word", "grain word")), Shot(EXAMPLES[4].text, ("grain word",))]
    assert shots[0].label == "oil word, grain word"
    assert Shot("nothing of it", ()).label == "none"


def test_levels_are_words_of_a_label() -> None:
    graded = replace(TOPICS, kind=Kind.GRADED, levels=("low", "high"))
    examples = [replace(EXAMPLES[0], labels=("oil:high",)), replace(EXAMPLES[4], labels=("oil:low", "grain:high"))]
    assert [s.label for s in choose_per_code(examples, graded, 2)] == ["oil word high", "oil word low, grain word high"]


def test_examples_of_an_earlier_codebook_are_left_out(encoder: SentenceEncoder) -> None:
    stale = [VerifiedExample("0", "Oil!", ("gone",), (), False)]
    assert choose_per_code([*stale, *EXAMPLES], TOPICS, 2) == choose_per_code(EXAMPLES, TOPICS, 2)
    assert Nearest(encoder, stale, TOPICS, 2)("Oil!") == []


# For each document its own


@pytest.mark.models
def test_the_most_similar_stand_next_to_the_document(encoder: SentenceEncoder) -> None:
    nearest = Nearest(encoder, EXAMPLES, TOPICS, 2)
    found = nearest("Exports of maize and wheat by ship.")
    assert texts(found)[-1] == EXAMPLES[5].text
    assert {shot.words for shot in found} == {("grain word",)}
    assert Nearest(encoder, EXAMPLES[::-1], TOPICS, 2)("Exports of maize and wheat by ship.") == found
    documents = ["OPEC met.", "Wheat.", EXAMPLES[0].text]
    assert nearest.of(documents) == [nearest(text) for text in documents]
    assert nearest.of([]) == []


@pytest.mark.models
def test_a_document_is_never_shown_its_own_answer(encoder: SentenceEncoder) -> None:
    again = [*EXAMPLES, replace(EXAMPLES[4], document_id="z", labels=("oil",))]
    nearest = Nearest(encoder, again, TOPICS, len(again))
    for text in (EXAMPLES[4].text, " the WHEAT  harvest was\npoor. "):
        assert EXAMPLES[4].text not in texts(nearest(text))
        assert len(nearest(text)) == len(EXAMPLES) - 1
    assert texts(nearest("Another document.")).count(EXAMPLES[4].text) == 1, "equal texts are shown once"


@pytest.mark.models
def test_the_holdout_is_never_shown_and_its_labels_change_nothing(encoder: SentenceEncoder, tmp_path: Path) -> None:
    held = [replace(e, document_id=f"h{e.document_id}", text=f"{e.text} Held.", holdout=True) for e in EXAMPLES]
    turned = [replace(e, labels=("music",)) for e in held]
    shown = []
    for number, more in enumerate(([], held, turned)):
        examples = read_examples(publish_snapshot(tmp_path / str(number), [*more, *EXAMPLES]))
        nearest = Nearest(encoder, examples, TOPICS, 3)
        shown.append((choose_per_code(examples, TOPICS, 2, encoder), nearest.of([e.text for e in held])))
    assert shown[0] == shown[1] == shown[2]
    assert not any("Held." in shot.text for shots in (shown[1][0], *shown[1][1]) for shot in shots)


# Their text


@given(st.text(max_size=1500))
def test_a_shortened_text_is_one_line_of_bounded_length(text: str) -> None:
    short = shortened(text)
    assert len(short) <= CHARACTERS
    assert short == " ".join(short.split())
    if len(" ".join(text.split())) <= CHARACTERS:
        assert short == " ".join(text.split())


def test_a_long_text_is_cut_between_words_where_it_has_any() -> None:
    assert shortened("word " * 200) == " ".join(["word"] * 79) + "…"
    assert shortened("字" * 1000) == "字" * (CHARACTERS - 1) + "…"


def test_the_shipped_prompt_shows_them() -> None:
    assert shows_examples("few_shot")
    assert not shows_examples("definitions")
    template = PromptTemplate("few_shot", TOPICS)
    shown = template.examples(choose_per_code(EXAMPLES, TOPICS, 1))
    user = template.user("The document.", shown)
    assert user == (
        "Document: OPEC cut its oil output.\nLabel: oil word\n\n"
        "Document: The wheat harvest was poor.\nLabel: grain word\n\n"
        "Document: The document."
    )
    assert "All about music." in template.system()
    assert template.question(template.questions[0]) == "Which label fits best?"
    several = PromptTemplate("few_shot", replace(TOPICS, kind=Kind.MULTILABEL))
    asked = several.question(several.questions[0])
    assert asked == "Answer yes or no: does this label fit, oil word?"
    assert several.examples([Shot("A", ())]) == "Document: A\nLabels: none\n\n"
