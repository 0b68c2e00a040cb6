"""Sections of a report on a terminal: sentences with a mark each, and tables that never lose a column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from trainer.evaluation.block_tables import table_of
from trainer.evaluation.blocks import Finding, Section, Table, Tone
from trainer.evaluation.cells import is_number, text_of

MARKS = {
    Tone.GOOD: ("✓", "green"),
    Tone.WARNING: ("!", "yellow"),
    Tone.BAD: ("✗", "red"),
    Tone.PLAIN: ("·", ""),
    Tone.NEXT: ("→", "cyan"),
}
LONGEST = 48  # columns of a terminal that one cell may take before it is folded
BORDER = 3  # columns of a terminal between two cells


def show(console: Console, sections: Iterable[Section]) -> None:
    """Print sections: findings, then every block as a table of its numbers, then how they were computed.

    A table that is wider than the terminal is printed in parts, each with its first column. Names of codes and coders
    are text, never markup.
    """
    for section in sections:
        console.print(Rule(Text(section.title), align="left"))
        show_findings(console, section.findings)
        for block in section.blocks:
            _show_table(console, table_of(block))
        for note in section.notes:
            console.print(Text(note, style="dim"))
        console.print()


def show_findings(console: Console, findings: Iterable[Finding]) -> None:
    """One sentence a line, after a mark that says how it is meant: ✓ good, ! warning, ✗ bad, → what to do."""
    for finding in findings:
        mark, style = MARKS[finding.tone]
        line = RichTable.grid(padding=(0, 1, 0, 0))
        line.add_row(Text(mark, style=style), Text(finding.text))
        console.print(line)


def _show_table(console: Console, table: Table) -> None:
    texts = [
        [text_of(cell, column.format) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows
    ]
    right = [_right(table, index) for index in range(len(table.columns))]
    widths = [
        min(LONGEST, max(map(cell_len, (column.title, *(row[index] for row in texts)))))
        for index, column in enumerate(table.columns)
    ]
    title = table.title
    for part in _parts(widths, console.width):
        console.print(_rich_table(table, texts, part, right, title))
        title = f"{table.title} (continued)"
    if table.note:
        console.print(Padding(Text(table.note, style="dim"), (0, 0, 0, 1)))


def _right(table: Table, index: int) -> bool:
    cells = [row[index] for row in table.rows if row[index] is not None]
    return bool(cells) and all(is_number(cell) for cell in cells)


def _parts(widths: Sequence[int], room: int) -> list[list[int]]:
    """Indexes of columns, in parts that fit into ``room``, each beginning with the first column."""
    parts: list[list[int]] = [[0]]
    for index in range(1, len(widths)):
        used = sum(widths[column] + BORDER for column in parts[-1]) + 1
        if len(parts[-1]) > 1 and used + widths[index] + BORDER > room:
            parts.append([0])
        parts[-1].append(index)
    return parts


def _rich_table(
    table: Table, texts: Sequence[Sequence[str]], part: Sequence[int], right: Sequence[bool], title: str
) -> RichTable:
    shown = RichTable(title=Text(title), title_justify="left")
    for index in part:
        shown.add_column(
            Text(table.columns[index].title),
            justify="right" if right[index] else "left",
            max_width=LONGEST,
            overflow="fold",
        )
    for row in texts:
        shown.add_row(*(Text(row[index]) for index in part))
    return shown
