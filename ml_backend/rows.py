"""Rows of a team's file, one after the other: CSV, TSV, JSON, JSONL and Parquet.

A file that cannot be read as a whole raises ConfigError; a row that cannot is a RowProblem, and reading goes on.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from label_configs.codes import printable
from label_configs.errors import ConfigError, reason
from ml_backend.decoding import TextFile
from ml_backend.row_report import RowProblem

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*DELIMITERS, ".json", *JSON_LINES, ".parquet")
LONGEST_FIELD = 10_000_000  # characters of one field; a long novel has three million
BATCH_ROWS = 256  # rows of a Parquet file that are held at once


@dataclass(frozen=True, slots=True)
class Row:
    """The values of one row by column. ``number`` is its line, see ``place``."""

    number: int
    values: Mapping[str, Any]


def read_rows(
    path: Path, columns: Mapping[str, str], *, optional: Sequence[str] | None = (), encoding: str | None = None
) -> Iterator[Row | RowProblem]:
    """The rows of a file in order; the suffix says what it is.

    ``columns`` are those that must be there, by the option that names each (what stands after a blank in it is not
    told); JSON objects may lack one. Those of
    ``optional`` are read where they are there; of a Parquet file, no others are, but all where it is None. Values of
    CSV and TSV are text, those of JSON and Parquet as they are there. ``encoding`` is that of a text file without a
    byte order mark, UTF-8 by default. Raises ConfigError when the file or a column is missing.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path, columns, optional)
    if suffix not in SUFFIXES:
        raise ConfigError(f"{path}: unknown kind of file; use .csv, .tsv, .json, .jsonl or .parquet")
    file = TextFile.of(path, encoding)
    if suffix in DELIMITERS:
        return _table(file, DELIMITERS[suffix], columns)
    return _json_lines(file) if suffix in JSON_LINES else _json_list(file)


def place(path: Path, number: int) -> str:
    """Where a row stands: ``file:line``; a list in JSON and a Parquet file have no lines to speak of."""
    suffix = path.suffix.lower()
    between = {".json": ": document ", ".parquet": ": row "}.get(suffix, ":")
    return f"{path}{between}{number}"


class _Lines:
    """The lines of a file for the csv module, with a way back to the line after the one on which a row began."""

    def __init__(self, file: TextFile) -> None:
        self._file = file
        self._lines = file.lines("")
        self._again: deque[str] = deque()
        self._row: list[str] = []
        self.first = 0
        self.undecoded: tuple[int, str] | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._row.append(line)
        if self.undecoded is None and (what := self._file.undecoded(line)):
            self.undecoded = (self.first + len(self._row) - 1, what)
        return line

    def begin_row(self) -> None:
        """The next line is the first of a row."""
        self.first += len(self._row) or 1
        self._row.clear()
        self.undecoded = None

    def only_first(self) -> None:
        """Take back all lines of this row but its first."""
        self._again.extendleft(reversed(self._row[1:]))
        del self._row[1:]


def _table(file: TextFile, delimiter: str, columns: Mapping[str, str]) -> Iterator[Row | RowProblem]:
    """A row's number is the line on which it begins: a quoted text may span many."""
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = _next_row(file.path, reader, lines)
    if isinstance(header, RowProblem):
        raise ConfigError(str(header))
    _check_columns(f"{file.path}:1", header or [], columns)
    mark = "tabs" if delimiter == "\t" else "commas"
    while (row := _next_row(file.path, reader, lines)) is not None:
        if isinstance(row, RowProblem):
            yield row
        elif row and len(row) != len(header or []):
            what = f"{len(row)} fields where the header has {len(header or [])}; put texts with {mark} or line breaks"
            yield RowProblem(place(file.path, lines.first), f"{what} in double quotes")
        elif row:
            yield Row(lines.first, dict(zip(header or [], row, strict=True)))


