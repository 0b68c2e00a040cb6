"""Coefficients of agreement, each as sums over units: of any bootstrap sample it is known from how often units come.

Ratings are rows [patterns, raters] of categories 0, 1, ..., and -1 for what is missing. A coefficient takes counts
[samples, patterns] and gives a value for each sample, NaN where it is undefined, all samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from scipy import sparse

from trainer.evaluation.agreement_distances import Distance, Nominal
from trainer.evaluation.resampling import Floats, Ints

Sparse = Any  # scipy.sparse.csr_array, which has no types
Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Coefficient:
    """``sums`` [patterns, terms] is what one unit of each pattern adds; ``finish`` makes values of their totals
    [samples, terms] -> [samples].

    ``units`` [patterns] is how many units with two ratings or more a pattern stands for. ``corrected``: for chance,
    so that one unit, or one category, says nothing.
    """

    sums: Sparse
    finish: Callable[[Floats], Floats]
    units: Floats
    corrected: bool = True

    def __call__(self, counts: Ints | Floats) -> Floats:
        """Its value for each sample [samples, patterns] -> [samples], NaN where undefined."""
        return self.of_totals(np.asarray((self.sums.T @ counts.T.astype(np.float64)).T))

    def of_totals(self, totals: Floats) -> Floats:
        """Its value for totals of its sums [samples, terms] -> [samples]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.finish(totals), dtype=np.float64)

    def grouped(self, groups: Sparse) -> Coefficient:
        """The same for groups of units, such as all questions about a document: ``groups`` [groups, patterns] is how
        many units of each pattern a group has."""
        return replace(self, sums=groups @ self.sums, units=groups @ self.units)


def percent(rows: Ints, pairs: Pairs | None = None) -> Coefficient:
    """Share of equal pairs of ratings among all pairs of ratings of a unit."""
    equal, found = np.zeros(len(rows)), np.zeros(len(rows))
    for one, two in _pairs(rows, pairs):
        both = (rows[:, one] >= 0) & (rows[:, two] >= 0)
        found += both
        equal += both & (rows[:, one] == rows[:, two])
    return Coefficient(_columns(equal, found), lambda t: t[:, 0] / t[:, 1], _units(found), corrected=False)


def kappa(rows: Ints, categories: int, weights: Floats | None = None, pairs: Pairs | None = None) -> Coefficient:
    """Cohen's kappa of two raters (Educational and Psychological Measurement, 1960); of several, of all their pairs
    put together, the first rater of a pair in rows and the second in columns of one table.

    ``weights`` [categories, categories] are degrees of agreement (Cohen, Psychological Bulletin, 1968).
    """
    agree, found = np.zeros(len(rows)), np.zeros(len(rows))
    margins = sparse.csr_array((len(rows), 2 * categories))
    for one, two in _pairs(rows, pairs):
        a, b = rows[:, one], rows[:, two]
        both = (a >= 0) & (b >= 0)
        agree += both * ((a == b) if weights is None else weights[a, b])
        found += both
        which = np.tile(np.flatnonzero(both), 2)
        where = np.concatenate([a[both], categories + b[both]])
        margins = margins + sparse.csr_array((np.ones(len(which)), (which, where)), shape=margins.shape)

    def finish(totals: Floats) -> Floats:
        n, rated = totals[:, 1], totals[:, 2 : 2 + categories]
        other = totals[:, 2 + categories :]
        chance = (rated * (other if weights is None else other @ weights.T)).sum(axis=1)
        # Of whole numbers: exactly 0 / 0 where there is one category.
        return np.asarray((n * totals[:, 0] - chance) / (n * n - chance))

    sums = sparse.hstack([_columns(agree, found), margins], format="csr")
    return Coefficient(sums, finish, _units(found))


def fleiss(rows: Ints, categories: int) -> Coefficient:
    """Fleiss' kappa (Psychological Bulletin, 1971); with missing ratings as Gwet (Handbook of Inter-Rater Reliability,
    2014, chapter 2): each unit's share of equal pairs, and its distribution over categories, weighs the same."""

    def chance(shares: Floats) -> Floats:
        return np.asarray((shares**2).sum(axis=1))

    return _by_unit(rows, categories, None, chance)


def gwet(rows: Ints, categories: int, weights: Floats | None = None) -> Coefficient:
    """Gwet's AC1 (British Journal of Mathematical and Statistical Psychology, 2008), with ``weights`` AC2 (Handbook of
    Inter-Rater Reliability, 2014). ``categories`` counts those that could have been given."""
    total = float(categories if weights is None else weights.sum())

    def chance(shares: Floats) -> Floats:
        return np.asarray(total / (categories * (categories - 1)) * (shares * (1 - shares)).sum(axis=1))

    return _by_unit(rows, categories, weights, chance)


