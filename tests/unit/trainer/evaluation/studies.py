"""Made studies for tests of whatever judges one: every draw is from a seed, so the same call makes the same study.

    exclusive()                  five codes, one holds; 200 documents, 3 coders, 3 sources
    multilabel()                 four codes, none to several hold
    graded()                     three codes at one of two levels each
    study(kind, documents=…, coders=…, sources=…, seed=…)   any size; ``study(Kind.EXCLUSIVE, 20_000, 2, 4)``
    empty(kind)                  a project that nobody has coded anything in

What is in them:
- a fifth of the documents is holdout, coded in the arm choose; of the others a tenth is blind, the rest review. A third
  has two coders or more, and a fifteenth of the documents is coded once more by its first coder (``repeat=1``).
- sources are called ``adapter`` (right for about 9 in 10), ``prompt``, ``similarity``, ``probe`` (ever less often);
  each has version ``<name>/1``, and ``adapter`` an old one, ``adapter/0``, on a third of the documents as well.
- coder 3 (where there are three) keeps what is shown, untouched, within 2 seconds: rubber-stamping. One document in
  forty is skipped, one in forty is unsure.
- metadata ``language`` (en, de, fr; the sources do worse in fr) and ``year`` (2021 to 2023).
- half the documents are ``random`` ones; decisions come over twelve weeks of 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import (
    Arm,
    Candidate,
    CandidateSet,
    Decision,
    Proposal,
    Proposer,
    ScoredLabel,
    VerifiedExample,
    chosen_labels,
)
from ml_backend.source_config import Price, SourceConfig, SourceKind
from trainer.consensus import outcomes
from trainer.evaluation.study import Study, StudyDocument

CODES = {
    Kind.EXCLUSIVE: ("earn", "acq", "crude", "trade", "grain"),
    Kind.MULTILABEL: ("economy", "health", "labour", "climate"),
    Kind.GRADED: ("happiness", "meaning", "trust"),
}
SOURCES = {"adapter": 0.9, "prompt": 0.7, "similarity": 0.6, "probe": 0.5}
SKILLS = (0.95, 0.9, 0.75)  # of coders 1, 2, 3; others are as the first
BEGIN = datetime(2026, 1, 5, 9, tzinfo=UTC)
SPAN = timedelta(weeks=12)
LANGUAGES = ("en", "de", "fr")


def exclusive() -> Study:
    return study(Kind.EXCLUSIVE)


def multilabel() -> Study:
    return study(Kind.MULTILABEL)


def graded() -> Study:
    return study(Kind.GRADED)


def empty(kind: Kind = Kind.EXCLUSIVE) -> Study:
    return Study("Nothing yet", codebook(kind), {}, (), (), (), {}, "the coders' consensus")


def codebook(kind: Kind) -> Codebook:
    codes = tuple(Code(key, key.capitalize(), f"About {key}.", key) for key in CODES[kind])
    return Codebook(f"made-{kind.value}", kind, codes, levels=("low", "high") if kind is Kind.GRADED else ())


@cache
def study(kind: Kind, documents: int = 200, coders: int = 3, sources: int = 3, seed: int = 0) -> Study:
    maker = _Maker(kind, seed, documents)
    ids = [f"doc-{number:05d}" for number in range(documents)]
    known = {name: maker.document(name, number) for number, name in enumerate(ids)}
    truth = {name: maker.labels() for name in ids}
    names = tuple(SOURCES)[:sources]
    proposals = [one for name in ids for one in maker.proposals(known[name], truth[name], names)]
    shown: dict[str, list[Proposal]] = {}
    for one in proposals:
        if not one.version.endswith("/0"):
            shown.setdefault(one.document_id, []).append(one)
    decisions = [
        one
        for number, name in enumerate(ids)
        for one in maker.decisions(number, known[name], truth[name], shown[name], coders)
    ]
    settled = {name: one for name, one in outcomes(decisions, kind=kind).items() if one.labels is not None}
    examples = tuple(
        VerifiedExample(
            name, known[name].text, one.labels or (), tuple(vote.coder for vote in one.votes), known[name].holdout
        )
        for name, one in settled.items()
    )
    return Study(
        f"Made {kind.value}", maker.book, known, tuple(decisions), tuple(proposals), examples,
        {example.document_id: example.labels for example in examples}, "the coders' consensus",
        versions={name: f"{name}/1" for name in names},
        configs={name: _config(name) for name in names},
        names={str(number): f"Person {number}" for number in range(1, coders + 1)},
        url="http://127.0.0.1:8080", project_id=7, pulled_at=BEGIN + timedelta(weeks=13),
    )  # fmt: skip


def _config(name: str) -> SourceConfig:
    kind = SourceKind.ADAPTER if name == "adapter" else SourceKind.SIMILARITY
    price = Price(input=0.5, output=1.5) if name == "prompt" else None
    return SourceConfig(name, SourceKind.CAUSAL if name == "prompt" else kind, model="/models/made", price=price)


class _Maker:
    """Draws labels, proposals and decisions from one seed."""

    def __init__(self, kind: Kind, seed: int, total: int) -> None:
        self.kind, self.book, self.random = kind, codebook(kind), np.random.default_rng(seed)
        self.annotation, self.total = 0, total

    def document(self, name: str, number: int) -> StudyDocument:
        metadata = {"language": LANGUAGES[self._below(3)], "year": str(2021 + self._below(3))}
        text = f"Document {number} tells of things."
        return StudyDocument(name, text, 1000 + number, metadata, self._below(5) == 0, self._below(2) == 0)

    def _below(self, number: int) -> int:
        return int(self.random.integers(number))

    def labels(self) -> tuple[str, ...]:
        keys = CODES[self.kind]
        if self.kind is Kind.EXCLUSIVE:
            return (keys[min(int(self.random.geometric(0.45)) - 1, len(keys) - 1)],)
        held = [key for key in keys if self.random.random() < 0.35]
        if self.kind is Kind.MULTILABEL:
            return tuple(held)
        return tuple(f"{key}:{'high' if self.random.random() < 0.4 else 'low'}" for key in held)

    def proposals(self, document: StudyDocument, truth: Sequence[str], sources: Sequence[str]) -> list[Proposal]:
        found = []
        for source in sources:
            skill = SOURCES[source] - (0.25 if document.metadata["language"] == "fr" else 0)
            if source == "adapter" and self._below(3) == 0:
                found.append(self._proposal(document.id, source, f"{source}/0", truth, skill - 0.15))
            found.append(self._proposal(document.id, source, f"{source}/1", truth, skill))
        return found

    def _proposal(self, name: str, source: str, version: str, truth: Sequence[str], skill: float) -> Proposal:
        labels = self._judged(truth, skill)
        keys = self.book.label_keys
        if self.kind is Kind.EXCLUSIVE:
            weights = self.random.random(len(keys)) + 4 * np.array([key in labels for key in keys])
            probabilities = weights / weights.sum()
        else:
            low = self.random.random(len(keys)) * 0.45
            probabilities = np.where([key in labels for key in keys], 1 - low, low)
        scored = sorted(zip(keys, probabilities.tolist(), strict=True), key=lambda pair: -pair[1])
        priced = 0.0004 if source == "prompt" else None
        return Proposal(
            name,
            source,
            version,
            tuple(ScoredLabel(*pair) for pair in scored),
            240,
            0.02,
            5 if priced else 0,
            0,
            priced,
        )

    def _judged(self, truth: Sequence[str], skill: float) -> tuple[str, ...]:
        """What somebody who is right with probability ``skill`` sees: another label in its place where they are not."""
        if self.kind is Kind.EXCLUSIVE:
            return tuple(truth) if self.random.random() < skill else self.labels()
        keys = CODES[self.kind]
        found = []
        for key in keys:
            own = [label for label in truth if label.split(":")[0] == key]
            if self.random.random() >= (1 + skill) / 2:
                own = [] if own else [f"{key}:low" if self.kind is Kind.GRADED else key]
            found += own
        return tuple(found)

    def decisions(
        self, number: int, document: StudyDocument, truth: Sequence[str], proposals: Sequence[Proposal], coders: int
    ) -> list[Decision]:
        first = self._below(coders)
        others = 0 if self._below(3) else 1 + self._below(2)
        who = [(first + step) % coders for step in range(min(coders, 1 + others))]
        found = [self._decision(number, document, truth, proposals, coder) for coder in who]
        if self._below(15) == 0:
            found.append(self._decision(number, document, truth, proposals, first, repeat=1))
        return found

    def _decision(
        self, number: int, document: StudyDocument, truth: Sequence[str], proposals: Sequence[Proposal], coder: int,
        repeat: int = 0,
    ) -> Decision:  # fmt: skip
        self.annotation += 1
        arm = Arm.CHOOSE if document.holdout else Arm.BLIND if number % 10 == 1 else Arm.REVIEW
        candidates = self._candidates(proposals) if arm is Arm.REVIEW else ()
        shown = tuple(candidate.label for candidate in candidates)
        hasty = coder == 2 and bool(shown)
        labels = self._judged(truth, SKILLS[coder] if coder < len(SKILLS) else SKILLS[0])
        if hasty:
            labels = (
                shown[:1]
                if self.kind is Kind.EXCLUSIVE
                else tuple({label.split(":")[0]: label for label in shown}.values())
            )
        kept = tuple(label for label in shown if label in labels)
        return Decision(
            document.id, document.task_id or 0, self.annotation, str(coder + 1), "keep" if shown else "choose", kept,
            tuple(label for label in shown if label not in labels),
            tuple(label for label in labels if label not in shown),
            unsure=number % 40 == 7, skipped=number % 40 == 13, untouched=hasty,
            seconds=1.0 + float(self.random.random()) if hasty
            else float(self.random.lognormal(2.5 if shown else 3.0, 0.5)),
            shown=CandidateSet(document.id, "set/1", candidates, arm),
            updated_at=BEGIN + number / self.total * SPAN + timedelta(seconds=coder, weeks=repeat),
            repeat=repeat,
        )  # fmt: skip

    def _candidates(self, proposals: Sequence[Proposal]) -> tuple[Candidate, ...]:
        proposers: dict[str, list[Proposer]] = {}
        for one in proposals:
            top = chosen_labels(one, kind=self.kind)
            for rank, scored in enumerate(one.labels, start=1):
                if scored.label in top:
                    proposers.setdefault(scored.label, []).append(
                        Proposer(one.source, one.version, scored.probability, rank)
                    )
        mixed = {
            label: sum(proposer.probability for proposer in own) / len(proposals) for label, own in proposers.items()
        }
        return tuple(
            Candidate(label, mixed[label], tuple(proposers[label]))
            for label in sorted(mixed, key=lambda key: -mixed[key])
        )
