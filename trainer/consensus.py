"""What the coders of a document agree on, by majority or unanimity; else it is undecided, and for an adjudicator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from label_configs.codes import LEVEL_MARK, Kind
from label_configs.records import Decision
from ml_backend.experiment import Consensus


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the decisions on one document come to.

    ``labels`` are those that hold, sorted; None where it is undecided. ``votes`` are the decisions that counted, in the
    order of their coders. ``disputed`` names what they do not agree on: labels, or in a graded codebook codes; nothing
    in an exclusive one, where it is the one code.
    """

    labels: tuple[str, ...] | None
    votes: tuple[Decision, ...]
    disputed: tuple[str, ...] = ()

    @property
    def tied(self) -> bool:
        """Whether there are votes, and they do not agree as the rule demands."""
        return self.labels is None and bool(self.votes)

    @property
    def adjudicated(self) -> bool:
        """Whether ground truth was given: no other decision counted."""
        return any(vote.ground_truth for vote in self.votes)


def settle(
    decisions: Sequence[Decision],
    *,
    kind: Kind,
    rule: Consensus = Consensus.MAJORITY,
    max_codes: int | None = None,
) -> Outcome:
    """What the coders of one document agree on.

    Only verified decisions vote, of each coder the last; where some are ground truth, only these. A repeated decision
    measures its coder and never votes. Exclusive: the label that most coders chose. Multilabel: each label is put to
    the vote by itself, holds or not. Graded: each code is, with "does not hold" as one of the answers beside its
    levels. Under unanimity, every answer must be every coder's. A tie anywhere leaves the document undecided, and so do
    more than ``max_codes`` labels by votes of different coders: an answer that nobody can give must not be learned.

    A document is settled by the votes there are, though its overlap asks for more: training need not wait for the last
    coder. What a later vote changes, or unsettles, is so from the next reading on.
    """
    votes = _votes(decisions, kind)
    ballots = [set(vote.labels) for vote in votes]
    agreed: list[str] = []
    disputed: list[str] = []
    for question in sorted({_question(label, kind) for ballot in ballots for label in ballot}):
        answers = Counter(
            tuple(sorted(label for label in ballot if _question(label, kind) == question)) for ballot in ballots
        )
        answer = _answer(answers, rule)
        if answer is None:
            disputed.append(question)
        else:
            agreed.extend(answer)
    too_many = max_codes is not None and len(agreed) > max_codes
    labels = None if disputed or too_many or not votes else tuple(sorted(agreed))
    return Outcome(labels, tuple(votes), tuple(question for question in disputed if question))


def outcomes(
    decisions: Iterable[Decision],
    *,
    kind: Kind,
    rule: Consensus = Consensus.MAJORITY,
    max_codes: int | None = None,
) -> dict[str, Outcome]:
    """Document id -> what its decisions come to (see ``settle``), sorted by id."""
    by_document: dict[str, list[Decision]] = {}
    for decision in decisions:
        by_document.setdefault(decision.document_id, []).append(decision)
    return {name: settle(own, kind=kind, rule=rule, max_codes=max_codes) for name, own in sorted(by_document.items())}


def in_order(decisions: Iterable[Decision]) -> list[Decision]:
    """Decisions in the order in which they were made, as far as Label Studio says it."""
    return sorted(decisions, key=_time)


def _answer(answers: Counter[tuple[str, ...]], rule: Consensus) -> tuple[str, ...] | None:
    (answer, most), *others = answers.most_common(2)
    if others and (rule is Consensus.UNANIMITY or others[0][1] == most):
        return None
    return answer


def _votes(decisions: Iterable[Decision], kind: Kind) -> list[Decision]:
    usable = [
        decision
        for decision in decisions
        if decision.verified and not decision.repeat and (kind is not Kind.EXCLUSIVE or len(set(decision.labels)) == 1)
    ]
    usable = [decision for decision in usable if decision.ground_truth] or usable
    last = {decision.coder: decision for decision in in_order(usable)}
    return [last[coder] for coder in sorted(last)]


def _time(decision: Decision) -> tuple[float, int]:
    moment = decision.updated_at.timestamp() if decision.updated_at else float("-inf")
    return moment, decision.annotation_id


def _question(label: str, kind: Kind) -> str:
    """What is put to the vote: the document's one code, a code's level, or whether a label holds."""
    match kind:
        case Kind.EXCLUSIVE:
            return ""
        case Kind.GRADED:
            return label.rpartition(LEVEL_MARK)[0]
        case Kind.MULTILABEL:
            return label
