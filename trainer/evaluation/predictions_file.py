"""Predictions in a team's own file, beside the truth: judged without a project.

A row is a document. Cells are codes as they stand there, blanks around them and the ``.0`` that spreadsheets put after
whole numbers taken off; with a separator, or where JSON has lists, several codes. ``none`` says that no code holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from label_configs.codes import LEVEL_MARK, Kind, printable
from label_configs.errors import ConfigError
from ml_backend.row_report import RowProblem
from ml_backend.rows import Row, read_rows
from trainer.evaluation.judged import Judged, Role

NONE = "none"
NAMED = 3  # rows or codes in a note
_WHOLE = re.compile(r"-?\d+\.0+")


@dataclass(frozen=True)
class FileCodes:
    """The codes that stand in a file's truth, sorted: numbers by their value, others after them by name.

    ``levels`` of a graded file from low to high: its labels are ``code:level``, codes first.
    """

    kind: Kind
    label_keys: tuple[str, ...]
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictionsFile:
    """What a file says: ``judged`` has one for each prediction column, all on the same rows.

    ``others`` [documents] are the values of the other columns, ``texts`` those of the text column, empty where none
    was named. ``notes`` say what was left out, and what looks wrong.
    """

    path: Path
    codes: FileCodes
    judged: tuple[Judged, ...]
    others: tuple[Mapping[str, str], ...]
    texts: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Columns:
    """Where a file has what. ``id`` None: its column ``id`` where there is one, else the row's number; ``separator``
    of several codes in a cell, "" where there is one; ``levels`` of ``code:level``, from low to high."""

    truth: str
    predictions: tuple[str, ...]
    id: str | None = None
    text: str | None = None
    separator: str = ""
    levels: tuple[str, ...] = ()

    @property
    def named(self) -> dict[str, str]:
        """Columns that must be there, by the option that names each."""
        found = {"--truth-column": self.truth}
        found |= {
            f"--prediction-column{'' if not at else f' ({at + 1})'}": one for at, one in enumerate(self.predictions)
        }
        return found | {
            option: one for option, one in (("--id-column", self.id), ("--text-column", self.text)) if one is not None
        }


def read_predictions(path: Path, columns: Columns, encoding: str | None = None) -> PredictionsFile:
    """Read a CSV, TSV, JSON, JSONL or Parquet file.

    Rows without a truth, and rows that cannot be read, are left out and counted in ``notes``; a row without a
    prediction is a wrong one. Raises ConfigError when the file or a column is missing, naming the columns there are.
    """
    rows: list[Row] = []
    broken: list[RowProblem] = []
    for found in read_rows(path, columns.named, optional=None, encoding=encoding):
        if isinstance(found, RowProblem):
            broken.append(found)
        else:
            rows.append(found)
    _check_keys(path, rows, columns)
    several = bool(columns.separator or columns.levels) or any(
        isinstance(row.values.get(columns.truth), list) for row in rows
    )
    kind = Kind.GRADED if columns.levels else Kind.MULTILABEL if several else Kind.EXCLUSIVE
    truths = [_codes(row.values.get(columns.truth), columns.separator, kind) for row in rows]
    kept = [at for at, own in enumerate(truths) if own is not None]
    codes = _labels_of([truths[at] or () for at in kept], kind, columns.levels)
    known = set(codes.label_keys)
    usable = [at for at in kept if known.issuperset(truths[at] or ())]
    chosen = [rows[at] for at in usable]
    names = _names(chosen, columns)
    truth = tuple(truths[at] or () for at in usable)
    notes = _notes(path, len(rows) - len(kept), len(kept) - len(usable), broken)
    judged = []
    for column in columns.predictions:
        said = [_codes(row.values.get(column), columns.separator, kind) for row in chosen]
        notes += _doubts(column, said, truth, kind)
        predicted = tuple(own or () for own in said)
        strange = tuple(sorted({key for own in predicted for key in own} - known))
        judged.append(
            Judged(column, column, Role.SOURCE, names, truth, predicted, f"column {columns.truth}", (), strange)
        )
    own = {columns.truth, *columns.predictions, columns.id or "id", columns.text}
    others = tuple({str(key): _text(value) for key, value in row.values.items() if key not in own} for row in chosen)
    texts = tuple(_text(row.values.get(columns.text)) if columns.text else "" for row in chosen)
    return PredictionsFile(path, codes, tuple(judged), others, texts, tuple(notes))


def _check_keys(path: Path, rows: Sequence[Row], columns: Columns) -> None:
    """JSON objects may lack a key, but not all of them."""
    for option, column in columns.named.items():
        if rows and not any(column in row.values for row in rows):
            there = ", ".join(printable(str(key)) for key in rows[0].values) or "none"
            raise ConfigError(f"{path}: no column {column!r}; the columns are {there}: name yours with {option}")


def _codes(value: Any, separator: str, kind: Kind) -> tuple[str, ...] | None:
    """The codes of a cell; None where it is empty. In a list or with a separator none is ``none``."""
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(text for one in value if (text := _text(one))))
    text = _text(value)
    if not text:
        return None
    if kind is Kind.EXCLUSIVE:
        return (text,)
    parts = text.split(separator) if separator else [text]
    found = tuple(dict.fromkeys(one for part in parts if (one := _text(part))))
    return () if found == (NONE,) else found


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN, as Parquet has it
        return ""
    text = str(value).strip()
    return text.partition(".")[0] if _WHOLE.fullmatch(text) else text


def _labels_of(truths: Sequence[tuple[str, ...]], kind: Kind, levels: tuple[str, ...]) -> FileCodes:
    found = {key for own in truths for key in own}
    if kind is not Kind.GRADED:
        return FileCodes(kind, tuple(sorted(found, key=_order)))
    codes = {key.rpartition(LEVEL_MARK)[0] for key in found if key.rpartition(LEVEL_MARK)[2] in levels}
    ordered = sorted(codes - {""}, key=_order)
    return FileCodes(kind, tuple(f"{code}{LEVEL_MARK}{level}" for code in ordered for level in levels), levels)


def _order(key: str) -> tuple[bool, int, str]:
    return (False, int(key), "") if key.isdecimal() else (True, 0, key)


def _names(rows: Sequence[Row], columns: Columns) -> tuple[str, ...]:
    """Each row's id, with the row's number after one that is missing or stands before: rows are what is judged."""
    column = columns.id or "id"
    seen: set[str] = set()
    names = []
    for row in rows:
        name = _text(row.values.get(column))
        if not name or name in seen:
            name = f"{name or 'row'} {row.number}"
        seen.add(name)
        names.append(name)
    return tuple(names)


def _notes(path: Path, empty: int, unknown: int, broken: Sequence[RowProblem]) -> list[str]:
    notes = []
    if empty:
        notes.append(f"{path.name}: {empty:,} rows without a truth are left out; write {NONE} where no code holds.")
    if unknown:
        notes.append(f"{path.name}: {unknown:,} rows are left out, their truth is not code{LEVEL_MARK}level.")
    if broken:
        named = "; ".join(map(str, broken[:NAMED]))
        notes.append(f"{len(broken):,} rows cannot be read and are left out: {named}.")
    return notes


def _doubts(
    column: str, said: Sequence[tuple[str, ...] | None], truth: Sequence[tuple[str, ...]], kind: Kind
) -> list[str]:
    empty = sum(own is None for own in said)
    notes = (
        [f"{column}: {empty:,} rows without a prediction count as wrong."] if empty and kind is Kind.EXCLUSIVE else []
    )
    if empty and kind is not Kind.EXCLUSIVE:
        notes.append(f"{column}: {empty:,} rows without a prediction count as predicting no code.")
    true, guess = {key for own in truth for key in own}, {key for own in said for key in own or ()}
    if true and guess and not true & guess:
        notes.append(
            f"{column}: no prediction is a code of the truth ({', '.join(sorted(guess)[:NAMED])} against "
            f"{', '.join(sorted(true)[:NAMED])}); are codes written alike in both columns?"
        )
    return notes
