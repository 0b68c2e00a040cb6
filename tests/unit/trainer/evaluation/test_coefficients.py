"""Every coefficient against libraries, published tables, and what must hold of any data."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import krippendorff
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from irrCAC.raw import CAC
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa, fleiss_kappa

from trainer.evaluation.agreement_distances import BLOCK, Masi
from trainer.evaluation.agreement_ratings import Ratings, sampled
from trainer.evaluation.coefficients import (
    Coefficient,
    alpha,
    fleiss,
    gwet,
    kappa,
    ordinal_alpha,
    ordinal_weights,
    percent,
    quadratic_weights,
)
from trainer.evaluation.draws import totals
from trainer.evaluation.resampling import Ints, patterns

# Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011: four observers, twelve units; 0 for missing.
KRIPPENDORFF = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
    (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
)
BUILDERS: dict[str, Callable[[Ints, int], Coefficient]] = {
    "percent": lambda rows, number: percent(rows),
    "kappa": kappa,
    "fleiss": fleiss,
    "gwet": gwet,
    "alpha": alpha,
    "ordinal_alpha": ordinal_alpha,
}


def value(build: Callable[[Ints, int], Coefficient], table: Ints, number: int) -> float:
    found = patterns(table)
    return float(build(found.rows, number)(found.counts[None])[0])


def made(seed: int, units: int = 150, raters: int = 3, number: int = 4, missing: float = 0.0) -> Ints:
    """Raters who mostly see the same, with a skewed choice of categories."""
    random = np.random.default_rng(seed)
    shares = np.arange(number, 0, -1) ** 2.0
    truth = random.choice(number, units, p=shares / shares.sum())
    noise = random.choice(number, (units, raters), p=shares / shares.sum())
    table = np.where(random.random((units, raters)) < 0.6, truth[:, None], noise)
    return np.where(random.random((units, raters)) < missing, -1, table)


def test_krippendorffs_example() -> None:
    """His table has alpha .743 nominal and .815 ordinal; Gwet's software gives AC1 .77544 and Fleiss' kappa .76117."""
    table = np.array(KRIPPENDORFF).T - 1
    assert value(alpha, table, 5) == pytest.approx(0.743, abs=5e-4)
    assert value(ordinal_alpha, table, 5) == pytest.approx(0.815, abs=5e-4)
    assert value(gwet, table, 5) == pytest.approx(0.77544, abs=5e-6)
    assert value(fleiss, table, 5) == pytest.approx(0.76117, abs=5e-6)


def test_cohens_own_table() -> None:
    """Cohen 1960, table 1, as shares of 200: 88 14 18 / 10 40 10 / 2 6 12 gives kappa .492."""
    cells = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]])
    rows = np.array(list(itertools.product(range(3), repeat=2)))
    assert float(kappa(rows, 3)(cells.reshape(1, -1))[0]) == pytest.approx(0.492, abs=5e-4)
    assert float(kappa(rows, 3)(cells.reshape(1, -1))[0]) == pytest.approx(cohens_kappa(cells).kappa, abs=1e-9)


def test_fleiss_own_table() -> None:
    """The table of ten subjects and fourteen raters by which Fleiss' kappa is usually taught has .210."""
    counts = np.array([
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ])  # fmt: skip
    table = np.array([np.repeat(np.arange(5), row) for row in counts])
    assert value(fleiss, table, 5) == pytest.approx(0.210, abs=5e-4)
    assert value(fleiss, table, 5) == pytest.approx(fleiss_kappa(counts), abs=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_alpha_is_that_of_krippendorff(level: str, missing: float) -> None:
    for seed in range(5):
        table = made(seed, missing=missing)
        data = np.where(table < 0, np.nan, table).T
        build = alpha if level == "nominal" else ordinal_alpha
        expected = krippendorff.alpha(data, level_of_measurement=level, value_domain=range(4))
        assert value(build, table, 4) == pytest.approx(expected, abs=1e-9)


def test_two_raters_have_the_kappa_of_scikit_learn() -> None:
    for seed in range(5):
        table = made(seed, raters=2)
        one, two = table.T
        assert value(kappa, table, 4) == pytest.approx(cohen_kappa_score(one, two), abs=1e-9)
        weighted = value(lambda rows, number: kappa(rows, number, quadratic_weights(number)), table, 4)
        assert weighted == pytest.approx(cohen_kappa_score(one, two, weights="quadratic", labels=range(4)), abs=1e-9)


def test_pooled_kappa_is_that_of_all_pairs_in_one_table() -> None:
    table = made(3, missing=0.3)
    first, second = [], []
    for row in table:
        for one, two in itertools.combinations(row, 2):
            if one >= 0 and two >= 0:
                first.append(one)
                second.append(two)
    assert value(kappa, table, 4) == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)
    assert value(BUILDERS["percent"], table, 4) == pytest.approx(np.mean(np.array(first) == second), abs=1e-9)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::RuntimeWarning")
