"""The records that flow through Winnow: document, proposal, candidate, decision, verified example.

All are frozen. What a coder keeps or rejects, and a model gives a probability to, is a *label*: a code, or one level of
a code in a graded codebook. Labels are named by their keys (``earn``, ``happiness:high``); see ``Codebook.labels``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from label_configs.codes import Kind


class Arm(StrEnum):
    """How a document is coded: by reviewing candidates, or without them, for comparison and for the holdout."""

    REVIEW = "review"  # candidates are judged
    CHOOSE = "choose"  # no candidates: codes are chosen from the whole codebook
    BLIND = "blind"  # the same, and nothing that a source proposed is in the task before it is coded


@dataclass(frozen=True, slots=True)
class Document:
    """A text to be coded. ``id`` is the team's own identifier; ``task_id`` is Label Studio's, once imported.

    ``repeat`` is 0 for a document's first task, 1 for a copy that the same coder codes later (intra-coder agreement).
    """

    id: str
    text: str
    task_id: int | None = None
    repeat: int = 0

    @property
    def digest(self) -> str:
        """First 32 hexadecimal digits of the SHA-256 of the text: equal texts share their proposals."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class ScoredLabel:
    """A label's key and its probability in [0, 1] under one source."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one source says about one document: every label with a probability, most probable first.

    ``source`` is the name in winnow.yaml, ``version`` is ``model/prompt@adapter-id``. ``tokens`` counts the tokens that
    were computed for this document (what documents share is not counted again; at an API, those of its prompts),
    ``output_tokens`` those that an API wrote; ``truncated`` the document's tokens that were left out; ``seconds`` is
    its share of the device's, or the API's, time. ``price`` is what it cost, in the currency of the source's
    ``price``, None where the source has none.
    """

    document_id: str
    source: str
    version: str
    labels: tuple[ScoredLabel, ...]
    tokens: int = 0
    seconds: float = 0.0
    output_tokens: int = 0
    truncated: int = 0
    price: float | None = None


def chosen_labels(proposal: Proposal, *, kind: Kind) -> tuple[str, ...]:
    """The labels that a proposal stands for, empty when it has none.

    Exclusive: its first. Otherwise: all with a probability of at least 0.5, or its first when there is no such label.
    """
    likely = tuple(scored.label for scored in proposal.labels if scored.probability >= 0.5)
    if kind is not Kind.EXCLUSIVE and likely:
        return likely
    return tuple(scored.label for scored in proposal.labels[:1])


@dataclass(frozen=True, slots=True)
class Proposer:
    """One source's support for a candidate. ``rank`` counts from 1 among that source's labels."""

    source: str
    version: str
    probability: float
    rank: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A label that the coder is asked to judge: its probability mixed over all sources, and those that proposed it."""

    label: str
    probability: float
    proposers: tuple[Proposer, ...]


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """The candidates of one document in the order shown; ``version`` names the inputs that they were made from.

    In the arms choose and blind there are none.
    """

    document_id: str
    version: str
    candidates: tuple[Candidate, ...]
    arm: Arm = Arm.REVIEW


@dataclass(frozen=True, slots=True)
class Decision:
    """What one coder decided on one document in one annotation.

    ``kept`` and ``rejected`` are among the candidates shown, ``missed`` was added by the coder. ``labels`` is what
    holds in the coder's view: kept and missed. ``unresolved`` says why the decision cannot be used (no sole
    survivor where exactly one code may hold, ...), empty when it can. ``untouched``: submitted as it was shown.
    ``seconds`` is Label Studio's lead time, None when it did not say. ``shown`` is the candidate set as the coder
    saw it, None where the annotation carries no record of it (imported, or made without Winnow). ``repeat`` is the
    document's (see ``Document``): a repeated decision measures the coder, it never votes.
    """

    document_id: str
    task_id: int
    annotation_id: int
    coder: str
    form: str
    kept: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    unsure: bool = False
    skipped: bool = False
    unresolved: str = ""
    untouched: bool = False
    ground_truth: bool = False
    seconds: float | None = None
    shown: CandidateSet | None = None
    updated_at: datetime | None = None
    repeat: int = 0

    @property
    def arm(self) -> Arm:
        """How the document was coded; review where no record says otherwise."""
        return self.shown.arm if self.shown else Arm.REVIEW

    @property
    def labels(self) -> tuple[str, ...]:
        """Keys of the labels that hold according to this coder."""
        return self.kept + self.missed

    @property
    def verified(self) -> bool:
        """Whether the decision can be trained on or judged against."""
        return not (self.skipped or self.unresolved or self.unsure)


@dataclass(frozen=True, slots=True)
class VerifiedExample:
    """A document with the labels that its coders agreed on.

    ``rejected`` are labels that its coders were shown and struck out, and that do not hold. ``weight`` is what the
    document counts in training, 1 for what coders verified. ``silver``: no coder saw it, its labels are what the
    sources agree on; never in the holdout.
    """

    document_id: str
    text: str
    labels: tuple[str, ...]
    coders: tuple[str, ...]
    holdout: bool
    task_id: int | None = None
    rejected: tuple[str, ...] = ()
    weight: float = 1.0
    silver: bool = False
