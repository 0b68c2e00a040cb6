"""How far two answers are apart, for Krippendorff's alpha: nominal, and MASI for sets of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from trainer.evaluation.resampling import Floats, Ints

BLOCK = 512  # rows of the matrix of distances that are held at once


class Distance(Protocol):
    """A squared difference between categories, 0 for equal ones."""

    def between(self, one: Ints, two: Ints) -> Floats:
        """The distance of each pair of categories [pairs]."""

    def spread(self, totals: Floats) -> Floats:
        """The sum over all pairs of categories of both their totals [samples, categories] and their distance."""


class Nominal:
    """1 for any two categories that differ."""

    def between(self, one: Ints, two: Ints) -> Floats:
        """1 where they differ."""
        return np.asarray(one != two, dtype=np.float64)

    def spread(self, totals: Floats) -> Floats:
        """(sum of totals)² less the sum of their squares: whole numbers, hence exact."""
        return np.asarray(totals.sum(axis=1) ** 2 - (totals**2).sum(axis=1))


class Masi:
    """1 - J·M of two sets (Passonneau, Measuring Agreement on Set-valued Items, LREC 2006).

    J is Jaccard's share of what both have; M is 1 for equal sets, 2/3 where one holds the other, 1/3 where they
    overlap, 0 where they have nothing in common. Two empty sets are equal.
    """

    def __init__(self, sets: Sequence[Sequence[str]]) -> None:
        names = {name: place for place, name in enumerate(sorted({name for one in sets for name in one}))}
        self._has = np.zeros((len(sets), len(names)))
        for row, one in enumerate(sets):
            self._has[row, [names[name] for name in one]] = 1.0
        self._size = self._has.sum(axis=1)

    def between(self, one: Ints, two: Ints) -> Floats:
        """Distances of pairs of sets, given by their places."""
        both = (self._has[one] * self._has[two]).sum(axis=1)
        return _masi(both, self._size[one], self._size[two])

    def spread(self, totals: Floats) -> Floats:
        """As promised by Distance; samples × sets² / 2 operations, in blocks: the matrix of distances is symmetric."""
        found = np.zeros(len(totals))
        for start in range(0, len(self._has), BLOCK):
            rows = slice(start, start + BLOCK)
            block = _masi(self._has[rows] @ self._has[start:].T, self._size[rows, None], self._size[None, start:])
            block[:, BLOCK:] *= 2
            found += np.einsum("sb,sb->s", totals[:, start:] @ block.T, totals[:, rows])
        return found


def _masi(both: Floats, one: Floats, two: Floats) -> Floats:
    any_of_them = one + two - both
    jaccard = np.divide(both, any_of_them, out=np.ones_like(both), where=any_of_them > 0)
    smaller = np.minimum(one, two)
    monotony = np.select(
        [(both == one) & (both == two), (both == smaller) & (both > 0), both > 0], [1.0, 2 / 3, 1 / 3], 0.0
    )
    return np.asarray(1.0 - jaccard * monotony)
