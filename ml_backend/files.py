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

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_documents(path: Path, *, id_column: str = "id", text_column: str = "text") -> list[Document]:
    """All documents of a file, in order. Raises ConfigError naming the first lines at fault: nothing is left out in silence."""
    suffix = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; convert it, for example with iconv") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if suffix in DELIMITERS:
        rows = _table(path, text, DELIMITERS[suffix], (id_column, text_column))
    elif suffix in (".jsonl", ".ndjson"):
        rows = _json_lines(path, text)
    elif suffix == ".json":
        rows = _json_list(path, text)
    else:
        raise ConfigError(f"{path}: unknown kind of file; use .csv, .tsv, .json or .jsonl")
    return _documents(path, rows, id_column, text_column)


def _table(path: Path, text: str, delimiter: str, columns: tuple[str, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        missing = [c for c in columns if c not in (reader.fieldnames or [])]
        if missing:
            found = ", ".join(reader.fieldnames or []) or "none"
            raise ConfigError(f"{path}:1: no column {missing[0]!r}; the columns are {found}: name yours with --id-column, "
                              "--text-column")  # fmt: skip
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: malformed ({error}); mend the quotes of this row") from None


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, _record(path, number, line)


def _record(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{path}:{number}: no JSON ({error}); mend or delete the line") from None
    if not isinstance(record, dict):
        raise ConfigError(f"{path}:{number}: no JSON object; write one document per line")
    return record


def _json_list(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        records = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON ({error}); mend it, or use one object per line in a .jsonl file") from None
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise ConfigError(f"{path}: must hold a list of objects; use .jsonl for one object per line")
    yield from enumerate(records, 1)


def _documents(
    path: Path, rows: Iterator[tuple[int, dict[str, Any]]], id_column: str, text_column: str
) -> list[Document]:
    documents: list[Document] = []
    first_seen: dict[str, int] = {}
    problems: list[str] = []
    for line, row in rows:
        identifier, text = row.get(id_column), row.get(text_column)
        name = str(identifier).strip() if isinstance(identifier, str | int) else ""
        if not name:
            problems.append(f"{path}:{line}: no value in {id_column!r}")
        elif name in first_seen:
            problems.append(f"{path}:{line}: id {name!r} stands already at line {first_seen[name]}")
        elif not isinstance(text, str) or not text.strip():
            problems.append(f"{path}:{line}: no text in {text_column!r}")
        else:
            first_seen[name] = line
            documents.append(Document(name, text))
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ConfigError("; ".join(problems[:3]) + more + "; mend these rows and import again")
    if not documents:
        raise ConfigError(f"{path}: no documents; the file is empty")
    return documents
