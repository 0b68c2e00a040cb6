"""From coders' decisions to verified examples: consensus, holdout, leak check, and a round's snapshot of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from label_configs.codes import LEVEL_MARK, Kind
from label_configs.drawing import is_holdout
from label_configs.records import Decision, Document, VerifiedExample


@dataclass(frozen=True, slots=True)
class Leak:
    """A training document whose text, but for case and white space, is that of a holdout document."""

    training_id: str
    holdout_id: str


def consensus(decisions: Sequence[Decision], *, kind: Kind) -> tuple[str, ...] | None:
    """The labels that the coders of one document agree on, sorted; None when there is no usable decision, or a tie.

    Only verified decisions count, of each coder the last; when there are ground-truth decisions, only these.
    Exclusive: the label that most coders chose. Multilabel: each label is put to the vote by itself, holds or not.
    Graded: each code is, with "does not hold" as one of the answers beside its levels. A tie anywhere leaves the
    document undecided: an answer that nobody can give must not be learned.
    """
    ballots = [set(decision.labels) for decision in _votes(decisions, kind)]
    if not ballots:
        return None
    agreed: list[str] = []
    for question in sorted({_question(label, kind) for ballot in ballots for label in ballot}):
        answers = Counter(
            tuple(sorted(label for label in ballot if _question(label, kind) == question)) for ballot in ballots
        )
        (answer, most), *others = answers.most_common(2)
        if others and others[0][1] == most:
            return None
        agreed.extend(answer)
    return tuple(sorted(agreed))


def verified_examples(
    documents: Mapping[str, Document], decisions: Iterable[Decision], *, kind: Kind, holdout_share: float
) -> list[VerifiedExample]:
    """One example per document that its coders agree on (see ``consensus``), sorted by document id.

    ``documents`` maps ids to documents; decisions on a document that is not there, since deleted, are left out.
    ``coders`` are those whose decisions counted. The holdout is drawn by ``is_holdout``.
    """
    by_document: dict[str, list[Decision]] = {}
    for decision in decisions:
        if decision.document_id in documents:
            by_document.setdefault(decision.document_id, []).append(decision)
    examples = []
    for document_id, own in sorted(by_document.items()):
        labels = consensus(own, kind=kind)
        if labels is None:
            continue
        document = documents[document_id]
        coders = tuple(sorted(decision.coder for decision in _votes(own, kind)))
        holdout = is_holdout(document_id, holdout_share)
        examples.append(VerifiedExample(document_id, document.text, labels, coders, holdout, document.task_id))
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


def _votes(decisions: Sequence[Decision], kind: Kind) -> list[Decision]:
    """The decisions that count: verified, ground truth before others, the last of each coder."""
    usable = [
        decision for decision in decisions if decision.verified and (kind is not Kind.EXCLUSIVE or _single(decision))
    ]
    usable = [decision for decision in usable if decision.ground_truth] or usable
    last = {decision.coder: decision for decision in sorted(usable, key=_time)}
    return list(last.values())


def _single(decision: Decision) -> bool:
    return len(set(decision.labels)) == 1


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


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
