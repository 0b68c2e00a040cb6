"""Ratings of units by several raters, as distinct patterns, and figures of any coefficient of them with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from trainer.evaluation.coefficients import Coefficient, Sparse
from trainer.evaluation.draws import totals
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.resampling import SAMPLES, SEED, Floats, Ints, interval, patterns

NARROW, MANY = 40, 500  # with so few sums, many of so many groups have the same ones


@dataclass(frozen=True)
class Ratings:
    """Distinct ``rows`` [patterns, raters] of ``categories`` 0, 1, ..., -1 for missing, and the groups of units that
    are drawn together, which are documents: ``groups`` [groups, patterns] is how many units of each pattern a group
    has, ``counts`` [groups] how many groups are like it. Without ``groups`` each unit is drawn by itself, and
    ``counts`` [patterns] is how many there are."""

    rows: Ints
    categories: int
    counts: Ints
    groups: Sparse | None = None

    @classmethod
    def of(
        cls, table: Ints, categories: int, group: Ints | Sequence[int] | None = None, counts: Ints | None = None
    ) -> Ratings:
        """Of ratings [units, raters]. ``group`` [units] is the place of each unit's group, each is one by itself where
        it is None; ``counts`` [groups] is how many groups are like it, 1 by default."""
        found = patterns(table)
        if group is None and counts is None:
            return cls(found.rows, categories, found.counts)
        places = np.arange(len(table)) if group is None else np.asarray(group, dtype=np.int64)
        number = int(places.max(initial=-1)) + 1 if counts is None else len(counts)
        cells = (np.ones(len(table)), (places, found.of_document))
        groups = sparse.csr_array(cells, shape=(number, len(found.rows)))  # units of a group with equal ratings add up
        return cls(found.rows, categories, np.ones(number, dtype=np.int64) if counts is None else counts, groups)

    def by(self, raters: Sequence[int]) -> Ratings:
        """Those of some raters alone, in this order."""
        found = patterns(self.rows[:, list(raters)])
        if self.groups is None:
            counts = np.bincount(found.of_document, weights=self.counts, minlength=len(found.rows))
            return Ratings(found.rows, self.categories, counts.astype(np.int64))
        cells = (np.ones(len(self.rows)), (np.arange(len(self.rows)), found.of_document))
        onto = sparse.csr_array(cells, shape=(len(self.rows), len(found.rows)))
        return Ratings(found.rows, self.categories, self.counts, self.groups @ onto)

    @cached_property
    def units(self) -> Floats:
        """How many units have each pattern [patterns]."""
        counts = self.counts.astype(np.float64)
        return counts if self.groups is None else np.asarray(self.groups.T @ counts)

    @cached_property
    def paired(self) -> Floats:
        """How many units with two ratings or more have each pattern [patterns]."""
        return np.asarray(self.units * ((self.rows >= 0).sum(axis=1) >= 2))

    @cached_property
    def shares(self) -> Floats:
        """Share of each category [categories] in the ratings of units with two or more; zeros where there are none."""
        given = self.rows >= 0
        weights = np.repeat(self.paired, given.sum(axis=1))
        number = np.bincount(self.rows[given], weights=weights, minlength=self.categories)
        return np.asarray(number / max(number.sum(), 1), dtype=np.float64)

    def figures(
        self,
        coefficients: Mapping[str, Coefficient],
        *,
        samples: int = SAMPLES,
        seed: int = SEED,
        unit: str = "document",
    ) -> dict[str, Figure]:
        """A figure of each coefficient, built on ``rows``; ``unit`` is what messages call that of which n is counted.

        n counts the documents in which a unit has the ratings it takes, two or more; or such units themselves, where
        ``unit`` is "unit". Undefined is a coefficient without such units, and one that is corrected for chance with
        one of what is counted, or with one category. An interval takes two documents.
        """
        groups = self.groups
        grouped = coefficients if groups is None else {name: one.grouped(groups) for name, one in coefficients.items()}
        drawn = sampled(grouped, self.counts, samples, seed)
        return {name: self._figure(one, drawn[name], unit) for name, one in grouped.items()}

    def _figure(self, coefficient: Coefficient, values: Floats, unit: str) -> Figure:
        groups = int(self.counts @ (coefficient.units > 0))
        number = int(self.counts @ coefficient.units) if unit == "unit" else groups
        if not number:
            return undefined(f"no {unit} in common")
        if coefficient.corrected and number < 2:
            return undefined(f"one {unit} in common", number)
        if not np.isfinite(values[0]):
            return undefined("all ratings are of one category", number)
        low, high = interval(values[1:]) if len(values) > 1 and groups > 1 else (None, None)
        return Figure(float(values[0]), number, low, high)


def sampled(
    coefficients: Mapping[str, Coefficient], counts: Ints, samples: int = SAMPLES, seed: int = SEED
) -> dict[str, Floats]:
    """The value of each coefficient of groups, and in each sample of groups drawn with replacement: [1 + samples].

    ``counts`` [groups] is how many groups are like each.
    """
    if not coefficients or not len(counts):
        return {name: np.full(1, np.nan) for name in coefficients}
    sums = sparse.hstack([one.sums for one in coefficients.values()], format="csr")
    if sums.shape[1] <= NARROW and len(counts) > MANY:
        sums, counts = _merged(sums, counts)
    drawn = totals(sums, counts, samples=samples, seed=seed)
    ends = np.cumsum([one.sums.shape[1] for one in coefficients.values()])
    parts = np.split(drawn, ends[:-1], axis=1)
    return {name: one.of_totals(part) for (name, one), part in zip(coefficients.items(), parts, strict=True)}


def _merged(sums: Sparse, counts: Ints) -> tuple[Floats, Ints]:
    """Groups with the same sums as one."""
    dense, of_group = np.unique(sums.toarray(), axis=0, return_inverse=True)
    return dense, np.bincount(of_group.reshape(-1), weights=counts).astype(np.int64)
