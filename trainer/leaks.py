"""Leaks: training documents that are a copy of a holdout document, or nearly so. What is learned must not be judged on.

A near copy shares four fifths of its shingles, three words in a row each, with the other: their Jaccard coefficient is
``SIMILARITY`` or more (see ``trainer.sketches``). In a text of 150 words that is some five words replaced, a passage of
30 words added or left out, or another headline; the same agency report printed by two papers is one, two reports of
the same event are not. The sketches say which pairs to look at, and the coefficient itself decides, so two texts that
are less alike are never taken for copies; of pairs at the threshold one in 20,000 is not looked at.
"""

from __future__ import annotations

import csv
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path

import numpy as np

from label_configs.records import VerifiedExample
from ml_backend.atomic import replacing
from trainer.duplicates import Likeness
from trainer.sketches import Hashes, SketchIndex, shingles, sketches, words

SIMILARITY = 0.8
LEAKS_FILE = "leaks.csv"
_LOOKED_AT = 0.7  # the index finds pairs from here on with 95 %, and so those that count with all but certainty
_MARGIN = 0.2  # five standard errors of a sketch's estimate at the threshold
_AT_ONCE = 5_000_000  # characters of texts
_REMEMBERED = 8  # sets of examples; the answers alone are kept, not the texts

Text = tuple[str, str]  # id and text of a document


@dataclass(frozen=True, slots=True)
class Leak:
    """A training document that is like a holdout document; ``similarity`` is 1 for an exact copy.

    An exact copy is one but for case and white space.
    """

    training_id: str
    holdout_id: str
    likeness: Likeness = Likeness.EXACT
    similarity: float = 1.0


_remembered: OrderedDict[str, tuple[Leak, ...]] = OrderedDict()


def leaks(examples: Iterable[VerifiedExample]) -> list[Leak]:
    """Every training document that is like a holdout document, in order, with the one that it is most like.

    Of several that it is equally like it is the first. Asked again about the same examples it remembers the answer.
    """
    examples = list(examples)
    name = _digest(examples)
    if name not in _remembered:
        training = [(e.document_id, e.text) for e in examples if not e.holdout]
        holdout = [(e.document_id, e.text) for e in examples if e.holdout]
        _remembered[name] = tuple(copies_of(training, holdout))
        while len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)
    return list(_remembered[name])


def without_leaks(examples: Iterable[VerifiedExample]) -> list[VerifiedExample]:
    """The examples less the *training* copy of every leak: the holdout stays what it was for earlier adapters.

    No document that is left to train on is like any of the holdout, so it does not matter which of them are like each
    other.
    """
    examples = list(examples)
    leaked = {leak.training_id for leak in leaks(examples)}
    return [example for example in examples if example.holdout or example.document_id not in leaked]


def copies_of(training: Sequence[Text], holdout: Sequence[Text]) -> list[Leak]:
    """Those of ``training`` that are like one of ``holdout``; see ``leaks``."""
    if not training or not holdout:
        return []
    exact: dict[str, str] = {}
    for held_id, text in holdout:
        exact.setdefault(_normalised(text), held_id)
    copied = [exact.get(_normalised(text)) for _, text in training]
    rest = [i for i, held_id in enumerate(copied) if held_id is None]
    near, made = _Near(holdout), _sketched([training[i][1] for i in rest])
    found = {i: near.like(training[i], sketch) for i, sketch in zip(rest, made, strict=True)}
    found |= {i: Leak(training[i][0], held_id) for i, held_id in enumerate(copied) if held_id is not None}
    return [leak for i in range(len(training)) if (leak := found[i]) is not None]


class _Near:
    """Finds the text of some that is most like another."""

    def __init__(self, held: Sequence[Text]) -> None:
        self._held = list(held)
        self._index = SketchIndex(_LOOKED_AT)
        self._sketches = _sketched([text for _, text in self._held])
        self._shingles: dict[int, Hashes] = {}
        for sketch in self._sketches:
            self._index.add(sketch, self._index.keys(sketch))

    def like(self, one: Text, sketch: Hashes) -> Leak | None:
        """The leak that ``one`` is, None where it is like none. Texts without a word are like nothing."""
        if not words(one[1]):
            return None
        numbers = self._index.sharing(self._index.keys(sketch))
        if not numbers:
            return None
        estimates = (self._sketches[numbers] == sketch).mean(axis=1)
        own = np.unique(shingles(one[1]))
        best, which = 0.0, -1
        for number, estimate in zip(numbers, estimates, strict=True):
            if estimate >= SIMILARITY - _MARGIN and (similarity := _jaccard(own, self._of(number))) > best:
                best, which = similarity, number
        return Leak(one[0], self._held[which][0], Likeness.NEAR, round(best, 3)) if best >= SIMILARITY else None

    def _of(self, number: int) -> Hashes:
        if number not in self._shingles:
            self._shingles[number] = np.unique(shingles(self._held[number][1]))
        return self._shingles[number]


def write_leaks(path: Path, found: Iterable[Leak]) -> None:
    """The leaks as a CSV file. Raises EnvironmentFault where it cannot be written."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("likeness", "training_id", "holdout_id", "similarity"))
        table.writerows((leak.likeness.value, leak.training_id, leak.holdout_id, leak.similarity) for leak in found)


def _sketched(texts: Sequence[str]) -> Hashes:
    """``sketches``, of so many texts at once that what they are computed from takes some tens of megabytes."""
    before = accumulate(map(len, texts), initial=0)
    parts = groupby(zip(texts, before, strict=False), key=lambda one: one[1] // _AT_ONCE)
    return np.concatenate([sketches([]), *(sketches([text for text, _ in part]) for _, part in parts)])


def _jaccard(one: Hashes, other: Hashes) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def _digest(examples: Sequence[VerifiedExample]) -> str:
    """Names all that leaks depend on."""
    found = hashlib.sha256()
    for e in examples:
        parts = (e.document_id.encode(), e.text.encode())
        found.update(f"{e.holdout}{len(parts[0])},{len(parts[1])}".encode())
        for part in parts:
            found.update(part)
    return found.hexdigest()
