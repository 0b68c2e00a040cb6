"""Copies of texts: exact ones for certain, near ones by an estimate that is near the truth."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from label_configs.records import Document
from ml_backend.files import FileRecord
from trainer.duplicates import COMPARED, Copies, ExactCopies, Likeness, NearCopies, Pair, write_pairs
from trainer.sketches import shingles

WORDS = [f"word{number}" for number in range(3000)]


def text(seed: int, words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def edited(original: str, share: float) -> str:
    """The text with its last words replaced."""
    words = original.split()
    kept = round(len(words) * (1 - share))
    return " ".join([*words[:kept], *(f"other{number}" for number in range(len(words) - kept))])


def test_exact_copies_name_the_first_of_their_text() -> None:
    copies = ExactCopies({Document("old", "known before").digest: "old"})
    found = [
        copies.of(Document(*one)) for one in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "x"), ("e", "known before"))
    ]
    assert found == [
        None,
        None,
        Pair(Likeness.EXACT, "c", "a", 1.0),
        Pair(Likeness.EXACT, "d", "a", 1.0),
        Pair(Likeness.EXACT, "e", "old", 1.0, in_project=True),
    ]


def test_a_document_is_no_copy_of_itself_when_an_import_goes_on() -> None:
    copies = ExactCopies({Document("a", "x").digest: "a"})
    assert copies.of(Document("a", "x")) is None
    assert copies.of(Document("b", "x")) == Pair(Likeness.EXACT, "b", "a", 1.0)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05])
def test_near_copies_are_found_with_about_their_similarity(share: float) -> None:
    copies = NearCopies(0.8)
    for seed in range(20):
        first, second = text(seed), edited(text(seed), share)
        assert copies.of([Document(f"a{seed}", first)]) == [None]
        one, other = set(shingles(first).tolist()), set(shingles(second).tolist())
        truth = len(one & other) / len(one | other)
        [pair] = copies.of([Document(f"b{seed}", second)])
        assert pair is not None
        assert pair.like == f"a{seed}"
        assert pair.similarity == pytest.approx(truth, abs=0.15)


def test_texts_of_the_same_language_are_no_copies() -> None:
    copies = NearCopies(0.8)
    assert copies.of([Document(str(seed), text(seed)) for seed in range(200)]) == [None] * 200
    assert copies.of([Document("far", edited(text(3), 0.5))]) == [None]


def test_a_thousand_copies_of_a_leaflet_are_a_thousand_pairs_and_not_a_million() -> None:
    copies = NearCopies(0.8)
    found = copies.of([Document(str(n), f"{text(1)} signed by {n}") for n in range(300)])
    assert found[0] is None
    assert {pair.like for pair in found[1:] if pair} == {"0"}
    assert len(list(filter(None, found))) == 299


def test_an_exact_copy_is_told_once_and_is_not_compared_with_others() -> None:
    near = f"{text(1)} and a little more"
    texts = {"a": text(1), "b": text(1), "c": near, "d": near, "e": text(2)}
    records = [FileRecord(Document(name, one)) for name, one in texts.items()]
    told = {record.document.id: pair for record, pair in Copies({}, 0.8).told(records)}
    assert list(told) == list("abcde")
    assert (told["a"], told["e"]) == (None, None)
    found = {name: (pair.likeness, pair.like) for name, pair in told.items() if pair}
    assert found == {"b": (Likeness.EXACT, "a"), "c": (Likeness.NEAR, "a"), "d": (Likeness.EXACT, "c")}
    exact = {record.document.id: pair and pair.like for record, pair in Copies({}, 1.0).told(records)}
    assert exact == {"a": None, "b": "a", "c": None, "d": "c", "e": None}


@pytest.mark.parametrize("documents", [COMPARED - 1, COMPARED, 2 * COMPARED + 1])
def test_copies_are_told_across_parts_that_are_compared_at_once(documents: int) -> None:
    records = [FileRecord(Document(str(n), text(n, 20))) for n in range(documents)]
    last = FileRecord(Document("last", f"{text(0, 20)}!"))
    told = list(Copies({}, 0.8).told(iter([*records, last])))
    assert [record for record, _ in told] == [*records, last]
    assert [pair and (pair.likeness, pair.like) for _, pair in told] == [*[None] * documents, (Likeness.NEAR, "0")]


def test_the_table_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pairs.csv"
    write_pairs(path, [Pair(Likeness.NEAR, "b,1", "a", 0.91), Pair(Likeness.EXACT, "c", "a", 1.0, in_project=True)])
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"likeness": "near", "id": "b,1", "like": "a", "similarity": "0.91", "where": "file"},
            {"likeness": "exact", "id": "c", "like": "a", "similarity": "1.0", "where": "project"},
        ]
