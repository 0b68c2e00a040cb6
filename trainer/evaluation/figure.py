"""One figure of a report: a value with what it rests on, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """``value``, None where it is undefined: ``why`` then says in a few words why. It rests on ``n`` units.

    ``low`` and ``high`` are the ends of its 95 % interval, None where none was computed or it is undefined.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    why: str = ""


def undefined(why: str, n: int = 0) -> Figure:
    """A figure that cannot be computed, and why: "no document has it", "one rating in common"."""
    return Figure(None, n, why=why)
