"""Documents that stand twice: exact copies by a digest of the text, near ones by sketches (``trainer.sketches``)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from label_configs.records import Document
from ml_backend.atomic import replacing
from ml_backend.files import FileRecord
from trainer.sketches import Hashes, SketchIndex, sketches

COMPARED = 250  # documents that are compared at once
COMPARED_CHARACTERS = 500_000  # of their texts


class Likeness(StrEnum):
    """How a document is like another."""

    EXACT = "exact"
    NEAR = "near"


@dataclass(frozen=True, slots=True)
class Pair:
    """A document, and one that stands before it in the file, or in the project, and is like it.

    ``similarity`` in [0, 1] is 1 for an exact copy and an estimate otherwise.
    """

    likeness: Likeness
    id: str
    like: str
    similarity: float
    in_project: bool = False


class ExactCopies:
    """Tells texts that were there before, by their digests: 16 bytes of each are kept."""

    def __init__(self, in_project: Mapping[str, str]) -> None:
        """``in_project``: digest of a text -> id of the document that has it."""
        self._in_project = in_project
        self._first: dict[str, str] = {}

    def of(self, document: Document) -> Pair | None:
        """The document that this one is an exact copy of, None where it is the first of its text."""
        digest = document.digest
        first = self._first.setdefault(digest, document.id)
        if first != document.id:
            return Pair(Likeness.EXACT, document.id, first, 1.0)
        other = self._in_project.get(digest, document.id)
        return None if other == document.id else Pair(Likeness.EXACT, document.id, other, 1.0, in_project=True)


class NearCopies:
    """Tells texts that are like one before: each is compared with the first of its kind, so there is one pair at most.

    Of texts that are like none the sketches are kept.
    """

    def __init__(self, threshold: float) -> None:
        """``threshold`` in (0, 1): similarity from which two texts are told of."""
        self._threshold = threshold
        self._index = SketchIndex(threshold)
        self._ids: list[str] = []

    def of(self, documents: Sequence[Document]) -> list[Pair | None]:
        """For each the document that it is most like, None where it is like none before; faster for many at once."""
        made = sketches([document.text for document in documents])
        return [self._of(document, sketch) for document, sketch in zip(documents, made, strict=True)]

    def _of(self, document: Document, sketch: Hashes) -> Pair | None:
        keys = self._index.keys(sketch)
        similarity, number = self._index.most_like(sketch, keys)
        if similarity >= self._threshold:
            return Pair(Likeness.NEAR, document.id, self._ids[number], round(similarity, 3))
        self._index.add(sketch, keys)
        self._ids.append(document.id)
        return None


class Copies:
    """Tells of each document whether it is a copy of one before it, or in the project."""

    def __init__(self, in_project: Mapping[str, str], similarity: float) -> None:
        self._exact = ExactCopies(in_project)
        self._near = NearCopies(similarity) if similarity < 1 else None

    def told(self, records: Iterable[FileRecord]) -> Iterator[tuple[FileRecord, Pair | None]]:
        """The records in order, each with the pair that it makes with another; exact ones come before near ones."""
        for part in _parts(records):
            pairs = {record.document.id: self._exact.of(record.document) for record in part}
            if self._near:
                rest = [record.document for record in part if not pairs[record.document.id]]
                pairs.update(zip([document.id for document in rest], self._near.of(rest), strict=True))
            for record in part:
                yield record, pairs[record.document.id]


def _parts(records: Iterable[FileRecord]) -> Iterator[list[FileRecord]]:
    """The records in parts that are compared at once: of many short texts, or of a few long ones."""
    part: list[FileRecord] = []
    characters = 0
    for record in records:
        part.append(record)
        characters += len(record.document.text)
        if len(part) >= COMPARED or characters >= COMPARED_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """The pairs as a CSV file. Raises EnvironmentFault where it cannot be written."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("likeness", "id", "like", "similarity", "where"))
        for pair in pairs:
            where = "project" if pair.in_project else "file"
            table.writerow((pair.likeness.value, pair.id, pair.like, pair.similarity, where))
