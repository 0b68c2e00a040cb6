"""From coders' decisions to verified examples: consensus, holdout, and what was struck out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from label_configs.codes import Kind
from label_configs.drawing import is_holdout
from label_configs.records import Decision, Document, VerifiedExample
from ml_backend.experiment import Consensus
from trainer.consensus import Outcome, outcomes


def verified_examples(
    documents: Mapping[str, Document],
    decisions: Iterable[Decision],
    *,
    kind: Kind,
    holdout_share: float,
    rule: Consensus = Consensus.MAJORITY,
    max_codes: int | None = None,
) -> list[VerifiedExample]:
    """One example per document that its coders agree on (see ``consensus.settle``), sorted by document id.

    ``documents`` maps ids to documents; decisions on a document that is not there, since deleted, are left out.
    ``coders`` are those whose decisions counted, ``rejected`` what these struck out. The holdout is drawn by
    ``is_holdout``.
    """
    present = (decision for decision in decisions if decision.document_id in documents)
    examples = []
    for document_id, outcome in outcomes(present, kind=kind, rule=rule, max_codes=max_codes).items():
        if outcome.labels is None:
            continue
        document = documents[document_id]
        coders = tuple(vote.coder for vote in outcome.votes)
        holdout = is_holdout(document_id, holdout_share)
        examples.append(
            VerifiedExample(
                document_id, document.text, outcome.labels, coders, holdout, document.task_id, _rejected(outcome)
            )
        )
    return examples


def _rejected(outcome: Outcome) -> tuple[str, ...]:
    """Labels that every coder who was shown them struck out, sorted; none that any coder, or consensus, says holds."""
    struck = {label for vote in outcome.votes for label in vote.rejected}
    hold = {label for vote in outcome.votes for label in vote.labels}.union(outcome.labels or ())
    return tuple(sorted(struck - hold))
