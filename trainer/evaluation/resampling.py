"""Bootstrap by document, over the distinct rows that documents have: exact, and independent of how many they are.

Documents with the same row (truth and prediction, or the ratings of all coders) add the same to any figure. Drawing n
documents with replacement is drawing how often each distinct row comes: one multinomial draw (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 6). A figure is then computed from counts, for all samples at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.evaluation.figure import Figure

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SAMPLES = 1000
LEVEL = 0.95
SEED = 0


@dataclass(frozen=True)
class Patterns:
    """The distinct ``rows`` [patterns, columns] of a table, sorted, and how many documents have each: ``counts``.

    ``of_document`` [documents] is each document's row in ``rows``.
    """

    rows: Ints
    counts: Ints
    of_document: Ints


def patterns(table: npt.ArrayLike) -> Patterns:
    """The distinct rows of a table of integers [documents, columns]; -1 may stand for what is missing."""
    rows = np.asarray(table, dtype=np.int64)
    if not rows.size:
        return Patterns(rows[:0], np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    _, first, of_document, counts = np.unique(_places(rows), return_index=True, return_inverse=True, return_counts=True)
    return Patterns(rows[first], counts.astype(np.int64), of_document.astype(np.int64))


def _places(rows: Ints) -> Ints:
    """A number for each row [documents], equal for equal rows and in their order: sorting numbers takes a twentieth of
    the time that sorting rows takes."""
    found: Ints = np.zeros(len(rows), dtype=np.int64)
    most = 1
    for column in rows.T:
        low, width = int(column.min()), int(column.max()) - int(column.min()) + 1
        if most * width >= 2**62:
            found = np.unique(found, return_inverse=True)[1].astype(np.int64)
            most = int(found.max()) + 1
        if most * width >= 2**62:
            column = np.unique(column, return_inverse=True)[1]
            low, width = 0, int(column.max()) + 1
        found, most = found * width + (column - low), most * width
    return found


def resampled(counts: Ints, samples: int = SAMPLES, seed: int = SEED) -> Ints:
    """How often each distinct row comes in each of ``samples`` draws of all documents: [samples, patterns]."""
    total = int(counts.sum())
    if total == 0:
        return np.zeros((samples, len(counts)), dtype=np.int64)
    return np.random.default_rng(seed).multinomial(total, counts / total, size=samples).astype(np.int64)


def interval(values: Floats) -> tuple[float | None, float | None]:
    """The percentile interval over samples [samples]; those where the figure is undefined (NaN) do not count.

    (None, None) where it is undefined in more than half of them: what is left says little of the rest.
    """
    defined = values[np.isfinite(values)]
    if len(defined) <= len(values) / 2:
        return None, None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def figure(
    counts: Ints,
    compute: Callable[[Ints], Floats],
    *,
    samples: int = SAMPLES,
    seed: int = SEED,
    why: str = "undefined",
    n: int | None = None,
) -> Figure:
    """The figure that ``compute`` makes of counts [samples, patterns] -> [samples], NaN for undefined, with interval.

    ``why`` is the reason that is given where it is undefined; ``n`` is the number of documents when not given.
    """
    value = float(compute(counts[None])[0])
    number = int(counts.sum()) if n is None else n
    if not np.isfinite(value):
        return Figure(None, number, why=why)
    low, high = interval(compute(resampled(counts, samples, seed))) if samples else (None, None)
    return Figure(value, number, low, high)
