"""From coders' decisions to verified examples: consensus, holdout and leak check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from label_configs.codes import Kind
from label_configs.drawing import is_holdout
from label_configs.records import Decision, Document, VerifiedExample
from ml_backend.experiment import Consensus
from trainer.consensus import outcomes


@dataclass(frozen=True, slots=True)
class Leak:
    """A training document whose text, but for case and white space, is that of a holdout document."""

    training_id: str
    holdout_id: str


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
    ``coders`` are those whose decisions counted. The holdout is drawn by ``is_holdout``.
    """
    present = (decision for decision in decisions if decision.document_id in documents)
    examples = []
    for document_id, outcome in outcomes(present, kind=kind, rule=rule, max_codes=max_codes).items():
        if outcome.labels is None:
            continue
        document = documents[document_id]
        coders = tuple(vote.coder for vote in outcome.votes)
        holdout = is_holdout(document_id, holdout_share)
        examples.append(VerifiedExample(document_id, document.text, outcome.labels, coders, holdout, document.task_id))
    return examples


def leaks(examples: Iterable[VerifiedExample]) -> list[Leak]:
    """Every training document that is also in the holdout under another id; ``holdout_id`` is the first such."""
    examples = list(examples)
    held: dict[str, str] = {}
    for example in examples:
        if example.holdout:
            held.setdefault(_normalised(example.text), example.document_id)
    pairs = ((example.document_id, held.get(_normalised(example.text))) for example in examples if not example.holdout)
    return [Leak(training_id, holdout_id) for training_id, holdout_id in pairs if holdout_id is not None]


def without_leaks(examples: Iterable[VerifiedExample]) -> list[VerifiedExample]:
    """The examples less the *training* copy of every leak: the holdout stays what it was for earlier adapters."""
    examples = list(examples)
    leaked = {leak.training_id for leak in leaks(examples)}
    return [example for example in examples if example.holdout or example.document_id not in leaked]


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
