"""Seconds per document from Label Studio's lead times: which count, and their median and mean with intervals.

A lead time runs from opening a document to submitting it, and has no upper bound: a coder who goes for lunch would
shift every mean. Trimmed is what lies beyond the coder's own outer fence in an arm, the third quartile plus three
interquartile ranges, of the logarithms (Tukey, Exploratory Data Analysis, 1977): with a typical spread some ten times
as long as the third quartile. Short ones are never trimmed: they are looked at under rubber-stamping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from label_configs.records import Arm, Decision
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.resampling import SAMPLES, SEED, Floats, Ints, figure, patterns

FENCE = 3.0  # interquartile ranges
ENOUGH = 8  # lead times of a coder in an arm; quartiles of fewer say little, and nothing is trimmed
SECOND_DIGITS, KEY_DIGITS = 1, 3  # what figures are rounded to, so that many documents share a value
NO_TIMES = "no lead times"


@dataclass(frozen=True)
class LeadTimes:
    """The ``timed`` decisions that count, how many were ``trimmed``, and how many have no lead time (``untimed``)."""

    timed: tuple[Decision, ...]
    trimmed: int
    untimed: int


def coded(decisions: Iterable[Decision]) -> list[Decision]:
    """Decisions that are a coder's first on a document: no skips, no ground truth, nothing on documents shown again."""
    return [one for one in decisions if not (one.skipped or one.ground_truth or one.repeat)]


def lead_times(decisions: Iterable[Decision]) -> LeadTimes:
    """Of ``coded`` decisions those with a lead time above 0, less each coder's outliers (see above)."""
    groups: dict[tuple[str, Arm], list[Decision]] = {}
    untimed = 0
    for decision in decisions:
        if decision.seconds is None or not decision.seconds > 0:
            untimed += 1
        else:
            groups.setdefault((decision.coder, decision.arm), []).append(decision)
    timed = [one for own in groups.values() for one in _within_fence(own)]
    return LeadTimes(tuple(timed), sum(map(len, groups.values())) - len(timed), untimed)


def _within_fence(decisions: Sequence[Decision]) -> list[Decision]:
    if len(decisions) < ENOUGH:
        return list(decisions)
    logs = np.log([one.seconds or 0.0 for one in decisions])
    first, third = np.quantile(logs, [0.25, 0.75])
    fence = third + FENCE * (third - first)
    # Rounding must not trim a coder whose lead times are all the same.
    return [one for one, log in zip(decisions, logs, strict=True) if log <= fence + 1e-9]


def seconds_figures(timed: Iterable[Decision], *, samples: int = SAMPLES, seed: int = SEED) -> tuple[Figure, Figure]:
    """Median and mean of the seconds per document, with bootstrap intervals by document.

    A document's seconds are the mean of its coders', to a tenth of a second.
    """
    values = [(one.document_id, one.seconds) for one in timed if one.seconds is not None]
    return (
        per_document(values, median, SECOND_DIGITS, NO_TIMES, samples=samples, seed=seed),
        per_document(values, mean, SECOND_DIGITS, NO_TIMES, samples=samples, seed=seed),
    )


Statistic = Callable[[Floats, Ints], Floats]
"""Of values in ascending order [patterns] and their counts [samples, patterns]: a figure of each sample [samples]."""


def per_document(
    values: Iterable[tuple[str, float]],
    statistic: Statistic,
    digits: int,
    why: str,
    *,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> Figure:
    """A figure of one value per document: the mean of the values that come with its id, rounded to ``digits``.

    ``why`` is said where there is no value. The bootstrap draws documents.
    """
    sums: dict[str, tuple[float, int]] = {}
    for document_id, value in values:
        total, number = sums.get(document_id, (0.0, 0))
        sums[document_id] = (total + value, number + 1)
    if not sums:
        return undefined(why)
    scale = 10**digits
    means = np.array([total / number for total, number in sums.values()])
    found = patterns(np.rint(means * scale).astype(np.int64)[:, None])
    ordered = found.rows[:, 0] / scale
    return figure(found.counts, lambda counts: statistic(ordered, counts), samples=samples, seed=seed)


def median(values: Floats, counts: Ints) -> Floats:
    """The middle value, or the mean of the two in the middle."""
    before = counts.cumsum(axis=1)
    total = before[:, -1:]
    lower = (before >= (total + 1) // 2).argmax(axis=1)
    upper = (before >= total // 2 + 1).argmax(axis=1)
    return np.asarray((values[lower] + values[upper]) / 2, dtype=np.float64)


def mean(values: Floats, counts: Ints) -> Floats:
    """The arithmetic mean."""
    return np.asarray(counts @ values / counts.sum(axis=1), dtype=np.float64)
