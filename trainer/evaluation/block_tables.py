"""Any block of a report as a table of its numbers: for the console, for CSV files, and for readers of a plot who cannot
see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from trainer.evaluation.blocks import Bars, Block, Column, Format, Heatmap, Lines, Series, Table


class Keyed(Protocol):
    """What has a key: sections, blocks, columns."""

    @property
    def key(self) -> str: ...


Item = TypeVar("Item", bound=Keyed)
Thing = TypeVar("Thing")


def by_key(items: Iterable[Item]) -> dict[str, Item]:
    """key -> item, in order. A key that comes again is numbered (``kappa``, ``kappa-2``): nothing is lost."""
    return named(items, lambda item: item.key)


def named(items: Iterable[Thing], name: Callable[[Thing], str]) -> dict[str, Thing]:
    """name -> item, in order; a name that comes again is numbered."""
    found: dict[str, Thing] = {}
    for item in items:
        own, number = name(item), 1
        while own in found:
            number += 1
            own = f"{name(item)}-{number}"
        found[own] = item
    return found


def table_of(block: Block) -> Table:
    """The block itself where it is a table; a heat map as its matrix, bars as rows, lines as a row per point."""
    if isinstance(block, Table):
        return block
    if isinstance(block, Heatmap):
        columns = (Column("row", ""), *(Column(name, name, block.format) for name in block.columns))
        matrix = tuple((name, *values) for name, values in zip(block.rows, block.values, strict=True))
        return Table(block.key, block.title, columns, matrix, block.note)
    if isinstance(block, Bars):
        columns = (Column("name", ""), Column("value", block.x_title, block.format))
        return Table(block.key, block.title, columns, tuple(zip(block.names, block.figures, strict=True)), block.note)
    return _points(block)


def _points(block: Lines) -> Table:
    ends = any(one.low or one.high for one in block.series)
    titles = {"x": block.x_title, "y": block.y_title, "low": "low", "high": "high"}
    columns = (Column("series", "line"), *(Column(key, title, Format.AMOUNT) for key, title in titles.items()))
    shown = len(columns) if ends else 3
    rows = tuple(row[:shown] for one in block.series for row in _series_rows(one))
    return Table(block.key, block.title, columns[:shown], rows, block.note)


def _series_rows(one: Series) -> Iterable[tuple[str, float, float | None, float | None, float | None]]:
    low, high = _filled(one.low, len(one.x)), _filled(one.high, len(one.x))
    for x, y, bottom, top in zip(one.x, one.y, low, high, strict=True):
        yield one.name, x, y, bottom, top


def _filled(values: Sequence[float | None], length: int) -> Sequence[float | None]:
    return values or (None,) * length
