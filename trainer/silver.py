"""Silver examples: documents that no coder saw, with the labels that all sources agree on and are sure of.

A round trains on them at a lower weight (distillation; Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural
Network, 2015, with hard labels). Sources that make the same mistakes agree on these too, so it takes two sources at
least, calibrated probabilities, and coders' later decisions to see how often silver was right.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np

from label_configs.codebook import Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.errors import TrainingError
from label_configs.records import Document, Proposal, VerifiedExample
from ml_backend.experiment import Project
from ml_backend.log_events import LogEvent, tell
from ml_backend.probabilities import probabilities_of
from ml_backend.proposing import Plan
from ml_backend.snapshot import read_examples
from ml_backend.training_config import Silver
from trainer.fit_plan import EXAMPLES_FILE
from trainer.leaks import copies_of
from trainer.verified import Reading

log = logging.getLogger(__name__)

FEWEST_SOURCES = 2
NO_LABEL = ""  # stands for a document without labels, where those are shared out over labels

Proposals = Mapping[str, Sequence[Proposal]]  # by document id


@dataclass(frozen=True, slots=True)
class Agreed:
    """What all sources say of a document, and the least probability that one of them gives to any part of it."""

    labels: tuple[str, ...]
    certainty: float


@dataclass(frozen=True, slots=True)
class SilverTested:
    """Of the ``documents`` that were silver in an earlier round, ``verified`` have a verified answer by now.

    Of these ``right`` had, when they were silver last, exactly the labels that coders agreed on.
    """

    documents: int
    verified: int
    right: int

    @property
    def share(self) -> float | None:
        """right / verified."""
        return self.right / self.verified if self.verified else None


def agreed(proposals: Sequence[Proposal], codebook: Codebook, probability: float) -> Agreed | None:
    """What the proposals agree on, each with at least ``probability``; None where one disagrees or is less sure.

    Exclusive: the most probable label. Multilabel: of each label, that it holds, or that it does not. Graded: of each
    code, its level, or that it does not hold. A source that does not list exactly the codebook's labels was asked with
    another, and agrees with nobody.
    """
    if not proposals or any({s.label for s in p.labels} != set(codebook.label_keys) for p in proposals):
        return None
    given = probabilities_of(proposals, codebook)  # [sources, labels]
    if codebook.kind is Kind.EXCLUSIVE:
        answers = given[:, None, :]
    else:
        levels = given.reshape(len(given), len(codebook.codes), -1)
        answers = np.concatenate([1 - levels.sum(axis=2, keepdims=True), levels], axis=2)  # first: does not hold
    chosen = answers.argmax(axis=2)  # [sources, questions]
    certainty = round(float(answers.max(axis=2).min()), 6)
    if certainty < probability or (chosen != chosen[0]).any():
        return None
    keys, first = codebook.label_keys, chosen[0].tolist()
    if codebook.kind is Kind.EXCLUSIVE:
        return Agreed((keys[first[0]],), certainty)
    size = len(keys) // len(codebook.codes)
    labels = tuple(sorted(keys[code * size + level - 1] for code, level in enumerate(first) if level))
    if codebook.max_codes is not None and len(labels) > codebook.max_codes:
        return None
    return Agreed(labels, certainty)


def silver_examples(
    candidates: Iterable[Document],
    proposals: Proposals,
    codebook: Codebook,
    silver: Silver,
    training: Sequence[VerifiedExample],
) -> list[VerifiedExample]:
    """The silver examples among ``candidates``, sorted by id, at most ``silver.ratio`` for each verified one.

    ``training`` are the verified documents trained on. Of the sources in ``proposals`` each must have proposed for a
    document, and there must be two. The surest come first, but of each label no more than its share
    among ``training``: else the commonest, which sources know best, would drown the others. A label that coders have
    not verified yet gets none. None of the candidates may be in the holdout, or like a document of it: that is the
    caller's to see to.
    """
    verified = [one for one in training if not (one.holdout or one.silver)]
    limit = floor(silver.ratio * len(verified))
    sources = {proposal.source for made in proposals.values() for proposal in made}
    if not limit or len(sources) < FEWEST_SOURCES:
        return []
    found = []
    for document in candidates:
        made = proposals.get(document.id, ())
        if {one.source for one in made} == sources and (said := agreed(made, codebook, silver.probability)):
            found.append((document, said))
    carried = Counter(label for one in verified for label in set(one.labels) or {NO_LABEL})
    room = {label: ceil(limit * count / len(verified)) for label, count in carried.items()}
    chosen: list[VerifiedExample] = []
    for document, said in sorted(found, key=lambda one: (-one[1].certainty, one[0].id)):
        labels = said.labels or (NO_LABEL,)
        if len(chosen) == limit:
            break
        if all(room.get(label, 0) > 0 for label in labels):
            for label in labels:
                room[label] -= 1
            chosen.append(_example(document, said, silver.weight))
    return sorted(chosen, key=lambda example: example.document_id)


def _example(document: Document, said: Agreed, weight: float) -> VerifiedExample:
    holdout, coders = False, ()
    return VerifiedExample(
        document.id, document.text, said.labels, coders, holdout, document.task_id, weight=weight, silver=True
    )


def silver_of(
    project: Project, reading: Reading, training: Sequence[VerifiedExample]
) -> tuple[list[VerifiedExample], list[str]]:
    """The project's silver examples, and in words why there are none, or what they rest on.

    Of documents on which nobody decided anything, skips included, that are not in the holdout, and like neither a
    document of it, coded or not, nor one that was verified. The sources are those in force, in their present versions.
    """
    settings = project.experiment.training
    if settings is None or not settings.silver.ratio:
        return [], []
    plan = Plan.of(project)
    names = plan.names
    if len(names) < FEWEST_SOURCES:
        return [], [f"No silver: it takes {FEWEST_SOURCES} sources that agree, the project has {len(names)}."]
    made = _in_force(reading.proposals, names)
    decided = {decision.document_id for decision in reading.decisions}
    held = [one for one in reading.documents if is_holdout(one.id, settings.holdout_share)]
    apart = decided.union(one.id for one in held)
    sure = [
        one for one in reading.documents
        if one.id not in apart and agreed(made.get(one.id, ()), project.codebook, settings.silver.probability)
    ]  # fmt: skip
    others = [(one.id, one.text) for one in held] + [(one.document_id, one.text) for one in reading.examples]
    copies = {leak.training_id for leak in copies_of([(one.id, one.text) for one in sure], others)}
    found = silver_examples(
        [one for one in sure if one.id not in copies], made, project.codebook, settings.silver, training
    )
    if not made:
        return [], ["No silver: no document has the proposals of all sources in their present versions yet."]
    if not found:
        probability = settings.silver.probability
        return [], [
            "No silver: there is no document that no coder saw, on which all sources agree with a probability of "
            f"{probability:g}, and whose codes coders have verified elsewhere."
        ]
    as_it_is = [source.config.name for source in plan.sources if source.config.temperature == 1]
    note = f"Silver rests on probabilities that are not tempered, of {', '.join(as_it_is)}; see `winnow evaluate`."
    return found, [note] if as_it_is else []


def _in_force(proposals: Iterable[Proposal], names: Sequence[tuple[str, str]]) -> dict[str, list[Proposal]]:
    """By document, the proposals of the sources in force, of documents that have them all."""
    wanted = set(names)
    found: dict[str, dict[str, Proposal]] = {}
    for proposal in proposals:
        if (proposal.source, proposal.version) in wanted:
            found.setdefault(proposal.document_id, {})[proposal.source] = proposal
    return {document: list(own.values()) for document, own in found.items() if len(own) == len(wanted)}


def coded_since(rounds: Path, examples: Iterable[VerifiedExample]) -> SilverTested:
    """What coders said later of documents that were silver in the rounds kept in ``rounds``.

    A round whose examples cannot be read is left out, and the log says so.
    """
    said: dict[str, tuple[str, ...]] = {}
    paths = sorted(rounds.glob(f"*/{EXAMPLES_FILE}"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths:
        try:
            said |= {one.document_id: one.labels for one in read_examples(path) if one.silver}
        except TrainingError as error:
            tell(log, LogEvent.SILVER_LEFT_OUT, reason=error)
    later = {one.document_id: one.labels for one in examples if not one.silver and one.document_id in said}
    right = sum(set(labels) == set(said[document_id]) for document_id, labels in later.items())
    return SilverTested(len(said), len(later), right)
