"""Consensus of several coders: majority, unanimity, ground truth, and what never votes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.codes import Kind
from label_configs.records import Decision
from ml_backend.experiment import Consensus
from trainer.consensus import outcomes, settle

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def decision(coder: str, *labels: str, document: str = "d1", **fields: object) -> Decision:
    annotation_id = fields.pop("annotation_id", 1)
    return Decision(document, 7, annotation_id, coder, "keep", kept=labels, **fields)  # type: ignore[arg-type]


def consensus(decisions: list[Decision], *, kind: Kind, rule: Consensus = Consensus.MAJORITY) -> tuple[str, ...] | None:
    return settle(decisions, kind=kind, rule=rule).labels


# Majority


def test_exclusive_takes_the_plurality() -> None:
    votes = [decision("ann", "earn"), decision("bob", "acq"), decision("cy", "earn")]
    assert consensus(votes, kind=Kind.EXCLUSIVE) == ("earn",)
    four = [decision("a", "earn"), decision("b", "earn"), decision("c", "acq"), decision("d", "crude")]
    assert consensus(four, kind=Kind.EXCLUSIVE) == ("earn",)


def test_a_tie_is_undecided() -> None:
    assert consensus([decision("ann", "earn"), decision("bob", "acq")], kind=Kind.EXCLUSIVE) is None
    assert consensus([decision("ann", "a", "b"), decision("bob", "a")], kind=Kind.MULTILABEL) is None


def test_multilabel_votes_on_each_label() -> None:
    votes = [decision("ann", "a", "b"), decision("bob", "b", "c"), decision("cy", "b", "a", "d")]
    assert consensus(votes, kind=Kind.MULTILABEL) == ("a", "b")
    assert consensus([decision("ann"), decision("bob", "a"), decision("cy")], kind=Kind.MULTILABEL) == ()


def test_graded_votes_on_each_code_with_absence_as_an_answer() -> None:
    votes = [
        decision("ann", "joy:high", "hope:low"),
        decision("bob", "joy:high", "hope:high"),
        decision("cy", "joy:low"),
    ]
    assert consensus([*votes[:2], decision("cy", "joy:low", "hope:low")], kind=Kind.GRADED) == ("hope:low", "joy:high")
    # hope: low, high and absent once each; as three separate yes-or-no labels, none would have held.
    assert consensus(votes, kind=Kind.GRADED) is None


def test_only_the_last_verified_decision_of_a_coder_counts() -> None:
    earlier = decision("ann", "earn", annotation_id=9, updated_at=NOON)
    later = decision("ann", "acq", annotation_id=2, updated_at=NOON + timedelta(minutes=1))
    assert consensus([later, earlier], kind=Kind.EXCLUSIVE) == ("acq",)
    assert consensus([later, earlier, decision("bob", "acq")], kind=Kind.EXCLUSIVE) == ("acq",)
    doubtful = decision("ann", "crude", unsure=True, updated_at=NOON + timedelta(minutes=2))
    assert consensus([earlier, doubtful], kind=Kind.EXCLUSIVE) == ("earn",)


def test_without_times_the_higher_annotation_is_the_later() -> None:
    pair = [decision("ann", "acq", annotation_id=5), decision("ann", "earn", annotation_id=4)]
    assert consensus(pair, kind=Kind.EXCLUSIVE) == ("acq",)


@pytest.mark.parametrize("flaw", [{"skipped": True}, {"unresolved": "two survivors"}, {"unsure": True}])
def test_unusable_decisions_are_left_out(flaw: dict[str, object]) -> None:
    bad = decision("ann", "acq", **flaw)
    assert consensus([bad], kind=Kind.EXCLUSIVE) is None
    assert consensus([bad, decision("bob", "earn")], kind=Kind.EXCLUSIVE) == ("earn",)


@pytest.mark.parametrize("labels", [(), ("earn", "acq")])
def test_exclusive_needs_exactly_one_label(labels: tuple[str, ...]) -> None:
    assert consensus([decision("ann", *labels)], kind=Kind.EXCLUSIVE) is None


def test_ground_truth_wins_over_any_majority() -> None:
    votes = [decision("ann", "earn"), decision("bob", "earn"), decision("lead", "acq", ground_truth=True)]
    assert consensus(votes, kind=Kind.EXCLUSIVE) == ("acq",)
    unsure_lead = decision("lead", "acq", ground_truth=True, unsure=True)
    assert consensus([*votes[:2], unsure_lead], kind=Kind.EXCLUSIVE) == ("earn",)


def test_missed_labels_hold_like_kept_ones() -> None:
    found = Decision("d1", 7, 1, "ann", "keep", kept=("a",), rejected=("b",), missed=("c",))
    assert consensus([found], kind=Kind.MULTILABEL) == ("a", "c")


@given(st.permutations(["earn", "earn", "acq", "crude", "earn"]))
def test_consensus_does_not_depend_on_the_order(labels: list[str]) -> None:
    votes = [decision(f"coder-{number}", label) for number, label in enumerate(labels)]
    assert consensus(votes, kind=Kind.EXCLUSIVE) == ("earn",)


# Unanimity


def test_unanimity_needs_every_coder() -> None:
    votes = [decision("ann", "earn"), decision("bob", "acq"), decision("cy", "earn")]
    assert consensus(votes, kind=Kind.EXCLUSIVE, rule=Consensus.UNANIMITY) is None
    assert consensus(votes[::2], kind=Kind.EXCLUSIVE, rule=Consensus.UNANIMITY) == ("earn",)
    sets = [decision("ann", "a", "b"), decision("bob", "b", "a")]
    assert consensus(sets, kind=Kind.MULTILABEL, rule=Consensus.UNANIMITY) == ("a", "b")
    assert consensus([*sets, decision("cy", "a")], kind=Kind.MULTILABEL, rule=Consensus.UNANIMITY) is None
    levels = [decision("ann", "joy:high"), decision("bob", "joy:low")]
    assert consensus(levels, kind=Kind.GRADED, rule=Consensus.UNANIMITY) is None


def test_one_vote_decides_while_the_overlap_is_not_reached() -> None:
    early = [decision("ann", "earn")]
    for rule in Consensus:
        assert consensus(early, kind=Kind.EXCLUSIVE, rule=rule) == ("earn",)
        assert consensus([*early, decision("bob", "acq")], kind=Kind.EXCLUSIVE, rule=rule) is None


@pytest.mark.parametrize("rule", list(Consensus))
def test_ground_truth_settles_a_tie_and_adjudicators_who_differ_make_one(rule: Consensus) -> None:
    tie = [decision("ann", "earn"), decision("bob", "acq")]
    settled = settle([*tie, decision("lead", "crude", ground_truth=True)], kind=Kind.EXCLUSIVE, rule=rule)
    assert (settled.labels, settled.adjudicated, settled.tied) == (("crude",), True, False)
    two = [decision("lead", "crude", ground_truth=True), decision("chair", "ship", ground_truth=True)]
    again = settle([*tie, *two], kind=Kind.EXCLUSIVE, rule=rule)
    assert (again.labels, again.tied) == (None, True)
    assert [vote.coder for vote in again.votes] == ["chair", "lead"]


# What never votes


def test_a_repeated_decision_never_votes_not_even_as_ground_truth() -> None:
    votes = [decision("ann", "earn"), decision("bob", "acq")]
    again = decision("ann", "acq", annotation_id=9, repeat=1, updated_at=NOON)
    other = decision("cy", "acq", repeat=1)
    truth = decision("lead", "acq", repeat=1, ground_truth=True)
    assert settle([*votes, again, other, truth], kind=Kind.EXCLUSIVE).tied
    only = settle([again, other], kind=Kind.EXCLUSIVE)
    assert (only.labels, only.votes, only.tied) == (None, (), False)


def test_more_labels_than_may_hold_together_are_undecided() -> None:
    votes = [decision("ann", "a", "b"), decision("bob", "b", "c"), decision("cy", "a", "c")]
    assert settle(votes, kind=Kind.MULTILABEL).labels == ("a", "b", "c")
    assert settle(votes, kind=Kind.MULTILABEL, max_codes=2).tied


def test_outcomes_are_of_each_document_by_itself() -> None:
    found = outcomes(
        [
            decision("ann", "earn", document="b"),
            decision("ann", "acq", document="a"),
            decision("bob", "x", document="b"),
        ],
        kind=Kind.EXCLUSIVE,
    )
    assert list(found) == ["a", "b"]
    assert (found["a"].labels, found["b"].tied) == (("acq",), True)
