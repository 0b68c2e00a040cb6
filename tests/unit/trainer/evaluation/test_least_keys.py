"""The least keys of a decision, by hand; the forms' real keys are pressed in tests/browser/test_keystrokes.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.forms import ReviewForm
from label_configs.records import Arm, Candidate, CandidateSet, Decision
from trainer.evaluation.keystrokes import HOTKEYS, least_keys


def book(kind: Kind, codes: int = 6) -> Codebook:
    levels = ("low", "medium", "high") if kind is Kind.GRADED else ()
    made = tuple(Code(f"c{i}", f"Code {i}", f"About {i}.", f"word{i}") for i in range(codes))
    return Codebook("made", kind, made, levels=levels)


ONE, MANY, GRADED = (book(kind) for kind in Kind)


def decision(form: str, shown: str, kept: str = "", missed: str = "", arm: Arm = Arm.REVIEW, **more: bool) -> Decision:
    """Labels are named in one text, split at spaces; what is shown and not kept is rejected."""
    candidates = tuple(Candidate(label, 0.5, ()) for label in shown.split())
    rejected = tuple(label for label in shown.split() if label not in kept.split())
    return Decision(
        "d", 1, 1, "7", form, tuple(kept.split()), rejected, tuple(missed.split()),
        shown=CandidateSet("d", "v", candidates, arm), **more,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "codebook", "keys"),
    [
        (decision("reject", "c0 c1 c2", "c1"), ONE, 2 + 1),  # two wrong ones, submit
        (decision("reject", "c0", "c0"), ONE, 1),  # submitted as shown
        (decision("reject", "c0 c1 c2", "", "c4"), ONE, 1 + 1 + 1),  # none fits, the right one, submit
        (decision("reject", "", "", "c4", Arm.CHOOSE), ONE, 1 + 1),  # the whole codebook is open
        (decision("reject", "", "", "c4"), ONE, 1 + 1 + 1),  # nothing was proposed: it has to be opened
        (decision("reject", "c0 c1", "c1", unsure=True), ONE, 1 + 1 + 1),
        (decision("keep", "c0 c1 c2", "c0 c2"), MANY, 1 + 1),
        (decision("keep", "c0 c1", "c0 c1", "c4 c5"), MANY, 1 + 2 + 1),  # a code is missing, two of them
        (decision("keep", "c0 c1", "c0", "c4"), MANY, 1 + 1 + 1 + 1),
        (decision("keep", "", "", "c4 c5", Arm.BLIND), MANY, 2 + 1),
        (decision("whole", "c0 c1", "c0", "c4"), MANY, 1 + 1 + 1),  # un-tick, tick, submit
        (decision("whole", "c0 c1", "c0"), ONE, 1),  # the first is ticked already
        (decision("whole", "c0 c1", "c1"), ONE, 1 + 1),  # a tick takes the other one's away
        (decision("choose", "", "", "c3", Arm.CHOOSE), ONE, 1 + 1),
        (decision("blind", "", "", "c3 c4", Arm.BLIND), MANY, 2 + 1),
        (decision("graded", "c0:low c1:high", "c0:low c1:high"), GRADED, 1),
        (decision("graded", "c0:low c1:high", "c0:low", "c1:low"), GRADED, 1 + 1),  # a level corrected
        (decision("graded", "c0:low c1:high", "c0:low"), GRADED, 1 + 1),  # a code rejected
        # A code that nobody proposed: the flag, then tab, arrow, letter, enter, escape and three arrows to its level.
        (decision("graded", "c0:low", "c0:low", "c4:medium"), GRADED, 1 + 5 + 3 + 1),
        (decision("graded", "", "", "c4:low", Arm.BLIND), GRADED, 5 + 2 + 1),
    ],
)  # fmt: skip
def test_keys_by_hand(made: Decision, codebook: Codebook, keys: int) -> None:
    assert least_keys(made, codebook) == keys


def test_skipping_is_one_key_in_every_form() -> None:
    for form in ReviewForm:
        assert least_keys(replace(decision(form, "c0"), skipped=True), ONE) == 1


def test_what_cannot_be_counted_is_none() -> None:
    known = decision("keep", "c0", "c0")
    assert least_keys(replace(known, shown=None), MANY) is None
    assert least_keys(replace(known, form="a table"), MANY) is None
    assert least_keys(replace(known, missed=("gone",)), MANY) is None, "a code that the codebook lost"


def test_a_code_beyond_the_hotkeys_takes_the_mouse() -> None:
    large = book(Kind.MULTILABEL, HOTKEYS + 8)
    last = HOTKEYS - 2 - 1  # of the keys left by two flags and one candidate, from 0
    assert least_keys(decision("keep", "c0", "c0", f"c{last - 1}"), large) == 3
    assert least_keys(decision("keep", "c0", "c0", f"c{last}"), large) is None
    assert least_keys(decision("keep", "c0", ""), large) == 2, "candidates have keys in any codebook"
