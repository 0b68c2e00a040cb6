"""Candidates: the union of what sources propose, by agreement and probability."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.records import Proposal, ScoredLabel
from ml_backend.candidates import candidate_set
from ml_backend.experiment import CandidateRule


def proposal(source: str, **probabilities: float) -> Proposal:
    ranked = sorted(probabilities.items(), key=lambda pair: -pair[1])
    return Proposal("d1", source, f"{source}@1", tuple(ScoredLabel(label, p) for label, p in ranked))


A = proposal("a", ship=0.6, grain=0.3, oil=0.1)
B = proposal("b", grain=0.5, oil=0.4, ship=0.1)


def test_labels_that_more_sources_propose_come_first() -> None:
    found = candidate_set("d1", [A, B], CandidateRule(), "v1")
    assert [c.label for c in found.candidates] == ["grain", "ship", "oil"]
    grain = found.candidates[0]
    assert [(p.source, p.rank, p.probability) for p in grain.proposers] == [("b", 1, 0.5), ("a", 2, 0.3)]
    assert grain.probability == pytest.approx(0.4), "the mean over all sources"
    assert found.candidates[1].probability == pytest.approx(0.35), "of those, too, that did not propose it"
    assert (found.document_id, found.version) == ("d1", "v1")


def test_the_rule_bounds_what_is_shown() -> None:
    assert [c.label for c in candidate_set("d1", [A, B], CandidateRule(max=2), "v").candidates] == ["grain", "ship"]
    assert [c.label for c in candidate_set("d1", [A, B], CandidateRule(top_k=1), "v").candidates] == ["grain", "ship"]
    assert [c.label for c in candidate_set("d1", [A, B], CandidateRule(floor=0.6), "v").candidates] == ["ship"]


def test_below_the_floor_the_best_are_shown_all_the_same() -> None:
    found = candidate_set("d1", [A, B], CandidateRule(floor=0.9), "v")
    assert [c.label for c in found.candidates] == ["grain", "ship"]


LABELS = ["a", "b", "c", "d", "e"]
weights = st.lists(st.floats(0.01, 1), min_size=5, max_size=5)


@given(st.lists(weights, min_size=1, max_size=4), st.integers(1, 5), st.integers(1, 5), st.floats(0, 0.99))
def test_any_proposals_give_candidates_within_the_rule(
    drawn: list[list[float]], maximum: int, top_k: int, floor: float
) -> None:
    proposals = [
        proposal(f"s{n}", **{label: w / sum(row) for label, w in zip(LABELS, row, strict=True)})
        for n, row in enumerate(drawn)
    ]
    rule = CandidateRule(max=maximum, top_k=top_k, floor=floor)
    found = candidate_set("d1", proposals, rule, "v").candidates
    assert 1 <= len(found) <= maximum
    assert len({c.label for c in found}) == len(found)
    assert all(0 <= c.probability <= 1 and c.proposers for c in found)
    assert [len(c.proposers) for c in found] == sorted((len(c.proposers) for c in found), reverse=True)
    assert all(p.rank <= top_k for c in found for p in c.proposers)
