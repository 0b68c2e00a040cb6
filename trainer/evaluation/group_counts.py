"""Figures of merit of groups of documents, for all bootstrap samples at once, from how often each distinct row comes.

The definitions are those of ``metrics.measure``; sensitivity and specificity are means over the labels for which they
are defined. A figure without anything to compute it from is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from label_configs.codes import Kind
from trainer.evaluation.resampling import Floats, Ints, Patterns, patterns

LabelSets = Sequence[tuple[str, ...]]
FIGURES = ("accuracy", "macro_f1", "balanced_accuracy", "sensitivity", "specificity")
TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


@dataclass(frozen=True)
class GroupCounts:
    """The distinct rows (group, truth, prediction) of documents; ``groups`` are numbers from 0 on, one a document.

    ``labels`` are the codebook's keys; a label set that holds another is wrong, and the other counts for no code.
    """

    groups: Sequence[int]
    truth: LabelSets
    predicted: LabelSets
    labels: Sequence[str]
    kind: Kind

    @cached_property
    def _sets(self) -> dict[frozenset[str], int]:
        found: dict[frozenset[str], int] = {}
        for labels in (*self.truth, *self.predicted):
            found.setdefault(frozenset(labels), len(found))
        return found

    @cached_property
    def patterns(self) -> Patterns:
        """Rows of group, number of the true label set, number of the predicted one."""
        table = np.zeros((len(self.truth), 3), dtype=np.int64)
        table[:, 0] = self.groups
        table[:, 1] = [self._sets[frozenset(labels)] for labels in self.truth]
        table[:, 2] = [self._sets[frozenset(labels)] for labels in self.predicted]
        return patterns(table)

    @cached_property
    def right(self) -> npt.NDArray[np.bool_]:
        """[patterns], whether the whole set is right."""
        return np.asarray(self.patterns.rows[:, 1] == self.patterns.rows[:, 2])

    def of_group(self, group: int) -> npt.NDArray[np.bool_]:
        """[patterns], which of them are of the group."""
        return np.asarray(self.patterns.rows[:, 0] == group)

    @cached_property
    def _indicators(self) -> npt.NDArray[np.bool_]:
        column = {label: index for index, label in enumerate(self.labels)}
        held = np.zeros((len(self._sets), len(column)), dtype=np.bool_)
        for labels, row in self._sets.items():
            held[row, [column[label] for label in labels if label in column]] = True
        return held

    def figures(self, counts: Ints, chosen: npt.NDArray[np.bool_]) -> dict[str, Floats]:
        """Each of ``FIGURES`` [samples] over the ``chosen`` patterns, from counts [samples, patterns]."""
        drawn, rows = counts[:, chosen].astype(np.float64), self.patterns.rows[chosen]
        true, guessed = self._indicators[rows[:, 1]], self._indicators[rows[:, 2]]
        tp, fn = drawn @ (true & guessed), drawn @ (true & ~guessed)
        fp, tn = drawn @ (~true & guessed), drawn @ (~true & ~guessed)
        sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
        f1 = np.where(tp + fn > 0, _ratio(2 * tp, 2 * tp + fp + fn), np.nan)
        exclusive = self.kind is Kind.EXCLUSIVE
        return {
            "accuracy": _ratio(drawn @ self.right[chosen], drawn.sum(axis=1)),
            "macro_f1": _mean(f1),
            "balanced_accuracy": _mean(sensitivity if exclusive else (sensitivity + specificity) / 2),
            "sensitivity": _mean(sensitivity),
            "specificity": _mean(specificity),
        }


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0))


def _mean(values: Floats) -> Floats:
    """Over labels [samples, labels], those that are defined."""
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))
