"""Documents from a team's file: every row with an id and a text, or the reason why it is none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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


def stream_documents(
    path: Path, *, id_column: str = "id", text_column: str = "text", encoding: str | None = None
) -> Iterator[Document | RowProblem]:
    """The documents of a file in order, and in their midst what is wrong with the rows that are none.

    Of every document only a number of 64 bits and its line are kept, to tell ids that stand twice. Raises ConfigError
    when the file or a column is missing.
    """
    first_seen: dict[int, int] = {}
    columns = {"--id-column": id_column, "--text-column": text_column}
    for row in read_rows(path, columns, encoding=encoding):
        if isinstance(row, RowProblem):
            yield row
            continue
        document = document_in(row, id_column=id_column, text_column=text_column)
        if isinstance(document, str):
            yield RowProblem(place(path, row.number), document)
            continue
        key = int.from_bytes(hashlib.blake2b(document.id.encode(), digest_size=8).digest())
        if key in first_seen:
            before = place(path, first_seen[key])
            yield RowProblem(place(path, row.number), f"id {document.id!r:.80} stands already at {before}")
            continue
        first_seen[key] = row.number
        yield document


def document_in(row: Row, *, id_column: str | None, text_column: str) -> Document | str:
    """The document of one row, or why it is none. Without ``id_column`` its id is its text's digest."""
    text = row.values.get(text_column)
    identifier = "-" if id_column is None else _identifier(row.values.get(id_column))
    if problem := _problem(row, identifier, id_column or "", text_column):
        return problem
    return Document(Document("", str(text)).digest if id_column is None else identifier, str(text))


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
