"""What is learned is never judged on: copies, and near copies, of holdout documents leave the training side."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_configs.records import VerifiedExample
from trainer import leaks as module
from trainer.duplicates import Likeness
from trainer.leaks import SIMILARITY, Leak, copies_of, leaks, without_leaks, write_leaks

WORDS = [f"w{number}" for number in range(3000)]
FAR = 0.02  # of the coefficient: nearer to the threshold, the index may leave a pair out


def text(seed: int, length: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def with_changed(original: str, number: int, seed: int) -> str:
    """The text with some words replaced."""
    parts, draw = original.split(), random.Random(seed)
    for place in draw.sample(range(len(parts)), number):
        parts[place] = f"other{seed}at{place}"
    return " ".join(parts)


def similarity(one: str, other: str) -> float:
    """The Jaccard coefficient itself, of three words in a row each."""
    first, second = (
        {tuple(found[start : start + 3]) for start in range(len(found) - 2)} for found in (one.split(), other.split())
    )
    return len(first & second) / len(first | second)


def example(document_id: str, text: str, *labels: str, holdout: bool = False) -> VerifiedExample:
    return VerifiedExample(document_id, text, labels or ("earn",), ("ann",), holdout)


def test_copies_and_near_copies_are_found() -> None:
    report = text(1)
    examples = [
        example("h1", "Oil  prices\nrose.", holdout=True),
        example("h2", "Grain fell.", holdout=True),
        example("t1", " oil PRICES rose. "),
        example("t2", "Oil prices rose!"),
        example("t3", "STRASSE", "acq"),
        example("h3", "straße", holdout=True),
        example("h4", report, holdout=True),
        example("t4", with_changed(report, 2, 7)),
        example("t5", with_changed(report, 12, 7)),
        example("t6", text(2)),
    ]
    near = round(similarity(report, with_changed(report, 2, 7)), 3)
    assert leaks(examples) == [
        Leak("t1", "h1", Likeness.EXACT, 1.0),
        Leak("t2", "h1", Likeness.NEAR, 1.0),
        Leak("t3", "h3", Likeness.EXACT, 1.0),
        Leak("t4", "h4", Likeness.NEAR, near),
    ]
    kept = without_leaks(examples)
    assert [one.document_id for one in kept] == ["h1", "h2", "h3", "h4", "t5", "t6"]
    assert leaks(kept) == []


def test_duplicates_on_one_side_are_no_leak() -> None:
    same = [example("t1", "same"), example("t2", "same"), example("h1", "other", holdout=True)]
    assert leaks(same) == []
    assert without_leaks(same) == same


def test_of_several_holdout_documents_the_most_like_is_told() -> None:
    report = text(1)
    held = [("far", with_changed(report, 3, 1)), ("near", with_changed(report, 1, 2)), ("as near", report + "!")]
    assert copies_of([("t", with_changed(report, 1, 3))], held[:2])[0].holdout_id == "near"
    assert copies_of([("t", report)], held) == [Leak("t", "as near", Likeness.NEAR, 1.0)]


def test_texts_without_words_are_alike_only_where_they_are_the_same() -> None:
    held = [("h1", "👍"), ("h2", "?!"), ("h3", "")]
    assert copies_of([("t1", "👎"), ("t2", "!!"), ("t3", " 👍"), ("t4", " ")], held) == [
        Leak("t3", "h1"),
        Leak("t4", "h3"),
    ]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12), st.booleans()), min_size=2, max_size=24))
def test_no_pair_above_the_threshold_stands_on_both_sides(made: list[tuple[int, int, bool]]) -> None:
    examples = [
        example(f"d{number}", with_changed(text(seed), changed, number), holdout=holdout)
        for number, (seed, changed, holdout) in enumerate(made)
    ]
    training = [one for one in examples if not one.holdout]
    holdout = [one for one in examples if one.holdout]
    most = {
        one.document_id: max((similarity(one.text, other.text) for other in holdout), default=0.0) for one in training
    }
    kept = {one.document_id for one in without_leaks(examples)}
    assert kept.issuperset(one.document_id for one in holdout)
    assert not {name for name, alike in most.items() if alike >= SIMILARITY + FAR} & kept
    assert {name for name, alike in most.items() if alike < SIMILARITY - 0.001} <= kept, "what is unlike stays"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcé本 \n.A"), st.booleans()), max_size=12))
def test_whatever_the_texts_nothing_is_lost_but_leaks(made: list[tuple[str, bool]]) -> None:
    examples = [example(f"d{n}", text * (n % 3), holdout=holdout) for n, (text, holdout) in enumerate(made)]
    found = leaks(examples)
    leaked = {leak.training_id for leak in found}
    assert len(leaked) == len(found)
    assert without_leaks(examples) == [one for one in examples if one.document_id not in leaked]
    assert leaks(without_leaks(examples)) == []


def test_long_texts_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [(f"h{n}", text(n)) for n in range(9)]
    training = [(f"t{n}", with_changed(text(n), 1, n)) for n in range(9)]
    at_once = copies_of(training, held)
    assert len(at_once) == 9
    monkeypatch.setattr(module, "_AT_ONCE", 1500)
    assert copies_of(training, held) == at_once


def test_the_same_examples_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [example("h", "one two", holdout=True), example("t", "one two")]
    first = leaks(examples)
    monkeypatch.setattr(module, "copies_of", lambda *_: pytest.fail("compared again"))
    assert leaks(iter(examples)) == first
    changed = example("t", "one three")
    with pytest.raises(pytest.fail.Exception):
        leaks([examples[0], changed])


def test_no_more_answers_are_remembered_than_is_useful() -> None:
    for number in range(20):
        leaks([example("h", f"text {number}", holdout=True)])
    assert len(module._remembered) <= 8


def test_the_leak_report_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "leaks.csv"
    write_leaks(path, [Leak("a,b", "h1"), Leak("t2", "h2", Likeness.NEAR, 0.934)])
    assert path.read_text().splitlines() == [
        "likeness,training_id,holdout_id,similarity",
        'exact,"a,b",h1,1.0',
        "near,t2,h2,0.934",
    ]
