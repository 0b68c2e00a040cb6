"""What waits for an adjudicator: decisions that cannot be used, and documents whose coders do not agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from label_configs.codebook import Codebook, Kind
from label_configs.records import Decision
from ml_backend.experiment import Consensus
from ml_backend.labelstudio import LabelStudioClient
from trainer.consensus import Outcome, in_order, outcomes, settle

TIES = "Winnow: ties"
UNRESOLVED = "Winnow: unresolved"
"""Titles of the views: what a view of this title shows is Winnow's, all other views are the team's."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A decision that is not used, and why. ``repeat`` is the document's copy that it was made on, 0 for the first."""

    document_id: str
    task_id: int
    coder: str
    why: str
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Tie:
    """A document that is undecided though coders decided; ``labels`` maps each of them to what holds in their view."""

    document_id: str
    task_id: int
    why: str
    labels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Adjudication:
    """What waits in one project, sorted by document."""

    unresolved: tuple[Unresolved, ...]
    ties: tuple[Tie, ...]

    @classmethod
    def of(cls, decisions: Iterable[Decision], codebook: Codebook, rule: Consensus) -> Adjudication:
        """Sort the decisions of a project.

        Unresolved is what a coder's last decision on a task left so, and an unsure one where nobody else decided the
        document. Nothing waits of a document that ground truth settled.
        """
        decisions = list(decisions)
        found = outcomes(decisions, kind=codebook.kind, rule=rule, max_codes=codebook.max_codes)
        last = {(decision.task_id, decision.coder): decision for decision in in_order(decisions)}
        waiting = [
            Unresolved(one.document_id, one.task_id, one.coder, why, one.repeat)
            for one in sorted(last.values(), key=lambda one: (one.document_id, one.repeat, one.coder))
            if (why := _why_unusable(one, found[one.document_id]))
        ]
        ties = [
            Tie(name, outcome.votes[-1].task_id, _why_tied(outcome, codebook, rule), _labels(outcome))
            for name, outcome in found.items()
            if outcome.tied
        ]
        return cls(tuple(waiting), tuple(ties))


def rulings(decisions: Iterable[Decision], codebook: Codebook, rule: Consensus, adjudicator: str) -> list[int]:
    """The adjudicator's annotations that should be ground truth, by id: what decides a document nobody else decided.

    That is the adjudicator's last annotation of a document which, without it, is undecided though somebody coded it. So
    whoever adjudicates may be one of the coders: what they coded as such decides nothing by itself.
    """
    by_document: dict[str, list[Decision]] = {}
    for decision in in_order(decisions):
        if not decision.repeat:
            by_document.setdefault(decision.document_id, []).append(decision)
    found = []
    for own in by_document.values():
        last = next((one for one in reversed(own) if one.coder == adjudicator and one.verified), None)
        others = [one for one in own if one is not last]
        if last is None or last.ground_truth or not any(not one.skipped for one in others):
            continue
        if settle(others, kind=codebook.kind, rule=rule, max_codes=codebook.max_codes).labels is None:
            found.append(last.annotation_id)
    return found


def show_in_label_studio(client: LabelStudioClient, project_id: int, found: Adjudication) -> None:
    """Make or update the Data Manager's views of both lists."""
    lists = {TIES: [tie.task_id for tie in found.ties], UNRESOLVED: [one.task_id for one in found.unresolved]}
    for title, task_ids in lists.items():
        client.show_in_view(project_id, title, list(dict.fromkeys(task_ids)))


def _why_unusable(decision: Decision, outcome: Outcome) -> str:
    """Why a decision waits for somebody, empty where it does not."""
    if outcome.adjudicated and outcome.labels is not None:
        return ""
    if decision.unresolved:
        return decision.unresolved
    undecided = outcome.labels is None and not decision.repeat
    return "the coder is unsure" if decision.unsure and not decision.skipped and undecided else ""


def _why_tied(outcome: Outcome, codebook: Codebook, rule: Consensus) -> str:
    who = "adjudicators" if outcome.adjudicated else "coders"
    if codebook.kind is not Kind.EXCLUSIVE and not outcome.disputed:
        return f"the {who} agree on more labels than may hold together"
    what = "not unanimous" if rule is Consensus.UNANIMITY else "no majority"
    on = f" on {', '.join(outcome.disputed)}" if outcome.disputed else ""
    return f"{what} among the {who}{on}"


def _labels(outcome: Outcome) -> dict[str, tuple[str, ...]]:
    return {vote.coder: vote.labels for vote in outcome.votes}
