"""The bars: learned from the round's training documents alone, for every kind of codebook."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import TrainingError
from label_configs.records import VerifiedExample
from ml_backend.devices import DeviceFacts
from ml_backend.source_config import SourceConfig, SourceKind
from trainer.bar_models import ask_bars, tfidf
from trainer.bars import TFIDF, TFIDF_NAME, Bar, bar_name, bars_in, bars_of

CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)
CODES = tuple(Code(key, key.title(), f"About {key}.", key) for key in ("oil", "grain", "music"))
BOOK = Codebook("three", Kind.EXCLUSIVE, CODES)
SEVERAL = replace(BOOK, kind=Kind.MULTILABEL)
GRADED = Codebook("graded", Kind.GRADED, CODES, levels=("low", "high"))
WORDS = {"oil": "crude barrels refinery", "grain": "wheat maize harvest", "music": "song violin choir"}


def example(n: int, labels: tuple[str, ...], *words: str, **fields: object) -> VerifiedExample:
    text = " ".join([*(WORDS.get(word, word) for word in words), f"on day {n}"])
    return VerifiedExample(f"d{n}", text, labels, ("ann",), holdout=False, **fields)  # type: ignore[arg-type]


def topics(number: int, start: int = 0) -> list[VerifiedExample]:
    return [example(n, (key,), key) for n in range(start, start + number) for key in [tuple(WORDS)[n % 3]]]


def held(examples: list[VerifiedExample]) -> list[VerifiedExample]:
    return [replace(one, holdout=True) for one in examples]


def test_tfidf_learns_exclusive_codes() -> None:
    rows = tfidf(topics(30), [one.text for one in topics(9, 30)], BOOK)
    assert rows.shape == (9, 3)
    assert rows.sum(axis=1) == pytest.approx(1)
    assert [CODES[i].key for i in rows.argmax(axis=1)] == [one.labels[0] for one in topics(9, 30)]


def test_tfidf_learns_each_code_by_itself_where_several_hold() -> None:
    training = [*topics(24), *(example(n, ("oil", "grain"), "oil", "grain") for n in range(24, 36)),
                *(example(n, (), "weather") for n in range(36, 48))]  # fmt: skip
    both, none = tfidf(training, ["crude barrels and wheat harvest", "the weather on day"], SEVERAL)
    assert min(both[0], both[1]) > 0.5 > both[2]
    assert none.max() < 0.5


def test_tfidf_learns_levels() -> None:
    training = [example(n, (f"oil:{level}",), "oil", level) for n in range(30) for level in [("low", "high")[n % 2]]]
    low, high = tfidf(training, ["crude barrels low", "crude barrels high"], GRADED)
    oil = [GRADED.label_keys.index(key) for key in ("oil:low", "oil:high")]
    assert low[oil[0]] > low[oil[1]]
    assert high[oil[1]] > high[oil[0]]
    assert low[2:].max() < 0.1, "no example has another code: it has the rule of succession's share"


def test_the_same_documents_in_any_order_make_the_same_bar() -> None:
    training, texts = topics(30), [one.text for one in topics(6, 30)]
    assert np.array_equal(tfidf(training, texts, BOOK), tfidf(training[::-1], texts, BOOK))


def test_no_documents_are_asked_about() -> None:
    assert tfidf(topics(30), [], BOOK).shape == (0, 3)


def test_silver_documents_and_the_holdout_teach_nothing() -> None:
    lies = [replace(one, labels=("music",), silver=True, weight=0.3) for one in topics(300, 1000)]
    holdout = held(topics(9, 30))
    plain = ask_bars((), [*topics(30), *holdout], BOOK, CPU, pytest.fail)
    assert ask_bars((), [*topics(30), *lies, *holdout], BOOK, CPU, pytest.fail) == plain
    assert list(plain) == [TFIDF]
    wrong = [replace(one, labels=("music",)) for one in holdout]
    assert ask_bars((), [*topics(30), *wrong], BOOK, CPU, pytest.fail) == plain


def test_a_bar_that_cannot_be_had_is_noted_and_left_out(tmp_path: Path) -> None:
    notes: list[str] = []
    absent = Bar("probe", SourceKind.PROBE, str(tmp_path / "absent"), 256)
    found = ask_bars([absent], [*topics(30), *held(topics(6, 30))], BOOK, CPU, notes.append)
    assert list(found) == [TFIDF]
    (note,) = notes
    assert note.startswith("probe is left out of the comparison: model ")
    assert "cannot be loaded" in note
    notes.clear()
    wordless = [replace(one, text="! ?") for one in topics(30)]
    assert ask_bars((), [*wordless, *held(topics(6, 30))], BOOK, CPU, notes.append) == {}
    assert notes[0].startswith(f"{TFIDF_NAME} is left out of the comparison: no words in the training documents")


def test_examples_of_another_codebook_are_left_out() -> None:
    other = [replace(one, labels=("chess",)) for one in topics(9, 100)]
    texts = [one.text for one in topics(6, 30)]
    assert np.array_equal(tfidf([*topics(30), *other], texts, BOOK), tfidf(topics(30), texts, BOOK))
    with pytest.raises(TrainingError, match="no training document is of the codebook three"):
        tfidf(other, texts, BOOK)


def test_the_projects_local_cheap_sources_are_bars(tmp_path: Path) -> None:
    sources = [
        SourceConfig("zero", SourceKind.CAUSAL, "org/big"),
        SourceConfig("near", SourceKind.SIMILARITY, "org/mini", max_document_tokens=128),
        SourceConfig("tf-idf", SourceKind.PROBE, "org/mini"),
    ]
    near, probe = bars_of(sources, tmp_path)
    assert near == Bar("near", SourceKind.SIMILARITY, "org/mini", 128, str(tmp_path))
    assert Bar.from_json(asdict(probe)) == probe
    assert len({probe.key, near.key, TFIDF, "new", "current"}) == 5, "no name of a source can be taken for another row"
    assert [bar_name(key) for key in ("new", TFIDF, probe.key)] == [None, TFIDF_NAME, "tf-idf"]
    assert bars_in({"new": [1], TFIDF: [2], near.key: [3]}) == {TFIDF_NAME: [2], "near": [3]}
