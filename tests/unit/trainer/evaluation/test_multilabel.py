"""Several codes for a document: every figure against scikit-learn, or by hand; both ways of drawing samples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from label_configs.errors import TrainingError
from trainer.evaluation.draws import distinct, totals
from trainer.evaluation.measured import ABSENT
from trainer.evaluation.multilabel import Bools, multilabel, multilabel_figures

CODES = 5


@pytest.fixture(scope="module")
def pair() -> tuple[Bools, Bools]:
    """300 documents; code 4 is absent from the truth though predicted, and some documents have none at all."""
    random = np.random.default_rng(7)
    truth = random.random((300, CODES)) < np.array([0.5, 0.3, 0.2, 0.05, 0.0])
    predicted = np.where(random.random((300, CODES)) < 0.85, truth, random.random((300, CODES)) < 0.4)
    return truth, predicted


def test_every_figure_is_scikit_learns(pair: tuple[Bools, Bools]) -> None:
    truth, predicted = pair
    found = multilabel(truth, predicted, samples=0)
    labels = list(range(4))
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "hamming_loss": metrics.hamming_loss(truth, predicted),
        "jaccard": metrics.jaccard_score(truth, predicted, average="samples", zero_division=1),
        "macro_jaccard": metrics.jaccard_score(truth, predicted, labels=labels, average="macro"),
        "balanced_accuracy": np.mean(
            [metrics.balanced_accuracy_score(truth[:, code], predicted[:, code]) for code in labels]
        ),
        "macro_kappa": np.mean([metrics.cohen_kappa_score(truth[:, code], predicted[:, code]) for code in labels]),
        "macro_mcc": np.mean([metrics.matthews_corrcoef(truth[:, code], predicted[:, code]) for code in labels]),
        "at_least_one": np.mean((truth & predicted).any(axis=1)[truth.any(axis=1)]),
    }
    for average in ("macro", "weighted"):
        fields = {"labels": labels, "average": average}
        expected |= {
            f"{average}_sensitivity": metrics.recall_score(truth, predicted, **fields),
            f"{average}_precision": metrics.precision_score(truth, predicted, **fields),
            f"{average}_f1": metrics.f1_score(truth, predicted, **fields),
        }
    expected |= {
        "micro_sensitivity": metrics.recall_score(truth, predicted, average="micro"),
        "micro_precision": metrics.precision_score(truth, predicted, average="micro"),
        "micro_f1": metrics.f1_score(truth, predicted, average="micro"),
        "micro_specificity": metrics.recall_score(~truth, ~predicted, average="micro"),
        "micro_npv": metrics.precision_score(~truth, ~predicted, average="micro"),
    }
    for name, value in expected.items():
        assert found.overall[name].value == pytest.approx(value, abs=1e-12), name
    assert found.overall["at_least_one"].n == truth.any(axis=1).sum()
    assert {(one.value, one.n, one.why) for one in found.codes[4].values()} == {(None, 0, ABSENT)}
    matrices = metrics.multilabel_confusion_matrix(truth, predicted)
    for code, ((_, fp), (fn, tp)) in enumerate(matrices.tolist()):
        cells = found.hits[code], found.predicted[code] - found.hits[code], found.truth[code] - found.hits[code]
        assert cells == (tp, fp, fn)


def test_three_documents_by_hand() -> None:
    truth = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]], dtype=bool)
    predicted = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0]], dtype=bool)
    found = multilabel(truth, predicted, ranks=np.array([1, 0, 3]), samples=0).overall
    assert found["accuracy"].value == pytest.approx(1 / 3)
    assert found["at_least_one"].value == pytest.approx(1 / 2)
    assert found["jaccard"].value == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["hamming_loss"].value == pytest.approx(3 / 9)
    assert found["micro_f1"].value == pytest.approx(2 / 5)
    assert [found["top_1"].value, found["top_2"].value] == [0.5, 0.5]


def test_nothing_at_all() -> None:
    none = np.zeros((4, 2), dtype=bool)
    found = multilabel(none, none, samples=20)
    assert (found.overall["accuracy"].value, found.overall["jaccard"].value) == (1.0, 1.0)
    assert found.overall["at_least_one"].value is None
    assert found.overall["at_least_one"].why == "no document has a code in the truth"
    assert found.overall["macro_f1"].why == f"undefined for every code: {ABSENT}"
    empty = multilabel(np.zeros((0, 2), dtype=bool), np.zeros((0, 2), dtype=bool))
    assert {(one.value, one.n) for one in empty.flat().values()} == {(None, 0)}
    with pytest.raises(TrainingError, match="differ in shape"):
        multilabel(none, none[:, :1])


def test_a_weight_is_so_many_documents(pair: tuple[Bools, Bools]) -> None:
    truth, predicted = pair
    times = np.random.default_rng(1).integers(1, 4, size=300)
    weighted = multilabel(truth, predicted, weights=times.astype(float), samples=0).overall
    repeated = multilabel(np.repeat(truth, times, axis=0), np.repeat(predicted, times, axis=0), samples=0).overall
    for name, one in repeated.items():
        assert weighted[name].value == pytest.approx(one.value, abs=1e-12), name


def test_intervals_are_those_of_a_plain_loop(pair: tuple[Bools, Bools]) -> None:
    truth, predicted = pair
    found = multilabel_figures(truth, predicted, samples=4000, seed=1)
    random = np.random.default_rng(2)
    drawn = [random.integers(300, size=300) for _ in range(200)]
    for name, compute in (
        ("accuracy", lambda own: metrics.accuracy_score(truth[own], predicted[own])),
        ("micro_f1", lambda own: metrics.f1_score(truth[own], predicted[own], average="micro")),
        ("sensitivity:1", lambda own: metrics.recall_score(truth[own, 1], predicted[own, 1])),
    ):
        low, high = np.quantile([compute(own) for own in drawn], [0.025, 0.975])
        assert found[name].low == pytest.approx(low, abs=0.025), name
        assert found[name].high == pytest.approx(high, abs=0.025), name


@pytest.mark.parametrize("repeats", [1, 40], ids=["documents drawn", "counts drawn"])
def test_both_ways_of_drawing_draw_all_documents_and_each_as_often(repeats: int) -> None:
    counts = np.full(10, repeats)
    drawn = totals(np.eye(10), counts, samples=4000, seed=0)
    assert drawn[0].tolist() == [repeats] * 10
    assert set(drawn.sum(axis=1).tolist()) == {10.0 * repeats}
    # Binomial: n = 10 repeats, p = 1/10.
    assert drawn[1:].mean() == pytest.approx(repeats)
    assert drawn[1:].var() == pytest.approx(repeats * 0.9, rel=0.05)


def test_many_patterns_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = np.random.default_rng(0).random((50, 3))
    whole = totals(statistics, np.ones(50, dtype=int), samples=30, seed=4)
    monkeypatch.setattr("trainer.evaluation.draws.HELD", 200)
    assert np.allclose(totals(statistics, np.ones(50, dtype=int), samples=30, seed=4), whole)


def test_distinct_rows_are_found_in_all_columns_together() -> None:
    bits = np.array([[1, 0, 1], [1, 0, 1], [0, 0, 1], [1, 0, 1]], dtype=bool)
    first, counts = distinct([bits, np.array([0.5, 0.5, 0.5, 0.25])])
    assert sorted(zip(first.tolist(), counts.tolist(), strict=True)) == [(0, 2), (2, 1), (3, 1)]
    assert [len(one) for one in distinct([bits[:0]])] == [0, 0]