def test_fleiss_and_gwet_are_those_of_statsmodels_and_irrcac() -> None:
    table = made(1, units=60)
    frame = pd.DataFrame(table + 1)
    assert value(fleiss, table, 4) == pytest.approx(fleiss_kappa(aggregate_raters(table)[0]), abs=1e-9)
    nominal, ordinal = CAC(frame, digits=12), CAC(frame, weights="ordinal", digits=12)
    assert value(fleiss, table, 4) == pytest.approx(nominal.fleiss()["est"]["coefficient_value"], abs=1e-9)
    assert value(gwet, table, 4) == pytest.approx(nominal.gwet()["est"]["coefficient_value"], abs=1e-9)
    second = value(lambda rows, number: gwet(rows, number, ordinal_weights(number)), table, 4)
    assert second == pytest.approx(ordinal.gwet()["est"]["coefficient_value"], abs=1e-9)


def test_masi_by_hand() -> None:
    """Passonneau 2006: equal 0; {a} in {a, b}: 1 - 1/2 · 2/3; {a, b} and {b, c}: 1 - 1/3 · 1/3; disjoint 1."""
    distance = Masi([("a",), ("a", "b"), ("b", "c"), (), ("c",)])
    one, two = np.array([0, 0, 1, 0, 3, 3, 2]), np.array([0, 1, 2, 4, 3, 0, 4])
    assert distance.between(one, two) == pytest.approx([0, 2 / 3, 8 / 9, 1, 0, 1, 2 / 3])


def test_distances_of_many_sets_add_up() -> None:
    """More sets than one block of the matrix holds."""
    random = np.random.default_rng(2)
    labels = np.array(list("abcdefghijkl"))
    distance = Masi(sorted({tuple(labels[random.random(12) < 0.3].tolist()) for _ in range(2500)})[: BLOCK + 100])
    number = BLOCK + 100
    totals_of = random.integers(0, 5, (2, number)).astype(np.float64)
    one, two = (side.ravel() for side in np.meshgrid(np.arange(number), np.arange(number)))
    every = distance.between(one, two).reshape(number, number)
    expected = [row @ every @ row for row in totals_of]
    assert distance.spread(totals_of) == pytest.approx(expected, rel=1e-12)


def test_alpha_of_sets_against_plain_loops() -> None:
    sets = [("a",), ("a", "b"), ("b", "c"), (), ("c",)]
    distance, table = Masi(sets), made(4, units=80, number=5, missing=0.3)

    def apart(one: int, two: int) -> float:
        return float(distance.between(np.array([one]), np.array([two]))[0])

    given_ = [[rating for rating in row if rating >= 0] for row in table.tolist()]
    pairable = [row for row in given_ if len(row) >= 2]
    every = [rating for row in pairable for rating in row]
    observed = sum(
        apart(one, two) / (len(row) - 1) for row in pairable for one, two in itertools.permutations(row, 2)
    ) / len(every)
    expected = sum(apart(one, two) for one, two in itertools.permutations(every, 2)) / len(every) / (len(every) - 1)
    found = value(lambda rows, number: alpha(rows, number, distance), table, 5)
    assert found == pytest.approx(1 - observed / expected, abs=1e-9)


@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.3]), raters=st.integers(2, 4))
@settings(max_examples=25, deadline=None)
def test_nothing_depends_on_the_order_of_units_raters_and_categories(seed: int, missing: float, raters: int) -> None:
    table, random = made(seed, units=30, raters=raters, missing=missing), np.random.default_rng(seed)
    turned, names = table[random.permutation(len(table))], random.permutation(4)
    shuffled = turned[:, random.permutation(raters)]
    renamed = np.where(turned < 0, -1, names[turned])
    for name, build in BUILDERS.items():
        expected = pytest.approx(value(build, table, 4), abs=1e-9, nan_ok=True)
        assert value(build, turned, 4) == expected, name
        if name != "kappa" or raters == 2:  # of more than two, which one is first in a pair makes a difference
            assert value(build, shuffled, 4) == expected, name
        if name != "ordinal_alpha":
            assert value(build, renamed, 4) == expected, name


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30).filter(lambda found: len(set(found)) > 1))
@settings(max_examples=25, deadline=None)
def test_perfect_agreement_is_one(ratings: list[int]) -> None:
    table = np.repeat(np.array(ratings)[:, None], 3, axis=1)
    for name, build in BUILDERS.items():
        assert value(build, table, 4) == pytest.approx(1.0, abs=1e-9), name


