"""Effort by arm: medians by hand, and nothing where nothing is known."""

from __future__ import annotations

from label_configs.records import Arm, Candidate, CandidateSet, Decision
from trainer.evaluation.effort import EffortRow, effort_by_arm

CANDIDATES = (Candidate("earn", 0.6, ()), Candidate("acq", 0.4, ()))


def decision(number: int, arm: Arm = Arm.REVIEW, seconds: float | None = 1.0, **fields: object) -> Decision:
    shown = CandidateSet(f"d{number}", "v1", CANDIDATES if arm is Arm.REVIEW else (), arm)
    made = {"kept": ("earn",), "shown": shown, "seconds": seconds, **fields}
    return Decision(f"d{number}", number, number, "ann", "keep", **made)  # type: ignore[arg-type]


def test_each_arm_has_its_row() -> None:
    decisions = [
        decision(1, seconds=2.0, untouched=True),
        decision(2, seconds=4.0),
        decision(3, seconds=900.0, kept=("earn", "acq"), untouched=True),
        decision(4, seconds=None),
        decision(5, Arm.CHOOSE, 10.0, kept=(), missed=("grain", "ship")),
        decision(6, Arm.CHOOSE, 14.0, kept=(), missed=()),
        decision(7, Arm.BLIND, None, kept=(), missed=("grain",)),
    ]
    assert effort_by_arm(decisions) == (
        EffortRow(Arm.REVIEW, 4, 3, 4.0, 0.5, 1.25),
        EffortRow(Arm.CHOOSE, 2, 2, 12.0, None, 1.0),
        EffortRow(Arm.BLIND, 1, 0, None, None, 1.0),
    )


def test_what_is_no_coding_of_a_new_document_is_left_out() -> None:
    left_out = [
        decision(1, skipped=True),
        decision(2, ground_truth=True),
        decision(3, repeat=1),
        decision(4, shown=None),
    ]
    assert effort_by_arm(left_out) == ()
    assert effort_by_arm([]) == ()


def test_unsure_and_unresolved_decisions_took_time_but_have_no_labels() -> None:
    only = effort_by_arm(
        [decision(1, unsure=True, seconds=3.0), decision(2, unresolved="no code is left", seconds=5.0)]
    )
    assert only == (EffortRow(Arm.REVIEW, 2, 2, 4.0, 0.0, None),)
