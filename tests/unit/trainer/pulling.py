"""A small project with all that can be in one, for tests of pulling it: on the fake, or by other hands."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Arm, Candidate, CandidateSet, Proposal, Proposer, ScoredLabel
from label_configs.wire import JsonObject
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.registered_projects import register
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.mirror_schema import BLOCK_TASKS
from trainer.pull import Pull, Pulled

PROJECT = 7
CODEBOOK = load_codebook("reuters8")
FORM = ReviewForm.REJECT
SOURCES = ("words", "again")
LABELS = CODEBOOK.label_keys


def experiment(**review: object) -> Experiment:
    sources = tuple(SourceConfig(name, SourceKind.FAKE) for name in SOURCES)
    return Experiment(
        "reuters8", sources, review=Review(FORM, **review), training=Training("no-model", holdout_share=0.3)
    )


def task_data(number: int) -> JsonObject:
    data = {
        "text": f"text {number} – Straße",
        "document_id": f"d{number}",
        "candidates": [],
        "lang": "de",
        "year": 2020,
    }
    return data | {"tags": ["list"], "empty": "", "share": 0.25, "yes": True}


def proposal(number: int, source: str) -> Proposal:
    draw = random.Random(f"{number} {source}")
    shares = [draw.random() for _ in LABELS]
    found = zip(LABELS, (one / sum(shares) for one in shares), strict=True)
    labels = tuple(ScoredLabel(*one) for one in sorted(found, key=lambda one: -one[1]))
    return Proposal(f"d{number}", source, f"{source}/1", labels, 40 + number, 0.125, price=0.5 if number % 2 else None)


def shown(number: int, arm: Arm = Arm.REVIEW) -> CandidateSet:
    candidates = tuple(
        Candidate(label, 0.3, (Proposer("words", "words/1", 0.3, 1), Proposer("again", "again/1", 0.1, 2)))
        for label in LABELS[number % 3 : number % 3 + 3]
    )
    return CandidateSet(f"d{number}", "winnow-review-1", candidates if arm is Arm.REVIEW else (), arm)


def predictions(task_id: int, number: int) -> list[JsonObject]:
    made = [wire.source_prediction(CODEBOOK, proposal(number, source), FORM) for source in SOURCES]
    made.append(wire.review_prediction(CODEBOOK, shown(number), FORM))
    return [{"task": task_id, **one} for one in made]


def result(number: int, keep: int = 0, arm: Arm = Arm.REVIEW, *, unsure: bool = False) -> list[JsonObject]:
    """What a coder submits who keeps one of the candidates."""
    seen = shown(number, arm)
    if arm is not Arm.REVIEW:
        return wire.coder_result(CODEBOOK, seen, FORM, missed=[LABELS[keep]], unsure=unsure)
    labels = [one.label for one in seen.candidates]
    return wire.coder_result(
        CODEBOOK, seen, FORM, rejected=[one for one in labels if one != labels[keep]], unsure=unsure
    )


@dataclass
class Coded:
    """A project of the fake: skips, drafts, several coders, no record of what was shown, copies, no text."""

    home: Path
    tasks: int = 12
    now: datetime = field(default_factory=lambda: datetime(2030, 1, 1, tzinfo=UTC))
    review: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fake = FakeLabelStudio(PROJECT, lambda: self.now, "winnow-review-1")
        self.project: Project = register(self.home, PROJECT, experiment(**self.review), CODEBOOK)
        self.ids = self.fake.import_tasks(task_data(number) for number in range(self.tasks))
        for number, task_id in enumerate(self.ids):
            self.fake.import_predictions(predictions(task_id, number))
        self.annotations = self.code(self.ids[: self.tasks // 2])
        first = self.ids[0]
        self.fake.annotate(first, [], 2, skipped=True)
        self.fake.annotate(self.ids[1], result(1, 1), 2)
        self.fake.annotate(self.ids[2], result(2, 0, unsure=True), 2)
        self.fake.annotate(self.ids[3], [result(3)[0]], 3)  # the record was lost: the snapshot has it
        self.fake.annotate(self.ids[4], result(4, 1, Arm.CHOOSE), 2, seconds=2.5)
        self.fake.save_draft(self.ids[-1])
        self.fake.import_tasks([{**task_data(0), "repeat": 1}, {"document_id": "no text"}])
        self.fake.annotate(self.ids[-1] + 1, result(0))

    def code(self, task_ids: Iterable[int], coder: int = 1, keep: int = 0) -> list[int]:
        return [self.fake.annotate(one, result(self.ids.index(one), keep), coder) for one in task_ids]

    def pull(self, folder: Path | None = None) -> Pulled:
        """Pull a minute later."""
        self.now += timedelta(minutes=1)
        return Pull(self.project, folder or self.folder, quiet()).run(self.fake, self.now)

    @property
    def folder(self) -> Path:
        return self.project.folder / "pulled"

    def spread(self, blocks: int) -> None:
        """Import so many further blocks of tasks, of which every tenth has all there can be."""
        rows = [task_data(self.tasks + n) for n in range(blocks * BLOCK_TASKS)]
        made = self.fake.import_tasks(rows)
        self.ids += [-1, -1]  # the two that are no documents of their own
        self.ids += made
        for task_id in made[::10]:
            self.fake.import_predictions(predictions(task_id, self.ids.index(task_id)))


def quiet() -> Console:
    return Console(file=io.StringIO())


def manifest(folder: Path) -> JsonObject:
    found: JsonObject = json.loads((folder / "manifest.json").read_text())
    return found


def parts(folder: Path) -> dict[str, tuple[int, int]]:
    """The Parquet files with what tells whether they were written anew."""
    found = sorted(folder.glob("*/*.parquet"))
    return {str(one.relative_to(folder)): (one.stat().st_ino, one.stat().st_mtime_ns) for one in found}


def of_block(files: Sequence[str], block: int) -> list[str]:
    return [name for name in files if f"/{block:08d}-" in name]
