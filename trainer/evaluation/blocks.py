"""What analyses hand to those who show them: sections of sentences, tables and plots, without a word on how they look.

The console, ``--json``, ``--csv``, the report's page and the dashboard all show the same sections.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trainer.evaluation.figure import Figure


@dataclass(frozen=True, slots=True)
class Link:
    """A text with an address, such as a task's page in Label Studio; ``url`` may be empty where none is known."""

    text: str
    url: str


Cell = str | int | float | Figure | Link | None
"""None shows as a dash: nothing was computed. A float is shown by its column's format."""


class Format(StrEnum):
    """How a column's numbers are shown."""

    PLAIN = "plain"  # texts, counts with thousands' separators
    PERCENT = "percent"  # a share as 85.2 %
    SHARE = "share"  # a coefficient as .852
    SECONDS = "seconds"  # 12.3 s
    AMOUNT = "amount"  # four digits that count


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; ``key`` names it in JSON and CSV (snake case), ``title`` for people."""

    key: str
    title: str
    format: Format = Format.PLAIN


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, one per column. ``key`` names the table's CSV file; ``note`` stands below it."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Values [rows, columns], None where undefined; ``low`` and ``high`` are the ends of the colour scale."""

    key: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    low: float = 0.0
    high: float = 1.0
    format: Format = Format.SHARE
    note: str = ""
    row_title: str = ""
    column_title: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one line, or bars; ``low`` and ``high`` are ends of intervals, empty or one for each point."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Lines:
    """A line plot. ``diagonal`` draws y = x for reference (reliability); ``log_x`` has a logarithmic x axis."""

    key: str
    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    diagonal: bool = False
    log_x: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars with intervals: a figure for each name, in this order."""

    key: str
    title: str
    x_title: str
    names: tuple[str, ...]
    figures: tuple[Figure, ...]
    note: str = ""
    format: Format = Format.SHARE


Block = Table | Heatmap | Lines | Bars


class Tone(StrEnum):
    """How a sentence of the summary is meant."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    PLAIN = "plain"
    NEXT = "next"  # what to do


@dataclass(frozen=True, slots=True)
class Finding:
    """One plain sentence with its figures, fit for the summary on top of a report."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report. ``findings`` say in plain words what it shows; ``notes`` how it was computed, and by whom
    the method is."""

    key: str
    title: str
    findings: tuple[Finding, ...] = ()
    blocks: tuple[Block, ...] = ()
    notes: tuple[str, ...] = ()
