"""One code for each document: every figure against scikit-learn, a table worked by hand, and a plain bootstrap loop."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from label_configs.errors import TrainingError
from trainer.evaluation.code_rates import Tally, averages, code_rates, cohen_kappa, matthews, mean
from trainer.evaluation.exclusive import exclusive, exclusive_figures
from trainer.evaluation.measured import ABSENT
from trainer.evaluation.resampling import Floats, Ints

CODES = 6
pytestmark = pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")


@pytest.fixture(scope="module")
def pair() -> tuple[Ints, Ints]:
    """400 documents; code 5 is absent from the truth though predicted, 4 never predicted, some without a prediction."""
    random = np.random.default_rng(3)
    truth = random.choice(5, size=400, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    predicted = np.where(random.random(400) < 0.7, truth, random.integers(-1, 6, size=400))
    predicted[predicted == 4] = -1
    return truth, predicted


def test_every_figure_is_scikit_learns(pair: tuple[Ints, Ints]) -> None:
    truth, predicted = pair
    found = exclusive(truth, predicted, CODES, samples=0)
    known = list(range(5))
    assert found.n == 400
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "kappa": metrics.cohen_kappa_score(truth, predicted),
        "mcc": metrics.matthews_corrcoef(truth, predicted),
    }
    for average in ("macro", "weighted"):
        fields = {"labels": known, "average": average}
        expected |= {
            f"{average}_sensitivity": metrics.recall_score(truth, predicted, **fields),
            f"{average}_precision": metrics.precision_score(truth, predicted, zero_division=np.nan, **fields),
            f"{average}_f1": metrics.f1_score(truth, predicted, **fields),
        }
    every = {"labels": list(range(CODES)), "average": "micro"}
    expected |= {
        "micro_sensitivity": metrics.recall_score(truth, predicted, **every),
        "micro_precision": metrics.precision_score(truth, predicted, **every),
        "micro_f1": metrics.f1_score(truth, predicted, **every),
    }
    for name, value in expected.items():
        assert found.overall[name].value == pytest.approx(value, abs=1e-12), name
    for name in ("specificity", "npv"):
        each = [row[name].value or 0.0 for row in found.codes[:5]]
        expected[f"macro_{name}"] = np.mean(each)
        expected[f"weighted_{name}"] = np.average(each, weights=np.bincount(truth))
        assert found.overall[f"macro_{name}"].value == pytest.approx(expected[f"macro_{name}"])
        assert found.overall[f"weighted_{name}"].value == pytest.approx(expected[f"weighted_{name}"])
    assert found.confusion is not None
    as_other = np.where(predicted < 0, CODES, predicted)
    whole = metrics.confusion_matrix(truth, as_other, labels=list(range(CODES + 1)))
    assert found.confusion.tolist() == whole[:CODES].tolist()


def test_every_codes_figures_are_scikit_learns(pair: tuple[Ints, Ints]) -> None:
    truth, predicted = pair
    found = exclusive(truth, predicted, CODES, samples=0)
    for code in range(4):
        own, said = truth == code, predicted == code
        expected = {
            "sensitivity": metrics.recall_score(own, said),
            "specificity": metrics.recall_score(~own, ~said),
            "precision": metrics.precision_score(own, said),
            "npv": metrics.precision_score(~own, ~said),
            "f1": metrics.f1_score(own, said),
            "jaccard": metrics.jaccard_score(own, said),
            "balanced_accuracy": metrics.balanced_accuracy_score(own, said),
            "kappa": metrics.cohen_kappa_score(own, said),
            "mcc": metrics.matthews_corrcoef(own, said),
        }
        row = found.codes[code]
        assert set(row) == set(expected)
        for name, value in expected.items():
            assert row[name].value == pytest.approx(value, abs=1e-12), (code, name)
        rests = (row["sensitivity"].n, row["specificity"].n, row["precision"].n, row["npv"].n, row["kappa"].n)
        assert rests == (own.sum(), (~own).sum(), said.sum(), (~said).sum(), 400)


def test_what_is_undefined_says_why_and_is_never_zero(pair: tuple[Ints, Ints]) -> None:
    found = exclusive(*pair, CODES, samples=50)
    absent, never = found.codes[5], found.codes[4]
    assert {(one.value, one.n, one.why) for one in absent.values()} == {(None, 0, ABSENT)}
    assert (never["precision"].value, never["precision"].n, never["precision"].why) == (None, 0, "never predicted")
    assert never["sensitivity"].value == 0.0  # five documents have it: this zero is true
    nothing = exclusive(np.zeros(0, dtype=int), np.zeros(0, dtype=int), 3)
    assert {(one.value, one.n, one.why) for one in nothing.overall.values()} == {(None, 0, "no document to judge by")}
    same = exclusive(np.zeros(9, dtype=int), np.zeros(9, dtype=int), 3)
    assert same.overall["accuracy"].value == 1.0
    assert (same.overall["kappa"].value, same.overall["mcc"].value) == (None, None)
    assert "one and the same" in same.overall["kappa"].why
    assert same.codes[0]["specificity"].why == "every document has it"


def test_a_table_worked_by_hand() -> None:
    # Truth in rows: a 3 right, 1 as b; b 2 right, 1 as c; c 1 right, 2 as a.
    cells = {(0, 0): 3, (0, 1): 1, (1, 1): 2, (1, 2): 1, (2, 2): 1, (2, 0): 2}
    truth = np.repeat([t for t, _ in cells], list(cells.values()))
    predicted = np.repeat([p for _, p in cells], list(cells.values()))
    found = exclusive(truth, predicted, 3, samples=0)
    assert found.overall["accuracy"].value == pytest.approx(6 / 10)
    assert found.overall["balanced_accuracy"].value == pytest.approx((3 / 4 + 2 / 3 + 1 / 3) / 3)
    assert found.overall["kappa"].value == pytest.approx((0.6 - (4 * 5 + 3 * 3 + 3 * 2) / 100) / (1 - 0.35))
    first = {name: one.value for name, one in found.codes[0].items()}
    assert first["sensitivity"] == pytest.approx(3 / 4)
    assert first["specificity"] == pytest.approx(4 / 6)
    assert first["precision"] == pytest.approx(3 / 5)
    assert first["npv"] == pytest.approx(4 / 5)
    assert first["f1"] == pytest.approx(6 / 9)


def test_in_every_draw_the_figures_are_those_of_the_documents_drawn(pair: tuple[Ints, Ints]) -> None:
    truth, predicted = pair
    random = np.random.default_rng(0)
    draws = [random.integers(400, size=400) for _ in range(5)] + [np.flatnonzero(truth != 3)]
    tally = _tally([(truth[own], predicted[own]) for own in draws])
    rates = code_rates(tally)
    macro = averages(tally, rates)
    for at, own in enumerate(draws):
        true, said = truth[own], predicted[own]
        labels = np.unique(true)
        assert macro["macro_f1"][at] == pytest.approx(metrics.f1_score(true, said, labels=labels, average="macro"))
        assert mean(rates["sensitivity"])[at] == pytest.approx(metrics.balanced_accuracy_score(true, said))
        assert cohen_kappa(tally)[at] == pytest.approx(metrics.cohen_kappa_score(true, said))
        assert matthews(tally)[at] == pytest.approx(metrics.matthews_corrcoef(true, said))
    assert np.isnan(rates["f1"][-1, 3])


def _tally(pairs: list[tuple[Ints, Ints]]) -> Tally:
    def count(codes: Ints) -> Floats:
        return np.bincount(codes[(codes >= 0) & (codes < CODES)], minlength=CODES).astype(float)

    return Tally(
        np.array([float(len(true)) for true, _ in pairs]),
        np.array([count(true[true == said]) for true, said in pairs]),
        np.array([count(true) for true, _ in pairs]),
        np.array([count(said) for _, said in pairs]),
    )


def test_intervals_are_those_of_a_plain_loop(pair: tuple[Ints, Ints]) -> None:
    truth, predicted = pair
    found = exclusive(truth, predicted, CODES, samples=4000, seed=1).overall
    random = np.random.default_rng(2)
    drawn = [random.integers(400, size=400) for _ in range(300)]
    for name, compute in (
        ("accuracy", metrics.accuracy_score),
        ("kappa", metrics.cohen_kappa_score),
    ):
        low, high = np.quantile([compute(truth[own], predicted[own]) for own in drawn], [0.025, 0.975])
        assert found[name].low == pytest.approx(low, abs=0.015), name
        assert found[name].high == pytest.approx(high, abs=0.015), name
    assert (
        exclusive(truth, predicted, CODES, samples=100, seed=5).flat()
        == exclusive(truth, predicted, CODES, samples=100, seed=5).flat()
    )


def test_top_k_counts_the_place_of_the_true_code() -> None:
    truth = np.array([0, 1, 2, 3])
    found = exclusive(truth, np.array([0, 0, 0, 0]), 8, ranks=np.array([1, 2, 4, 0]), samples=0).overall
    assert [found[f"top_{k}"].value for k in (2, 3, 5)] == [0.5, 0.5, 0.75]
    assert "top_2" not in exclusive(truth, truth, 8, samples=0).overall


def test_a_weight_is_so_many_documents(pair: tuple[Ints, Ints]) -> None:
    truth, predicted = pair
    times = np.random.default_rng(1).integers(1, 4, size=400)
    weighted = exclusive(truth, predicted, CODES, weights=times.astype(float), samples=20).overall
    repeated = exclusive(np.repeat(truth, times), np.repeat(predicted, times), CODES, samples=0).overall
    for name, one in repeated.items():
        assert weighted[name].value == pytest.approx(one.value, abs=1e-12), name
        assert weighted[name].n == 400  # not more than was coded
    assert weighted["accuracy"].low is not None


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(TrainingError, match="2 truths and 1 predictions"):
        exclusive(np.array([0, 1]), np.array([0]), 2)
    with pytest.raises(TrainingError, match="none of the 2 codes"):
        exclusive(np.array([0, 2]), np.array([0, 0]), 2)


def test_flat_names_every_figure() -> None:
    found = exclusive_figures(np.array([0, 1, 1]), np.array([0, 1, 0]), 2, samples=10)
    assert found["f1:1"].value == pytest.approx(2 / 3)
    assert found["accuracy"].n == 3
