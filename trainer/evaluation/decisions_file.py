"""Decisions of coders in a plain file: one row for each, whatever its columns are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from label_configs.codes import printable
from label_configs.errors import ConfigError
from ml_backend.row_report import RowProblem, RowReport
from ml_backend.rows import Row, place, read_rows
from trainer.evaluation.resampling import Ints

SOURCE_COLUMNS = ("llm", "source", "model")
DOCUMENT_COLUMNS = ("id", "document", "document_id", "doc_id", "task", "task_id")
KEPT = frozenset({"y", "yes", "true", "1", "keep", "kept", "accept", "accepted"})
REJECTED = frozenset({"n", "no", "false", "0", "reject", "rejected"})


@dataclass(frozen=True)
class Columns:
    """What the columns of the file are called: ``unit`` is one or several, which name what is decided on.

    ``source`` says who proposed it, ``document`` what is drawn as one by the bootstrap; both are found where None.
    ``kept`` is the value that means so, None for the usual words.
    """

    unit: tuple[str, ...]
    coder: str
    value: str
    source: str | None = None
    document: str | None = None
    kept: str | None = None


@dataclass(frozen=True)
class FileDecisions:
    """The last decision of each coder on each unit.

    ``coders`` are in the order of their ids: numbers by their value, then others by name. ``table`` [units, coders]
    has places in ``values``, -1 where a coder decided nothing. ``document`` [units] is each unit's place among the
    documents. ``by_source`` counts decisions as (kept, all) by source; empty where there is no such column or nobody
    knows what means kept, and ``why_no_source`` says which. ``notes`` say what was assumed or left out.
    """

    path: Path
    coders: tuple[str, ...]
    values: tuple[str, ...]
    table: Ints
    document: Ints
    source_column: str | None = None
    by_source: dict[str, tuple[int, int]] = field(default_factory=dict)
    why_no_source: str = ""
    notes: tuple[str, ...] = ()


def read_decisions(path: Path, columns: Columns, *, encoding: str | None = None) -> FileDecisions:
    """The decisions of a CSV, TSV, JSON, JSONL or Parquet file, the later row of a coder on a unit in place of the
    earlier; a row without a value counts as no decision.

    Raises ConfigError for a file that cannot be read, for columns that it has not, and with the first lines at fault.
    """
    reading = _Reading(path, columns, encoding)
    for row in reading.rows():
        reading.add(row)
    reading.report.refuse("mend these rows and run it again")
    if not reading.last:
        raise ConfigError(f"{path}: no decisions; the file has no row with a value in {columns.value!r}")
    return reading.decisions()


class _Reading:
    """Rows as they come, and the last decision of each coder on each unit."""

    def __init__(self, path: Path, columns: Columns, encoding: str | None) -> None:
        self.path, self.columns, self.encoding = path, columns, encoding
        self.report = RowReport()
        self.last: dict[tuple[tuple[str, ...], str], tuple[str, str]] = {}  # (unit, coder) -> value, source
        self.documents: dict[tuple[str, ...], str] = {}
        self.count = self.empty = 0
        self.source, self.document = columns.source, columns.document

    def rows(self) -> Iterator[Row]:
        """The rows that can be read; of the others the report hears."""
        named = {f"--unit {number}": name for number, name in enumerate(self.columns.unit)}
        named |= {"--coder": self.columns.coder, "--value": self.columns.value}
        if self.source is not None:
            named["--source"] = self.source
        if self.document is not None:
            named["--document"] = self.document
        found = self._readable(named)
        first = next(found, None)
        if first is not None:
            self._look_for_columns(first)
            yield from chain([first], found)

    def _readable(self, named: dict[str, str]) -> Iterator[Row]:
        optional = [*SOURCE_COLUMNS, *DOCUMENT_COLUMNS]
        for row in read_rows(self.path, named, optional=optional, encoding=self.encoding):
            if isinstance(row, RowProblem):
                self.report.add(row)
            elif lacking := [name for name in named.values() if name not in row.values]:
                there = ", ".join(map(printable, row.values)) or "none"
                told = ", ".join(map(repr, lacking))
                self.report.add(RowProblem(place(self.path, row.number), f"no {told}; this row has {there}"))
            else:
                yield row

    def _look_for_columns(self, row: Row) -> None:
        taken = {*self.columns.unit, self.columns.coder, self.columns.value}
        if self.source is None:
            self.source = next((name for name in SOURCE_COLUMNS if name in row.values and name not in taken), None)
        if self.document is None and len(self.columns.unit) > 1:
            self.document = next((name for name in DOCUMENT_COLUMNS if name in self.columns.unit), None)

    def add(self, row: Row) -> None:
        """Take a row's decision in place of an earlier one; the report hears what is wrong with it."""
        unit = tuple(_text(row.values[name]) for name in self.columns.unit)
        coder = _text(row.values[self.columns.coder])
        blank = [name for name, text in zip(self.columns.unit, unit, strict=True) if not text]
        blank += [] if coder else [self.columns.coder]
        if blank:
            told = ", ".join(map(repr, blank))
            self.report.add(RowProblem(place(self.path, row.number), f"no value in {told}"))
            return
        self.count += 1
        value = _text(row.values[self.columns.value])
        if not value:
            self.empty += 1
            return
        self.last[unit, coder] = (value, _text(row.values.get(self.source)) if self.source else "")
        self.documents.setdefault(unit, _text(row.values.get(self.document)) if self.document else "")

    def decisions(self) -> FileDecisions:
        """All that was read."""
        units = {unit: place for place, unit in enumerate(dict.fromkeys(unit for unit, _ in self.last))}
        coders = sorted({coder for _, coder in self.last}, key=by_id)
        values = sorted({value for value, _ in self.last.values()})
        place_of = {value: place for place, value in enumerate(values)}
        column_of = {coder: place for place, coder in enumerate(coders)}
        table = np.full((len(units), len(coders)), -1, dtype=np.int64)
        for (unit, coder), (value, _) in self.last.items():
            table[units[unit], column_of[coder]] = place_of[value]
        names = [self.documents[unit] if self.document else unit for unit in units]
        number = {name: place for place, name in enumerate(dict.fromkeys(names))}
        kept, why = self._kept(values)
        by_source = {} if why else self._by_source(kept)
        return FileDecisions(
            self.path, tuple(coders), tuple(values), table, np.array([number[name] for name in names], dtype=np.int64),
            self.source, by_source, why, tuple(self._notes(kept)),
        )  # fmt: skip

    def _kept(self, values: Sequence[str]) -> tuple[tuple[str, ...], str]:
        """The values that mean kept, and why there is no share kept where it cannot be said."""
        if self.source is None:
            return (), f"no column {', '.join(SOURCE_COLUMNS[:-1])} or {SOURCE_COLUMNS[-1]}; name yours with --source"
        shown = ", ".join(map(printable, values[:5])) + (", ..." if len(values) > 5 else "")
        if self.columns.kept is not None:
            if self.columns.kept in values:
                return (self.columns.kept,), ""
            return (), f"no decision has the value {self.columns.kept!r}; the values are {shown}"
        if all(value.casefold() in KEPT | REJECTED for value in values):
            return tuple(value for value in values if value.casefold() in KEPT), ""
        return (), f"the values are {shown}; say with --kept which one means kept"

    def _by_source(self, kept: Sequence[str]) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for value, source in self.last.values():
            if source:
                so_far = found.get(source, (0, 0))
                found[source] = (so_far[0] + (value in kept), so_far[1] + 1)
        return dict(sorted(found.items()))

    def _notes(self, kept: Sequence[str]) -> Iterator[str]:
        replaced = self.count - self.empty - len(self.last)
        if replaced:
            yield (
                f"{replaced} decisions were replaced by a later one of the same coder on the same unit: the last of "
                f"{self.count - self.empty} counts."
            )
        if self.empty:
            yield f"{self.empty} rows have no value in {self.columns.value!r}: they count as no decision."
        if self.source is not None and self.columns.source is None:
            yield f"The column {self.source!r} was taken for the source; --source names another."
        if kept and self.columns.kept is None:
            yield f"Kept is what has the value {' or '.join(map(repr, kept))}; --kept names another."
        if self.document is not None:
            yield f"Intervals are from a bootstrap by document, the column {self.document!r}."
        else:
            yield "Intervals are from a bootstrap by unit; --document names the column by which units share a document."


def by_id(coder: str) -> tuple[bool, int, str]:
    """What coders are sorted by: numbers by their value, then others by name."""
    return (False, int(coder), coder) if coder.isascii() and coder.isdecimal() else (True, 0, coder)


def _text(value: Any) -> str:
    """A cell as text: what CSV would have; empty where there is nothing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
