"""The gate's metrics are scikit-learn's, on every draw of documents at once; what is undefined is nan."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, jaccard_score, recall_score

from label_configs.codes import Kind
from label_configs.errors import TrainingError
from ml_backend.training_config import GATE_METRICS
from trainer.evaluation.metrics import measure
from trainer.gate_metrics import NAMES, LabelTable

CODES = ("a", "b", "c", "d")
Sets = list[tuple[str, ...]]


def sets(generator: np.random.Generator, n: int, kind: Kind) -> Sets:
    if kind is Kind.EXCLUSIVE:
        return [(CODES[i],) for i in generator.choice(4, n, p=[0.6, 0.2, 0.15, 0.05])]
    held = generator.random((n, 4)) < [0.5, 0.3, 0.1, 0.02]
    return [tuple(code for code, holds in zip(CODES, row, strict=True) if holds) for row in held]


def by_scikit_learn(metric: str, truth: Sets, guess: Sets, kind: Kind) -> float:
    """nan where undefined."""
    if not truth:
        return np.nan
    true, guessed = (np.array([[code in labels for code in CODES] for labels in own]) for own in (truth, guess))
    supported = true.any(axis=0)
    if metric == "accuracy":
        return float(accuracy_score(true, guessed))
    if metric == "jaccard":
        return float(jaccard_score(true, guessed, average="samples", zero_division=1))
    if metric == "micro_f1":
        return float(f1_score(true, guessed, average="micro", zero_division=np.nan))
    if metric == "macro_f1":
        scores = f1_score(true, guessed, average=None, zero_division=0)[supported]
        return float(scores.mean()) if len(scores) else np.nan
    if kind is Kind.EXCLUSIVE:
        scores = recall_score(true, guessed, average=None, zero_division=0)[supported]
        return float(scores.mean()) if len(scores) else np.nan
    both = [i for i in range(4) if supported[i] and not true[:, i].all()]
    return float(np.mean([balanced_accuracy_score(true[:, i], guessed[:, i]) for i in both])) if both else np.nan


@pytest.mark.parametrize("kind", [Kind.EXCLUSIVE, Kind.MULTILABEL])
@pytest.mark.parametrize("metric", GATE_METRICS)
def test_every_draw_has_the_value_of_scikit_learn(metric: str, kind: Kind) -> None:
    generator = np.random.default_rng(7)
    undefined = 0
    for n in (0, 1, 2, 3, 12):
        truth, *guesses = (sets(generator, n, kind) for _ in range(3))
        weights = generator.multinomial(n, np.full(n, 1 / n), size=12) if n else np.ones((1, 0), dtype=np.int64)
        found = LabelTable.of(truth, guesses, kind).scores(metric, weights.astype(np.float64))
        assert found.shape == (2, len(weights))
        for row, guess in zip(found, guesses, strict=True):
            for value, drawn in zip(row, weights, strict=True):
                often = np.repeat(np.arange(n), drawn)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of labels that are predicted and true of no document
                    expected = by_scikit_learn(metric, [truth[i] for i in often], [guess[i] for i in often], kind)
                assert value == pytest.approx(expected, nan_ok=True)
                undefined += int(np.isnan(value))
    assert undefined > 0


@pytest.mark.parametrize("kind", [Kind.EXCLUSIVE, Kind.MULTILABEL])
@pytest.mark.parametrize("metric", GATE_METRICS)
def test_the_gate_and_the_report_mean_the_same(metric: str, kind: Kind) -> None:
    generator = np.random.default_rng(3)
    truth, guess = sets(generator, 40, kind), sets(generator, 40, kind)
    found = LabelTable.of(truth, [guess], kind).scores(metric, np.ones((1, 40)))
    assert found[0, 0] == pytest.approx(getattr(measure(truth, guess, CODES, kind=kind), metric))


@pytest.mark.parametrize(
    ("metric", "truth", "guess", "expected"),
    [
        ("macro_f1", [()], [("a",)], np.nan),
        ("micro_f1", [()], [()], np.nan),
        ("micro_f1", [()], [("a",)], 0.0),
        ("jaccard", [(), ("a",)], [(), ("a", "b")], 0.75),
        ("accuracy", [()], [()], 1.0),
        ("balanced_accuracy", [("a",), ("a",)], [("a",), ()], np.nan),  # no document without it: no specificity
        ("balanced_accuracy", [("a",), ()], [("a",), ("a",)], 0.5),
    ],
)
def test_the_edges_where_several_codes_may_hold(metric: str, truth: Sets, guess: Sets, expected: float) -> None:
    found = LabelTable.of(truth, [guess], Kind.MULTILABEL).scores(metric, np.ones((1, len(truth))))
    assert found[0, 0] == pytest.approx(expected, nan_ok=True)


def test_the_metrics_are_those_that_an_experiment_may_name() -> None:
    assert set(NAMES) == set(GATE_METRICS)
    table = LabelTable.of([("a",)], [[("a",)]], Kind.EXCLUSIVE)
    with pytest.raises(TrainingError, match="metric 'auc' is unknown; use one of macro_f1, micro_f1"):
        table.scores("auc", np.ones((1, 1)))