def _next_row(path: Path, reader: Iterator[list[str]], lines: _Lines) -> list[str] | RowProblem | None:
    """The next row, what is wrong with it, or None at the end of the file.

    A quote that is never closed would swallow all rows after it, so reading goes on with the line after its own.
    """
    lines.begin_row()
    before = csv.field_size_limit(LONGEST_FIELD)  # the module's own limit, 131,072, holds for the whole process
    try:
        row = next(reader, None)
    except csv.Error as error:
        lines.only_first()
        what = f"malformed ({error}); mend the quotes of this row"
        if "field limit" in str(error):
            what = f"a field of more than {LONGEST_FIELD} characters, or a quote that is not closed; mend this row"
        return RowProblem(place(path, lines.first), what)
    finally:
        csv.field_size_limit(before)
    if row is not None and lines.undecoded:
        number, what = lines.undecoded
        return RowProblem(place(path, number), what)
    return row


def _json_lines(file: TextFile) -> Iterator[Row | RowProblem]:
    for number, line in enumerate(file.lines("\n"), 1):  # other line ends may stand within a text
        if not line.strip():
            continue
        if what := file.undecoded(line):
            yield RowProblem(place(file.path, number), what)
            continue
        try:
            value = _json(line)
        except ConfigError as error:
            yield RowProblem(place(file.path, number), str(error))
        else:
            yield _object(file.path, number, value)


def _json_list(file: TextFile) -> Iterator[Row | RowProblem]:
    lines = []
    for number, line in enumerate(file.lines("\n"), 1):
        if what := file.undecoded(line):
            raise ConfigError(f"{file.path}:{number}: {what}")
        lines.append(line)
    try:
        records = _json("".join(lines))
    except ConfigError as error:
        raise ConfigError(f"{file.path}: {error}") from None
    if not isinstance(records, list):
        raise ConfigError(f"{file.path}: must hold a list of objects; use .jsonl for one object per line")
    del lines
    for number, record in enumerate(records, 1):
        yield _object(file.path, number, record)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"no JSON ({reason(error)}); mend it") from None


def _object(path: Path, number: int, value: Any) -> Row | RowProblem:
    if isinstance(value, dict):
        return Row(number, value)
    return RowProblem(place(path, number), 'no JSON object; each document is one, as {"id": ..., "text": ...}')


def _parquet(path: Path, columns: Mapping[str, str], optional: Sequence[str] | None) -> Iterator[Row | RowProblem]:
    import pyarrow
    from pyarrow import parquet

    try:
        with path.open("rb") as handle, parquet.ParquetFile(handle) as file:
            _check_columns(str(path), file.schema_arrow.names, columns)
            names = file.schema_arrow.names
            read = names if optional is None else [*columns.values(), *(name for name in optional if name in names)]
            number = 0
            for batch in file.iter_batches(BATCH_ROWS, columns=list(dict.fromkeys(read))):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, values)
    except OSError as error:
        told = error.strerror or reason(error)  # Arrow raises OSError for damaged pages, without an errno
        raise ConfigError(f"{path}: cannot be read ({told}); check the path and its permissions") from error
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path}: no Parquet file, or a damaged one ({reason(error)}); write it anew") from error


def _check_columns(where: str, header: Sequence[str], columns: Mapping[str, str]) -> None:
    wrong = {option: column for option, column in columns.items() if list(header).count(column) != 1}
    if wrong:
        lacking = ", ".join(repr(column) for column in wrong.values() if column not in header)
        several = [f"{list(header).count(column)} columns {column!r}" for column in wrong.values() if column in header]
        told = ", ".join([f"no columns {lacking}"] * bool(lacking) + several)
        options = dict.fromkeys(option.split()[0] for option in wrong)  # "--unit 2" is the second column of --unit
        found = ", ".join(map(printable, header)) or "none"
        raise ConfigError(f"{where}: {told}; the columns are {found}: name yours with {', '.join(options)}")
