"""A plot in words, for those who cannot see it; the table of its numbers stands beside it."""

from __future__ import annotations

from trainer.evaluation.blocks import Bars, Format, Heatmap, Lines, Series
from trainer.evaluation.cells import number, text_of

TOLD = 12  # bars or lines that are told one by one


def told(block: Heatmap | Lines | Bars) -> str:
    """What the plot shows, in a few sentences of plain text."""
    words = (
        _heatmap(block) if isinstance(block, Heatmap) else _lines(block) if isinstance(block, Lines) else _bars(block)
    )
    return "".join(letter if letter.isprintable() else " " for letter in f"{words} The table of its numbers follows.")


def _heatmap(block: Heatmap) -> str:
    rows, columns = (f" ({title})" if title else "" for title in (block.row_title, block.column_title))
    size = f"Heat map with {len(block.rows)} rows{rows} and {len(block.columns)} columns{columns}."
    cells = [
        (value, row, column)
        for row, values in zip(block.rows, block.values, strict=True)
        for column, value in zip(block.columns, values, strict=True)
        if value is not None and row != column
    ]
    if not cells:
        return size
    low, high = min(cells), max(cells)
    named = [f"{number(value, block.format)} at {row} and {column}" for value, row, column in (high, low)]
    return f"{size} Off the diagonal the highest is {named[0]}, the lowest {named[1]}."


def _lines(block: Lines) -> str:
    axes = f"Line plot of {block.y_title} over {block.x_title}."
    reference = " A dashed diagonal shows where both are equal." if block.diagonal else ""
    return " ".join([axes + reference, *map(_line, block.series[:TOLD])])


def _line(one: Series) -> str:
    points = [(x, y) for x, y in zip(one.x, one.y, strict=True) if y is not None]
    if not points:
        return f"{one.name}: undefined everywhere."
    ends = [f"{number(y, Format.AMOUNT)} at {number(x, Format.AMOUNT)}" for x, y in (points[0], points[-1])]
    return f"{one.name}: {ends[0]}." if len(points) == 1 else f"{one.name}: from {ends[0]} to {ends[1]}."


def _bars(block: Bars) -> str:
    shown = list(zip(block.names, block.figures, strict=True))[:TOLD]
    bars = [f"{name}: {text_of(figure, block.format)}." for name, figure in shown]
    return " ".join([f"Bars of {block.x_title}.", *bars])
