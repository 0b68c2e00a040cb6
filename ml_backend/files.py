"""Documents from a team's file: every row with an id and a text, or the reason why it is none."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from label_configs.errors import ConfigError
from label_configs.records import Document
from ml_backend.row_report import RowProblem, RowReport
from ml_backend.rows import LONGEST_FIELD, Row, place, read_rows


def read_documents(
    path: Path, *, id_column: str = "id", text_column: str = "text", encoding: str | None = None
) -> list[Document]:
    """All documents of a file, in order.

    Raises ConfigError naming the first lines at fault: nothing is left out in silence.
    """
    documents: list[Document] = []
    report = RowReport()
    for found in stream_documents(path, id_column=id_column, text_column=text_column, encoding=encoding):
        if isinstance(found, RowProblem):
            report.add(found)
        else:
            documents.append(found)
    report.refuse("mend these rows and import again")
    if not documents:
        raise no_documents(path)
    return documents


def no_documents(path: Path) -> ConfigError:
    """The error for a file without a row."""
    return ConfigError(f"{path}: no documents; the file is empty")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A document with what else its row holds, by column: language, year, whatever a team needs later."""

    document: Document
    others: Mapping[str, Any] = field(default_factory=dict)


def stream_documents(
    path: Path, *, id_column: str = "id", text_column: str = "text", encoding: str | None = None
) -> Iterator[Document | RowProblem]:
    """The documents of a file in order, and in their midst what is wrong with the rows that are none.

    Of every document only 64 bits of its id's digest and its line are kept, to tell ids that stand twice. Raises
    ConfigError when the file or a column is missing.
    """
    for found in _stream(path, id_column, text_column, encoding, others=False):
        yield found if isinstance(found, RowProblem) else found.document


def stream_records(
    path: Path, *, id_column: str = "id", text_column: str = "text", encoding: str | None = None
) -> Iterator[FileRecord | RowProblem]:
    """The same, each document with the other columns of its row."""
    return _stream(path, id_column, text_column, encoding, others=True)


def _stream(
    path: Path, id_column: str, text_column: str, encoding: str | None, *, others: bool
) -> Iterator[FileRecord | RowProblem]:
    seen = _FirstSeen()
    columns = {"--id-column": id_column, "--text-column": text_column}
    for row in read_rows(path, columns, optional=None if others else (), encoding=encoding):
        if isinstance(row, RowProblem):
            yield row
            continue
        document = document_in(row, id_column=id_column, text_column=text_column)
        if isinstance(document, str):
            yield RowProblem(place(path, row.number), document)
            continue
        if before := seen.before(document.id, row.number):
            what = f"id {document.id!r:.80} stands already at {place(path, before)}"
            yield RowProblem(place(path, row.number), what)
            continue
        own = (id_column, text_column)
        rest = {key: value for key, value in row.values.items() if key not in own} if others else {}
        yield FileRecord(document, rest)


def document_in(row: Row, *, id_column: str | None, text_column: str) -> Document | str:
    """The document of one row, or why it is none. Without ``id_column`` its id is its text's digest."""
    text = row.values.get(text_column)
    identifier = "-" if id_column is None else _identifier(row.values.get(id_column))
    if problem := _problem(row, identifier, id_column or "", text_column):
        return problem
    return Document(Document("", str(text)).digest if id_column is None else identifier, str(text))


class _FirstSeen:
    """The row at which each id stands first: an open hash table in two arrays, 18 to 36 bytes for an id.

    A dict of the same takes 180.
    """

    def __init__(self) -> None:
        self._count = 0
        self._keys, self._rows = self._empty(1024)

    def before(self, identifier: str, row: int) -> int:
        """The row, counted from 1, at which the id stood before; 0 when it had not been seen, as it is from now on."""
        digest = hashlib.blake2b(identifier.encode(), digest_size=8).digest()
        key = int.from_bytes(digest) or 1  # 0 marks a free slot
        slot = self._slot(key)
        if self._keys[slot]:
            return self._rows[slot]
        self._keys[slot], self._rows[slot] = key, row
        self._count += 1
        if 3 * self._count > 2 * len(self._keys):
            self._grow()
        return 0

    def _slot(self, key: int) -> int:
        """The slot that holds ``key``, or the free one where it belongs."""
        slot = key % len(self._keys)
        while self._keys[slot] not in (0, key):
            slot = (slot + 1) % len(self._keys)
        return slot

    def _grow(self) -> None:
        keys, rows = self._keys, self._rows
        self._keys, self._rows = self._empty(2 * len(keys))
        for key, row in zip(keys, rows, strict=True):
            if key:
                slot = self._slot(key)
                self._keys[slot], self._rows[slot] = key, row

    @staticmethod
    def _empty(slots: int) -> tuple[array[int], array[int]]:
        return array("Q", bytes(8 * slots)), array("I", bytes(4 * slots))


def _identifier(value: Any) -> str:
    """The id as text; empty where there is none: numbers are ids when they are whole."""
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _problem(row: Row, identifier: str, id_column: str, text_column: str) -> str:
    """Why the row is no document; empty when it is one."""
    text = row.values.get(text_column)
    if not identifier:
        return f"no value in {id_column!r}"
    if not isinstance(text, str) or not text.strip():
        return f"no text in {text_column!r}"
    if len(text) > LONGEST_FIELD:
        return f"{len(text)} characters in {text_column!r}, at most {LONGEST_FIELD} are read; split the text"
    if not (_is_unicode(identifier) and _is_unicode(text)):
        return "holds half of a surrogate pair, which is no text"
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
