"""Codes at levels: quadratic kappa against scikit-learn, presence against the figures of sets."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from trainer.evaluation.graded import graded
from trainer.evaluation.measured import ABSENT
from trainer.evaluation.multilabel import Bools, multilabel
from trainer.evaluation.resampling import Ints

CODES, LEVELS = 4, 3


def labels(levels: Ints) -> Bools:
    """[documents, codes] of levels from 1, 0 for none -> [documents, codes x levels]."""
    found: Bools = (levels[:, :, None] == np.arange(1, LEVELS + 1)).reshape(len(levels), levels.shape[1] * LEVELS)
    return found


@pytest.fixture(scope="module")
def pair() -> tuple[Ints, Ints]:
    """250 documents; code 3 is absent from the truth."""
    random = np.random.default_rng(5)
    truth = random.integers(0, LEVELS + 1, size=(250, CODES)) * (random.random((250, CODES)) < 0.6)
    truth[:, 3] = 0
    near = np.clip(truth + random.integers(-1, 2, size=truth.shape), 0, LEVELS)
    return truth, np.where(random.random(truth.shape) < 0.6, truth, near)


def test_quadratic_kappa_is_scikit_learns(pair: tuple[Ints, Ints]) -> None:
    truth, predicted = pair
    found = graded(labels(truth), labels(predicted), LEVELS, samples=100)
    each = [metrics.cohen_kappa_score(truth[:, c], predicted[:, c], weights="quadratic") for c in range(3)]
    for code, value in enumerate(each):
        own = found.presence[code]["quadratic_kappa"]
        assert own.value == pytest.approx(value, abs=1e-12)
        assert own.low is not None
        assert own.high is not None
        assert own.low < value < own.high
    assert (found.presence[3]["quadratic_kappa"].value, found.presence[3]["quadratic_kappa"].why) == (None, ABSENT)
    assert found.overall["macro_quadratic_kappa"].value == pytest.approx(np.mean(each), abs=1e-12)
    pooled = metrics.cohen_kappa_score(truth.ravel(), predicted.ravel(), weights="quadratic")
    assert found.overall["pooled_quadratic_kappa"].value == pytest.approx(pooled, abs=1e-12)
    both = (truth > 0) & (predicted > 0)
    assert found.overall["level_accuracy"].value == pytest.approx(np.mean(truth[both] == predicted[both]))
    assert found.overall["level_accuracy"].n == both.sum()


def test_labels_and_presence_are_figures_of_sets(pair: tuple[Ints, Ints]) -> None:
    truth, predicted = pair
    found = graded(labels(truth), labels(predicted), LEVELS, samples=0)
    of_labels = multilabel(labels(truth), labels(predicted), samples=0)
    presence = multilabel(truth > 0, predicted > 0, samples=0)
    for name, one in of_labels.overall.items():
        assert found.overall[name].value == pytest.approx(one.value, abs=1e-12), name
    for name, one in presence.overall.items():
        assert found.overall[f"presence_{name}"].value == pytest.approx(one.value, abs=1e-12), name
    assert found.codes == of_labels.codes
    assert [{k: v for k, v in row.items() if k != "quadratic_kappa"} for row in found.presence] == list(presence.codes)


def test_a_level_beside_the_true_one_is_half_right_by_hand() -> None:
    truth, predicted = np.array([[1], [2], [3], [0]]), np.array([[2], [2], [3], [0]])
    found = graded(labels(truth), labels(predicted), LEVELS, samples=0)
    assert found.overall["accuracy"].value == 0.75
    assert found.overall["presence_accuracy"].value == 1.0
    # Observed squares 1; expected: sum over pairs of all truths with all predictions, / 4.
    expected = sum((t - p) ** 2 for t in (1, 2, 3, 0) for p in (2, 2, 3, 0)) / 4
    assert found.presence[0]["quadratic_kappa"].value == pytest.approx(1 - 1 / expected)


def test_where_nothing_varies_the_kappa_is_undefined() -> None:
    same = np.full((5, 1), 2)
    found = graded(labels(same), labels(same), LEVELS, samples=20)
    assert found.overall["pooled_quadratic_kappa"].value is None
    assert "same level everywhere" in found.presence[0]["quadratic_kappa"].why
    empty = graded(labels(same[:0]), labels(same[:0]), LEVELS)
    assert {one.value for one in empty.flat().values()} == {None}