def test_what_is_undefined_is_named() -> None:
    same = Ratings.of(np.zeros((9, 2), dtype=np.int64), 2)
    figures = same.figures({name: build(same.rows, 2) for name, build in BUILDERS.items()}, samples=10)
    for name in ("kappa", "fleiss", "alpha", "ordinal_alpha"):
        assert (figures[name].value, figures[name].why) == (None, "all ratings are of one category"), name
    assert (figures["percent"].value, figures["gwet"].value) == (1.0, 1.0)  # of these, chance is not all there is
    single = Ratings.of(np.array([[0, 1], [1, -1], [-1, 0]]), 2)
    figures = single.figures({name: build(single.rows, 2) for name, build in BUILDERS.items()}, samples=10)
    assert {figures[name].why for name in ("kappa", "fleiss", "gwet", "alpha")} == {"one document in common"}
    assert (figures["percent"].value, figures["percent"].n, figures["percent"].low) == (0.0, 1, None)
    apart = Ratings.of(np.array([[0, -1], [-1, 0]]), 2)
    assert apart.figures({"percent": percent(apart.rows)}, samples=10)["percent"].why == "no document in common"


def test_samples_are_those_of_the_documents_themselves() -> None:
    """What a sample comes to is what the library says of as many copies of each pattern."""
    table = made(7, missing=0.2)
    found = patterns(table)
    drawn = totals(np.eye(len(found.rows)), found.counts, samples=20, seed=3).round().astype(np.int64)
    values = alpha(found.rows, 4)(drawn)
    for counts, one in zip(drawn, values, strict=True):
        rows = np.repeat(found.rows, counts, axis=0)
        expected = krippendorff.alpha(np.where(rows < 0, np.nan, rows).T, level_of_measurement="nominal")
        assert one == pytest.approx(expected, abs=1e-9)
    assert sampled({"alpha": alpha(found.rows, 4)}, found.counts, 20, 3)["alpha"] == pytest.approx(values, abs=1e-9)


def test_units_of_a_document_are_drawn_together() -> None:
    """Ten units with the same ratings in each document tell no more than one of them would."""
    table = made(5, units=40, raters=2)
    alone = Ratings.of(table, 4)
    tenfold = Ratings.of(np.repeat(table, 10, axis=0), 4, group=np.repeat(np.arange(40), 10))
    one = alone.figures({"kappa": kappa(alone.rows, 4)})["kappa"]
    ten = tenfold.figures({"kappa": kappa(tenfold.rows, 4)})["kappa"]
    assert one.low is not None
    assert one.high is not None
    assert ten.value == pytest.approx(one.value, abs=1e-9)
    assert ten.n == 40
    assert ten.low == pytest.approx(one.low, abs=0.05)
    assert ten.high == pytest.approx(one.high, abs=0.05)


def test_the_interval_covers_what_it_should() -> None:
    """Of 95 % intervals from many studies, about that many hold the coefficient of all units there are."""
    everything = made(0, units=200_000, raters=2)
    true, hits = value(kappa, everything, 4), 0
    for seed in range(80):
        chosen = np.random.default_rng(seed).integers(0, len(everything), 200)
        ratings = Ratings.of(everything[chosen], 4)
        figure = ratings.figures({"kappa": kappa(ratings.rows, 4)}, samples=300)["kappa"]
        assert figure.low is not None
        assert figure.high is not None
        hits += figure.low <= true <= figure.high
    assert 68 <= hits <= 80


def test_patterns_of_many_columns_are_sorted_rows() -> None:
    table = np.random.default_rng(0).integers(-1, 4000, (300, 9))
    table = table[np.random.default_rng(1).integers(0, 300, 900)]
    rows, counts = np.unique(table, axis=0, return_counts=True)
    found = patterns(table)
    assert (found.rows == rows).all()
    assert (found.counts == counts).all()
    assert (found.rows[found.of_document] == table).all()


def test_groups_with_the_same_sums_are_drawn_as_one() -> None:
    """So many groups that those with equal sums are put together: the same value, and nearly the same interval."""
    table = made(9, units=3000, raters=2, number=2)
    group = np.arange(3000) // 3
    together = Ratings.of(table, 2, group)
    coefficient = kappa(together.rows, 2).grouped(together.groups)
    merged = sampled({"kappa": coefficient}, together.counts, 1000, 1)["kappa"]
    every = coefficient(totals(np.eye(1000), together.counts, samples=1000, seed=2).round().astype(np.int64))
    assert merged[0] == pytest.approx(every[0], abs=1e-12)
    assert merged[0] == pytest.approx(cohen_kappa_score(*table.T), abs=1e-9)
    assert np.quantile(merged, [0.025, 0.5, 0.975]) == pytest.approx(np.quantile(every, [0.025, 0.5, 0.975]), abs=0.005)