def alpha(rows: Ints, categories: int, distance: Distance | None = None) -> Coefficient:
    """Krippendorff's alpha (Content Analysis, 2004, chapter 11; computing as in Hayes and Krippendorff, 2007).

    Nominal by default. Ratings of units that have one only do not count.
    """
    apart = distance or Nominal()
    rated = (rows >= 0).sum(axis=1)
    paired = rated >= 2
    disagreement = np.zeros(len(rows))
    for one, two in combinations(range(rows.shape[1]), 2):
        both = (rows[:, one] >= 0) & (rows[:, two] >= 0)
        disagreement[both] += 2 * apart.between(rows[both, one], rows[both, two]) / (rated[both] - 1)

    def finish(totals: Floats) -> Floats:
        of_category = totals[:, 1:]
        return np.asarray(1 - (of_category.sum(axis=1) - 1) * totals[:, 0] / apart.spread(of_category))

    sums = sparse.hstack([_columns(disagreement), _ratings(rows, categories, paired)], format="csr")
    return Coefficient(sums, finish, _units(paired))


def ordinal_alpha(rows: Ints, categories: int) -> Coefficient:
    """Krippendorff's alpha with the ordinal metric: the distance of two categories depends on how many ratings lie
    between them, so that it is another one in each sample. For up to some twenty categories."""
    rated = (rows >= 0).sum(axis=1)
    paired = rated >= 2
    cells = np.zeros((len(rows), categories * categories))
    every = np.arange(len(rows))
    for one, two in combinations(range(rows.shape[1]), 2):
        both = (rows[:, one] >= 0) & (rows[:, two] >= 0)
        a, b = rows[both, one], rows[both, two]
        np.add.at(cells, (every[both], a * categories + b), 1 / (rated[both] - 1))
        np.add.at(cells, (every[both], b * categories + a), 1 / (rated[both] - 1))

    def finish(totals: Floats) -> Floats:
        coincidences = totals.reshape(-1, categories, categories)
        of_category = coincidences.sum(axis=2)
        up_to = np.cumsum(of_category, axis=1) - of_category / 2
        apart = (up_to[:, :, None] - up_to[:, None, :]) ** 2
        observed = (coincidences * apart).sum(axis=(1, 2))
        expected = (of_category[:, :, None] * of_category[:, None, :] * apart).sum(axis=(1, 2))
        return np.asarray(1 - (of_category.sum(axis=1) - 1) * observed / expected)

    return Coefficient(sparse.csr_array(cells), finish, _units(paired))


def quadratic_weights(categories: int) -> Floats:
    """1 - (difference / largest difference)², the degrees of agreement of weighted kappa."""
    places = np.arange(categories)
    return np.asarray(1 - ((places[:, None] - places[None]) / max(categories - 1, 1)) ** 2)


def ordinal_weights(categories: int) -> Floats:
    """Gwet's ordinal weights (2014, chapter 3): 1 - pairs of categories from one to the other / pairs of all."""
    places = np.arange(categories)
    span = abs(places[:, None] - places[None])
    return np.asarray(1 - span * (span + 1) / max(categories * (categories - 1), 1))


def _by_unit(rows: Ints, categories: int, weights: Floats | None, chance: Callable[[Floats], Floats]) -> Coefficient:
    """(agreement - chance) / (1 - chance), agreement being the mean over units with two ratings or more, and chance
    made of the mean distribution over categories of all units that have a rating."""
    rated = (rows >= 0).sum(axis=1)
    paired = rated >= 2
    agree = np.zeros(len(rows))
    for one, two in combinations(range(rows.shape[1]), 2):
        a, b = rows[:, one], rows[:, two]
        agree += ((a >= 0) & (b >= 0)) * ((a == b) if weights is None else weights[a, b])
    pairs = np.maximum(rated * (rated - 1) / 2, 1)
    share = sparse.diags_array(1 / np.maximum(rated, 1)) @ _ratings(rows, categories, rated >= 1)

    def finish(totals: Floats) -> Floats:
        observed = totals[:, 0] / totals[:, 1]
        by_chance = chance(totals[:, 3:] / totals[:, 2, None])
        return np.asarray((observed - by_chance) / (1 - by_chance))

    sums = sparse.hstack([_columns(agree / pairs, paired, rated >= 1), share], format="csr")
    return Coefficient(sums, finish, _units(paired))


def _pairs(rows: Ints, pairs: Pairs | None) -> Iterable[tuple[int, int]]:
    return combinations(range(rows.shape[1]), 2) if pairs is None else pairs


def _units(found: Any) -> Floats:
    return np.asarray(found > 0, dtype=np.float64)


def _columns(*parts: Any) -> Sparse:
    """Columns [patterns] and matrices [patterns, ...] side by side."""
    return sparse.csr_array(np.column_stack([np.asarray(part, dtype=np.float64) for part in parts]))


def _ratings(rows: Ints, categories: int, which: Any) -> Sparse:
    """How often each category stands in a row [patterns, categories], for the rows ``which``."""
    row, column = np.nonzero((rows >= 0) & which[:, None])
    shape = (len(rows), categories)
    return sparse.csr_array((np.ones(len(row)), (row, rows[row, column])), shape=shape)
