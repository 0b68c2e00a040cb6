"""Signs of rubber-stamping: decisions submitted as they were shown, and lead times too short to have read the text.

Neither is a proof: good candidates are rightly left as they are, and who codes a second annotation of a text has read
it. So each coder's share is set against that of all others together. A sign is a share that is more than ``MARGIN``
above theirs with all of the interval of the difference above 0: Newcombe's hybrid score interval (Statistics in
Medicine 17, 1998), at 95 % for all coders at once (Bonferroni).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from label_configs.records import Decision
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.lead_times import coded
from trainer.evaluation.resampling import LEVEL
from trainer.evaluation.study import StudyDocument

MARGIN = 0.1
ENOUGH = 20  # decisions of a coder; of fewer nothing is said
AS_SHOWN, FAST = "as shown", "fast"


@dataclass(frozen=True, slots=True)
class LeadTimeFloor:
    """The lead time below which a text can hardly have been read: its words over ``words_per_second``, in seconds.

    Adults read some four words a second (Brysbaert, Journal of Memory and Language 109, 2019); ten is skimming. At
    least ``least``, for seeing the page and pressing a key; at most ``most``, as a topic is often told by the first
    sentences.
    """

    words_per_second: float = 10.0
    least: float = 1.0
    most: float = 10.0

    def seconds(self, text: str) -> float:
        """The floor of one text."""
        return min(max(len(text.split()) / self.words_per_second, self.least), self.most)


FLOOR = LeadTimeFloor()


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``n`` decisions."""

    count: int
    n: int

    @property
    def figure(self) -> Figure:
        """The share with Wilson's interval."""
        return share_figure(self.count, self.n, "no such decision")


@dataclass(frozen=True, slots=True)
class Sign:
    """One coder's share of decisions that are ``as shown`` or ``fast``, and how far it is above the others'.

    ``flagged`` is as said above.
    """

    coder: str
    kind: str
    own: Share
    others: Share
    above: Figure
    flagged: bool


def share_figure(count: int, n: int, why: str) -> Figure:
    """``count`` of ``n`` with Wilson's score interval (1927); undefined, for the reason ``why``, where n is 0."""
    from statsmodels.stats.proportion import proportion_confint

    if not n:
        return undefined(why)
    low, high = proportion_confint(count, n, alpha=1 - LEVEL, method="wilson")
    return Figure(count / n, n, float(low), float(high))


def signs(
    decisions: Iterable[Decision], documents: Mapping[str, StudyDocument], floor: LeadTimeFloor = FLOOR
) -> tuple[Sign, ...]:
    """Two for each coder who coded something, in the order of their ids.

    Submitted as shown: of decisions on candidates; a document without any has nothing to be left as it is. Fast: of
    those with a lead time, on documents whose text is at hand.
    """
    found = coded(decisions)
    as_shown = _counts((one.coder, one.untouched) for one in found if one.shown and one.shown.candidates)
    fast = _counts(
        (one.coder, one.seconds < floor.seconds(documents[one.document_id].text))
        for one in found
        if one.seconds is not None and one.document_id in documents and documents[one.document_id].text
    )
    coders = sorted({one.coder for one in found})
    both = ((AS_SHOWN, as_shown), (FAST, fast))
    return tuple(_sign(coder, kind, counts, len(coders)) for coder in coders for kind, counts in both)


def _counts(marks: Iterable[tuple[str, bool]]) -> dict[str, Share]:
    counts: dict[str, list[int]] = {}
    for coder, mark in marks:
        own = counts.setdefault(coder, [0, 0])
        own[0] += mark
        own[1] += 1
    return {coder: Share(count, n) for coder, (count, n) in counts.items()}


def _sign(coder: str, kind: str, counts: Mapping[str, Share], coders: int) -> Sign:
    own = counts.get(coder, Share(0, 0))
    rest = [share for name, share in counts.items() if name != coder]
    others = Share(sum(share.count for share in rest), sum(share.n for share in rest))
    above = _difference(own, others, (1 - LEVEL) / max(coders, 1))
    flagged = above.value is not None and above.value > MARGIN and above.low is not None and above.low > 0
    return Sign(coder, kind, own, others, above, flagged)


def _difference(own: Share, others: Share, alpha: float) -> Figure:
    """The own share less the others', with an interval; undefined for too few."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    if own.n < ENOUGH:
        return undefined(f"{own.n} decisions, {ENOUGH} are needed" if own.n else "no such decision", own.n)
    if others.n < ENOUGH:
        return undefined("no other coder to compare with" if not others.n else f"{others.n} decisions of others", own.n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shares of 0 and 1 have no Wald interval, which is not the one asked for
        low, high = confint_proportions_2indep(
            own.count, own.n, others.count, others.n, method="newcomb", compare="diff", alpha=alpha
        )
    return Figure(own.count / own.n - others.count / others.n, own.n, float(low), float(high))


def flags_of(found: Sequence[Sign], coder: str) -> tuple[str, ...]:
    """The kinds of sign that a coder is flagged for."""
    return tuple(sign.kind for sign in found if sign.coder == coder and sign.flagged)
