"""Weights of sources: equal without decisions, and towards what coders kept with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import Proposal, ScoredLabel
from ml_backend.mixing import EQUAL, PRIOR, Cell, Evidence, MixingWeights, drift, mixed

CODES = tuple(Code(key, key, f"About {key}.", key) for key in ("ship", "grain", "oil"))
BOOK = Codebook("three", Kind.EXCLUSIVE, CODES)
GRADED = Codebook("graded", Kind.GRADED, CODES, levels=("low", "high"))


def proposal(source: str, *probabilities: float, codebook: Codebook = BOOK, version: str = "1") -> Proposal:
    labels = zip(codebook.label_keys, probabilities, strict=True)
    return Proposal("d", source, version, tuple(ScoredLabel(label, p) for label, p in labels))


A, B = proposal("a", 0.6, 0.3, 0.1), proposal("b", 0.1, 0.5, 0.4)


def test_without_decisions_the_mean() -> None:
    assert mixed([A, B], BOOK).tolist() == pytest.approx([0.35, 0.4, 0.25])
    assert mixed([], BOOK).tolist() == [0, 0, 0]


def test_the_formula_by_hand() -> None:
    weights = MixingWeights({
        ("a", "1", "ship"): Evidence(9, 10), ("a", "1", "oil"): Evidence(1, 10), ("b", "1", "ship"): Evidence(2, 8),
    })  # fmt: skip
    mean = (12 + 1) / (28 + 2)
    of_a, of_b = (10 + PRIOR * mean) / (20 + PRIOR), (2 + PRIOR * mean) / (8 + PRIOR)
    assert weights.mean == pytest.approx(mean)
    assert weights.source_weight("a", "1") == pytest.approx(of_a)
    ship = (9 + PRIOR * of_a) / (10 + PRIOR), (2 + PRIOR * of_b) / (8 + PRIOR)
    assert weights.weight("a", "1", "ship") == pytest.approx(ship[0])
    assert weights.weight("a", "1", "grain") == pytest.approx(of_a), "nothing is known of it but of its source"
    found = mixed([A, B], BOOK, weights)
    assert found[0] == pytest.approx((ship[0] * 0.6 + ship[1] * 0.1) / sum(ship))


def test_a_source_that_nobody_has_seen_has_the_mean_of_all_and_a_new_version_starts_from_its_name() -> None:
    weights = MixingWeights({("a", "1", "ship"): Evidence(90, 100), ("b", "1", "ship"): Evidence(10, 100)})
    assert weights.weight("adapter", "m@1", "ship") == pytest.approx(weights.mean)
    new, old = weights.weight("a", "2", "ship"), weights.weight("a", "1", "ship")
    assert weights.mean < new < old
    half = (45 + PRIOR * weights.mean) / (50 + PRIOR)
    assert new == pytest.approx((45 + PRIOR * half) / (50 + PRIOR)), "what its name earned counts half"


def test_levels_share_the_weight_of_their_code() -> None:
    weights = MixingWeights({("a", "1", "ship"): Evidence(20, 20), ("a", "1", "oil"): Evidence(0, 20)})
    made = proposal("a", *[0.1] * 6, codebook=GRADED)
    row = weights.matrix([made], GRADED)[0]
    assert row[0] == row[1] > row[2] == row[3] > row[4] == row[5]


masses = st.floats(0, 50).flatmap(lambda shown: st.floats(0, 1).map(lambda rate: Evidence(shown * rate, shown)))
cells = st.tuples(st.sampled_from("abc"), st.sampled_from("12"), st.sampled_from(["ship", "grain", "oil"]))
tables = st.dictionaries(cells, masses, max_size=12)
rows = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(tables, st.lists(rows, min_size=1, max_size=3), st.randoms())
def test_mixed_probabilities_lie_between_the_sources_whatever_their_order(
    table: dict[Cell, Evidence], drawn: list[list[float]], random: object
) -> None:
    weights = MixingWeights(table)
    proposals = [proposal(name, *row) for name, row in zip("abc", drawn, strict=False)]
    found = mixed(proposals, BOOK, weights)
    assert (found >= np.min(drawn, axis=0) - 1e-9).all()
    assert (found <= np.max(drawn, axis=0) + 1e-9).all()
    random.shuffle(proposals)  # type: ignore[attr-defined]
    assert mixed(proposals, BOOK, weights) == pytest.approx(found)


@given(tables, cells)
def test_a_weight_is_a_rate_and_grows_with_what_is_kept(table: dict[Cell, Evidence], cell: Cell) -> None:
    weight = MixingWeights(table).weight(*cell)
    assert 0 < weight < 1
    more = MixingWeights({**table, cell: table.get(cell, Evidence()) + Evidence(5, 5)})
    assert more.weight(*cell) > weight
    less = MixingWeights({**table, cell: table.get(cell, Evidence()) + Evidence(0, 5)})
    assert less.weight(*cell) < weight


@given(rows, st.sampled_from("abc"))
def test_the_same_rate_everywhere_leaves_the_weights_equal(drawn: list[float], name: str) -> None:
    table = {(source, "1", code.key): Evidence(4.5, 8) for source in "abc" for code in CODES}
    # The mean of all is (K + 1) / (N + 2): with many decisions it is the rate itself, so all weights come near to it.
    proposals = [A, B, proposal("c", *drawn)]
    assert mixed(proposals, BOOK, MixingWeights(table)) == pytest.approx(mixed(proposals, BOOK, EQUAL))


def test_drift_is_the_share_of_the_evidence_that_moved() -> None:
    before = MixingWeights({("a", "1", "ship"): Evidence(5, 10)})
    assert drift(before, before) == 0
    assert drift(EQUAL, EQUAL) == 0
    assert drift(before, EQUAL) == float("inf")
    assert drift(EQUAL, before) == 1
    grown = MixingWeights({("a", "1", "ship"): Evidence(6, 12)})
    assert drift(grown, before) == pytest.approx(0.2)
    changed = MixingWeights({("a", "1", "ship"): Evidence(8, 10)})
    assert drift(changed, before) == pytest.approx(0.2), "decisions that were changed count as well"
