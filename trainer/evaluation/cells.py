"""A cell of a report as text: the same words on the console and on the page."""

from __future__ import annotations

import math
from numbers import Integral, Real

from trainer.evaluation.blocks import Cell, Format, Link
from trainer.evaluation.figure import Figure

NOTHING = "–"


def text_of(cell: Cell, how: Format = Format.PLAIN) -> str:
    """``85.2 % [81.0, 88.9]  n = 212`` for a figure, ``– (why)`` for an undefined one, a dash for None or NaN."""
    if isinstance(cell, Figure):
        return _figure(cell, how)
    if isinstance(cell, Link):
        return cell.text
    if cell is None:
        return NOTHING
    if isinstance(cell, str):
        return cell
    return number(cell, how)


def number(value: float, how: Format) -> str:
    """One number with its unit; a dash where it is not finite. ``.852`` for a share, as coefficients are printed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not math.isfinite(value):
        return NOTHING
    unit = {Format.PERCENT: " %", Format.SECONDS: " s"}.get(how, "")
    return f"{_digits(value, how)}{unit}"


def interval_text(figure: Figure, how: Format) -> str:
    """``[81.0, 88.9]`` in the column's unit, empty where there is no interval."""
    if figure.low is None or figure.high is None:
        return ""
    return f"[{_digits(figure.low, how)}, {_digits(figure.high, how)}]"


def is_number(cell: object) -> bool:
    """Whether a cell is shown at the right of its column, as numbers are."""
    return isinstance(cell, Figure | Real)


def _figure(figure: Figure, how: Format) -> str:
    if figure.value is None or not math.isfinite(figure.value):
        return f"{NOTHING} ({figure.why})" if figure.why else NOTHING
    value = " ".join(filter(None, (number(figure.value, how), interval_text(figure, how))))
    return f"{value}  n = {figure.n:,}"


def _digits(value: float, how: Format) -> str:
    if how is Format.PERCENT:
        return _no_minus_zero(f"{100 * value:,.1f}")
    if how is Format.SHARE:
        text = _no_minus_zero(f"{value:.3f}")
        return text.replace("0.", ".", 1) if abs(value) < 1 and text.lstrip("-").startswith("0.") else text
    if how is Format.SECONDS:
        return _no_minus_zero(f"{value:,.1f}")
    if isinstance(value, Integral) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def _no_minus_zero(text: str) -> str:
    return text.lstrip("-") if text.startswith("-") and not text.strip("-0.,") else text
