"""Documents from a team's file: CSV, TSV, JSON or JSONL with an id and a text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from label_configs.errors import ConfigError
from label_configs.records import Document
from label_configs.strictyaml import read_text

DELIMITERS = {".csv": ",", ".tsv": "\t"}
TOLD = 3  # problems told in one message
LONGEST_FIELD = 64 * 1024 * 1024  # characters of one field; the csv module's own limit is 131,072

Rows = Iterator[tuple[str, dict[str, Any]]]


def read_documents(path: Path, *, id_column: str = "id", text_column: str = "text") -> list[Document]:
    """All documents of a file, in order.

    Raises ConfigError naming the first lines at fault: nothing is left out in silence.
    """
    suffix = path.suffix.lower()
    text = read_text(path)
    if suffix in DELIMITERS:
        rows = _table(path, text, DELIMITERS[suffix], (id_column, text_column))
    elif suffix in (".jsonl", ".ndjson"):
        rows = _json_lines(path, text)
    elif suffix == ".json":
        rows = _json_list(path, text)
    else:
        raise ConfigError(f"{path}: unknown kind of file; use .csv, .tsv, .json or .jsonl")
    return _documents(path, rows, id_column, text_column)


def _table(path: Path, text: str, delimiter: str, columns: tuple[str, str]) -> Rows:
    """Rows with the line on which each begins: a quoted text may span many."""
    before = csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        header = next(reader, [])
        for column in columns:
            if header.count(column) != 1:
                found = ", ".join(header) or "none"
                raise ConfigError(
                    f"{path}:1: {header.count(column) or 'no'} columns {column!r}; the columns are {found}: name yours "
                    "with --id-column, --text-column"
                )
        line = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                raise ConfigError(
                    f"{path}:{line}: {len(row)} fields where the header has {len(header)}; put texts with "
                    f"{'tabs' if delimiter == chr(9) else 'commas'} or line breaks in double quotes"
                )
            if row:
                yield f"{path}:{line}", dict(zip(header, row, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(f"{path}:{line}: malformed ({error}); mend the quotes of this row") from None
    finally:
        csv.field_size_limit(before)


def _json_lines(path: Path, text: str) -> Rows:
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would also cut at characters within a text
        if line.strip():
            where = f"{path}:{number}"
            yield where, _record(_json(where, line), where)


def _json_list(path: Path, text: str) -> Rows:
    records = _json(str(path), text)
    if not isinstance(records, list):
        raise ConfigError(f"{path}: must hold a list of objects; use .jsonl for one object per line")
    for number, record in enumerate(records, 1):
        where = f"{path}: document {number}"
        yield where, _record(record, where)


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: no JSON ({error}); mend it") from None


def _record(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f'{where}: no JSON object; each document is one, as {{"id": ..., "text": ...}}')
    return value


def _documents(path: Path, rows: Rows, id_column: str, text_column: str) -> list[Document]:
    documents: list[Document] = []
    first_seen: dict[str, str] = {}
    problems: list[str] = []
    for where, row in rows:
        identifier, text = row.get(id_column), row.get(text_column)
        is_name = isinstance(identifier, str | int) and not isinstance(identifier, bool)
        name = str(identifier).strip() if is_name else ""
        if not name:
            problems.append(f"{where}: no value in {id_column!r}")
        elif name in first_seen:
            problems.append(f"{where}: id {name!r} stands already at {first_seen[name]}")
        elif not isinstance(text, str) or not text.strip():
            problems.append(f"{where}: no text in {text_column!r}")
        elif not (_is_unicode(name) and _is_unicode(text)):
            problems.append(f"{where}: holds half of a surrogate pair, which is no text")
        else:
            first_seen[name] = where
            documents.append(Document(name, text))
    if problems:
        more = f"; and {len(problems) - TOLD} more" if len(problems) > TOLD else ""
        raise ConfigError("; ".join(problems[:TOLD]) + more + "; mend these rows and import again")
    if not documents:
        raise ConfigError(f"{path}: no documents; the file is empty")
    return documents


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
