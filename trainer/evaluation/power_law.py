"""How a figure grows with the number of documents trained on: the power law y = a - b n^(-c), fitted by least squares.

Learning curves of many models and tasks follow it (Hestness et al., Deep Learning Scaling is Predictable, Empirically,
arXiv 1712.00409, 2017; for few documents: Figueroa et al., BMC Medical Informatics and Decision Making 12:8, 2012).
``a`` is what endless documents would bring, at most 1; ``b`` and ``c`` are not negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.resampling import Floats, interval

FEWEST = 3  # points that are fitted
FARTHEST = 1_000_000  # documents that are looked ahead
_EXPONENTS = np.geomspace(0.02, 4.0, 160)


@dataclass(frozen=True)
class PowerLaw:
    """``y = a - b n^(-c)``."""

    a: float
    b: float
    c: float

    def at(self, n: float) -> float:
        """The figure that is expected after ``n`` documents."""
        return float(self.a - self.b * n**-self.c)

    def gain(self, n: float, more: int) -> float:
        """What ``more`` documents after ``n`` are expected to bring."""
        return self.at(n + more) - self.at(n)

    def enough(self, n: int, more: int, threshold: float) -> int | None:
        """The fewest documents, from ``n`` on, after which ``more`` bring less than ``threshold``; None where that is
        beyond a million."""
        low, high = n, n
        while self.gain(high, more) >= threshold:
            low, high = high, 2 * high + 1
            if high > FARTHEST:
                return None
        while low < high:  # the gain falls with every document
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.gain(middle, more) >= threshold else (low, middle)
        return low


def fit(n: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """The law that is nearest to the points; None for fewer than three different ``n``, and where none is found."""
    from scipy.optimize import curve_fit

    numbers, values = np.asarray(n, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(set(numbers.tolist())) < FEWEST:
        return None
    scale = float(numbers.max())  # of the largest, so that all three are of the same order
    start = _nearest(numbers / scale, values[None])[0]
    if start[1] == 0:  # it does not rise: the mean is the law, whatever c
        return PowerLaw(float(start[0]), 0.0, 1.0)
    bounds = ([-np.inf, 0.0, _EXPONENTS[0] / 2], [1.0, np.inf, 2 * _EXPONENTS[-1]])
    try:
        found, _ = curve_fit(_law, numbers / scale, values, p0=start, bounds=bounds, max_nfev=2000)
    except RuntimeError:  # it did not converge
        return None
    a, b, c = map(float, found)
    return PowerLaw(a, b * scale**c, c)


def gain_figure(points: Mapping[int, Sequence[float]], now: int, more: int, *, samples: int, seed: int) -> Figure:
    """What ``more`` documents after ``now`` are expected to bring, with an interval by bootstrap over the seeds.

    ``points`` are the figures measured after so many documents, one for each seed. Of each point as many seeds are
    drawn with replacement, and the law is fitted to the means. No interval where no point has two seeds.
    """
    numbers = sorted(points)
    law = fit(numbers, [float(np.mean(points[n])) for n in numbers])
    if law is None:
        return undefined(f"{len(numbers)} points, {FEWEST} are needed" if len(numbers) < FEWEST else "no law fits")
    value = law.gain(now, more)
    if samples < 1 or all(len(points[n]) < 2 for n in numbers):
        return Figure(value, len(numbers))
    generator = np.random.default_rng(seed)
    drawn = np.empty((samples, len(numbers)))
    for column, n in enumerate(numbers):
        own = np.asarray(points[n], dtype=np.float64)
        drawn[:, column] = own[generator.integers(len(own), size=(samples, len(own)))].mean(axis=1)
    scale = float(numbers[-1])
    a, b, c = _nearest(np.asarray(numbers) / scale, drawn).T
    gains = b * ((now / scale) ** -c - ((now + more) / scale) ** -c)
    del a
    low, high = interval(gains)
    return Figure(value, len(numbers), low, high)


def _law(n: Floats, a: float, b: float, c: float) -> Floats:
    return np.asarray(a - b * n**-c)


def _nearest(n: Floats, y: Floats) -> Floats:
    """(a, b, c) [samples, 3] of the nearest law to each row of ``y`` [samples, points], of those with c on a grid.

    For a given c the law is linear in a and b, so that the least squares are in closed form; where a is above 1 or b
    below 0, the nearest that is not lies on that edge.
    """
    x = n[None, :] ** -_EXPONENTS[:, None]  # [exponents, points]
    centred = x - x.mean(axis=1, keepdims=True)
    means = y.mean(axis=1)
    b = -(y @ centred.T) / (centred**2).sum(axis=1)  # [samples, exponents]
    a = means[:, None] + b * x.mean(axis=1)
    above = a > 1
    b = np.where(above, ((1 - y) @ x.T) / (x**2).sum(axis=1), b)
    a = np.where(above, 1.0, a)
    falls = b < 0
    a, b = np.where(falls, np.minimum(means, 1.0)[:, None], a), np.where(falls, 0.0, b)
    errors = ((a[:, :, None] - b[:, :, None] * x[None] - y[:, None, :]) ** 2).sum(axis=2)
    best = errors.argmin(axis=1)
    rows = np.arange(len(y))
    return np.stack([a[rows, best], b[rows, best], _EXPONENTS[best]], axis=1)
