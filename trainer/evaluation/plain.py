"""Sections of a report as plain data: for ``--json``, and as CSV files."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from ml_backend.atomic import write_atomically
from trainer.evaluation.block_tables import by_key, named, table_of
from trainer.evaluation.blocks import Bars, Block, Cell, Heatmap, Lines, Link, Section, Series, Table
from trainer.evaluation.figure import Figure

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet compute a cell
LONGEST = 150  # characters of a file's name
PARTS = ("n", "low", "high", "why")  # a figure's columns beside its value


def sections_json(sections: Iterable[Section]) -> dict[str, Any]:
    """Data for ``json.dumps``: by section key its ``title``, ``findings``, ``blocks`` by their keys, and ``notes``.

    A block says its ``kind``: table (``rows`` by column key), heatmap, lines, bars. A figure is ``{"value", "n",
    "low", "high", "why"}``. What is undefined is null, never NaN.
    """
    return {
        key: {
            "title": section.title,
            "findings": [{"tone": finding.tone.value, "text": finding.text} for finding in section.findings],
            "blocks": {name: _block(block) for name, block in by_key(section.blocks).items()},
            "notes": list(section.notes),
        }
        for key, section in by_key(sections).items()
    }


def write_csv(folder: Path, sections: Iterable[Section]) -> list[Path]:
    """Write one CSV file for each table and plot, ``<section>-<key>.csv``, and return their paths, in order.

    A figure has five columns: its value under the column's name, then ``_n``, ``_low``, ``_high``, ``_why``; a link has
    its address in ``_url``. What is undefined is empty. A text that a spreadsheet would take for a formula (it begins
    with = + - @) gets an apostrophe before it. Raises EnvironmentFault when the folder cannot be written to.
    """
    blocks = [(f"{key}-{block.key}", block) for key, one in by_key(sections).items() for block in one.blocks]
    files = named(blocks, lambda pair: re.sub(r"[^A-Za-z0-9._-]", "_", pair[0])[:LONGEST])
    for name, (_, block) in files.items():
        write_atomically(folder / f"{name}.csv", _csv(table_of(block)))
    return [folder / f"{name}.csv" for name in files]


def _block(block: Block) -> dict[str, Any]:
    head = {"title": block.title, "note": block.note}
    if isinstance(block, Table):
        columns = by_key(block.columns)
        rows = [dict(zip(columns, map(_cell, row), strict=True)) for row in block.rows]
        named = [{"key": key, "title": column.title, "format": column.format.value} for key, column in columns.items()]
        return {"kind": "table", **head, "columns": named, "rows": rows}
    if isinstance(block, Heatmap):
        values = [[_cell(value) for value in row] for row in block.values]
        return {"kind": "heatmap", **head, "rows": list(block.rows), "columns": list(block.columns), "values": values}
    if isinstance(block, Bars):
        bars = [{"name": name, **_cell(one)} for name, one in zip(block.names, block.figures, strict=True)]
        return {"kind": "bars", **head, "x_title": block.x_title, "bars": bars}
    return _lines(block, head)


def _lines(block: Lines, head: dict[str, str]) -> dict[str, Any]:
    titles = {"x_title": block.x_title, "y_title": block.y_title}
    return {"kind": "lines", **head, **titles, "series": [_series(one) for one in block.series]}


def _series(one: Series) -> dict[str, Any]:
    ends = {"x": one.x, "y": one.y, "low": one.low, "high": one.high}
    return {"name": one.name, **{name: [_cell(value) for value in values] for name, values in ends.items()}}


def _cell(cell: Cell) -> Any:
    if isinstance(cell, Figure):
        ends = {"value": _number(cell.value), "n": int(cell.n), "low": _number(cell.low), "high": _number(cell.high)}
        return ends | {"why": cell.why}
    if isinstance(cell, Link):
        return {"text": cell.text, "url": cell.url}
    return cell if isinstance(cell, str) else _number(cell)


def _number(value: float | None) -> float | None:
    """A number of Python's own that JSON has: None for NaN and infinity, which it has not."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _csv(table: Table) -> str:
    columns = by_key(table.columns)
    figures = [any(isinstance(row[index], Figure) for row in table.rows) for index in range(len(columns))]
    links = [any(isinstance(row[index], Link) for row in table.rows) for index in range(len(columns))]
    header: list[str] = []
    for name, figure, link in zip(columns, figures, links, strict=True):
        header += [name, *(f"{name}_{part}" for part in PARTS if figure), *([f"{name}_url"] if link else [])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_guarded(name) for name in header])
    for row in table.rows:
        writer.writerow(_written(row, figures, links))
    return text.getvalue()


def _written(row: Sequence[Cell], figures: Sequence[bool], links: Sequence[bool]) -> list[str | float | None]:
    written: list[str | float | None] = []
    for cell, figure, link in zip(row, figures, links, strict=True):
        parts = cell if isinstance(cell, Figure) else None
        plain = None if parts else _plain(cell)
        written.append(_number(parts.value) if parts else plain)
        if figure:
            ends = (parts.n, _number(parts.low), _number(parts.high), _guarded(parts.why)) if parts else (None,) * 4
            written += ends
        if link:
            written.append(_guarded(cell.url) if isinstance(cell, Link) else None)
    return written


def _plain(cell: Cell) -> str | float | None:
    if isinstance(cell, Link):
        return _guarded(cell.text)
    if isinstance(cell, str):
        return _guarded(cell)
    return None if isinstance(cell, Figure) else _number(cell)


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
