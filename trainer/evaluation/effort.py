"""What coding costs the coders, by arm: does reviewing candidates save time over choosing from the whole codebook?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from label_configs.records import Arm, Decision


@dataclass(frozen=True, slots=True)
class EffortRow:
    """The ``n`` decisions made in one arm; what is undefined is None, never 0.

    ``seconds`` is the median of Label Studio's lead time over the ``timed`` decisions that have one: it has no upper
    bound, a coder who went for lunch would shift any mean. ``untouched`` is the share submitted as shown, without a
    key but that of submitting; undefined where nothing was shown. ``labels`` is the mean number of labels that hold.
    """

    arm: Arm
    n: int
    timed: int
    seconds: float | None
    untouched: float | None
    labels: float | None


def effort_by_arm(decisions: Iterable[Decision]) -> tuple[EffortRow, ...]:
    """A row for each arm that something was coded in.

    Left out are skips, what an adjudicator set as ground truth, documents shown again (the coder knows them), and
    annotations without a record of what was shown (imported, or made before Winnow): nobody knows their arm.
    """
    coded = [
        decision
        for decision in decisions
        if decision.shown is not None and not (decision.skipped or decision.ground_truth or decision.repeat)
    ]
    by_arm = {arm: [decision for decision in coded if decision.arm is arm] for arm in Arm}
    return tuple(_row(arm, own) for arm, own in by_arm.items() if own)


def _row(arm: Arm, decisions: Sequence[Decision]) -> EffortRow:
    seconds = [decision.seconds for decision in decisions if decision.seconds is not None]
    shown = [decision.untouched for decision in decisions if decision.shown and decision.shown.candidates]
    usable = [len(decision.labels) for decision in decisions if decision.verified]
    return EffortRow(
        arm,
        len(decisions),
        len(seconds),
        median(seconds) if seconds else None,
        sum(shown) / len(shown) if shown else None,
        sum(usable) / len(usable) if usable else None,
    )
