"""A coded project made up of nothing: a mirror with as many tasks as wanted, rounds, adapters. No server is asked."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis import Redis

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Candidate, CandidateSet, Proposal, Proposer, ScoredLabel
from ml_backend import adapters, promotions, queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.heartbeat import WorkerKind, beat
from ml_backend.registered_projects import register
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.mirror import Mirror
from trainer.mirror_file import MirrorFile
from trainer.rounds import RoundRecord, RoundState, rounds_folder, save_round, save_seen
from trainer.tally import Tally

CODEBOOK = load_codebook("reuters8")
FORM = ReviewForm.REJECT
SOURCES = {"definitions": 0.58, "similarity": 0.7, "probe": 0.86}  # how often each puts the true code first
CODERS = {4: 0.97, 11: 0.93, 12: 0.95, 23: 0.8}  # how often each is right
CONFUSED = {"trade": "interest", "interest": "money-fx", "ship": "grain"}  # what a code is taken for
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
WORDS = (
    "grain",
    "vessel",
    "rate",
    "bank",
    "crude",
    "output",
    "shares",
    "profit",
    "minister",
    "tonnes",
    "dollar",
    "port",
)


@dataclass
class MadeProject:
    """Project ``id`` with so many ``tasks``; of ``coded`` of them decisions are made, of every third by two coders."""

    home: Path
    tasks: int = 600
    coded: int = 460
    id: int = 7
    words: int = 60

    def make(self) -> Project:
        """Register it and fill its mirror."""
        sources = tuple(SourceConfig(name, SourceKind.FAKE) for name in SOURCES)
        training = Training("no-model", thresholds=(100, 250, 500, 1000))
        project = register(self.home, self.id, Experiment("reuters8", sources, review=Review(FORM), training=training),
                           CODEBOOK)  # fmt: skip
        draw = random.Random(self.id)
        with MirrorFile(project.folder) as file, file.writing():
            for task in self._tasks(draw):
                file.put(task)
            file.set_facts({"born": "made", "revision": "1", "read_at": START.isoformat(), "url": "http://127.0.0.1:9"})
        with Mirror(project.folder) as mirror:
            mirror.look_about(self, self.id, names=False)
        self.count(project)
        return project

    def project_title(self, project_id: int) -> str:
        """As Label Studio's client does."""
        assert project_id == self.id
        return "Reuters newswire"

    def coder_names(self) -> dict[str, str]:
        """As Label Studio's client does."""
        return {str(coder): f"Name of {coder}" for coder in CODERS}

    def count(self, project: Project) -> None:
        """As the scheduler does."""
        with MirrorFile(project.folder) as file:
            Tally(file, project).counts(rounds_folder(project.home, project.id))

    def _tasks(self, draw: random.Random) -> Iterator[wire.JsonObject]:
        labels = CODEBOOK.label_keys
        weights = [1 / (place + 1) for place in range(len(labels))]
        for number in range(1, self.tasks + 1):
            (truth,) = draw.choices(labels, weights)
            made = [self._proposal(draw, number, name, truth) for name in SOURCES]
            shown = self._shown(number, made)
            at = START + timedelta(minutes=20 * number * 600 / self.tasks)
            coders = draw.sample([*CODERS], 2 if number % 3 == 0 else 1) if number <= self.coded else []
            predictions = [*(wire.source_prediction(CODEBOOK, one, FORM) for one in made),
                           wire.review_prediction(CODEBOOK, shown, FORM)]  # fmt: skip
            text = " ".join(draw.choices(WORDS, k=self.words))
            yield {
                "id": number, "updated_at": _stamp(at), "created_at": _stamp(START), "meta": {},
                "data": {"text": f"{text} {number}", "document_id": f"d{number}",
                         "country": draw.choice(("UK", "US", "JP"))},
                "annotations": [self._annotation(draw, number * 10 + i, coder, truth, shown, at)
                                for i, coder in enumerate(coders)],
                "predictions": [{"id": number * 10 + i, "created_at": _stamp(START), **one}
                                for i, one in enumerate(predictions)],
            }  # fmt: skip

    def _proposal(self, draw: random.Random, number: int, source: str, truth: str) -> Proposal:
        first = truth if draw.random() < SOURCES[source] else draw.choice(CODEBOOK.label_keys)
        others = draw.sample([one for one in CODEBOOK.label_keys if one != first], 2)
        sure = draw.uniform(0.4, 0.95)
        scored = (ScoredLabel(first, sure), *(ScoredLabel(one, (1 - sure) / 2) for one in others))
        return Proposal(
            f"d{number}", source, f"{source}/fake@base", scored, draw.randint(150, 400), draw.uniform(0.1, 0.4)
        )

    def _shown(self, number: int, proposals: list[Proposal]) -> CandidateSet:
        by: dict[str, list[Proposer]] = {}
        for one in proposals:
            for rank, scored in enumerate(one.labels[:2], 1):
                by.setdefault(scored.label, []).append(Proposer(one.source, one.version, scored.probability, rank))
        found = (Candidate(label, max(p.probability for p in own), tuple(own)) for label, own in by.items())
        best = sorted(found, key=lambda one: -one.probability)
        return CandidateSet(f"d{number}", "winnow-review-1", tuple(best))

    def _annotation(
        self, draw: random.Random, number: int, coder: int, truth: str, shown: CandidateSet, at: datetime
    ) -> wire.JsonObject:
        code = truth if draw.random() < CODERS[coder] else CONFUSED.get(truth, "earn")
        labels = [one.label for one in shown.candidates]
        result = wire.coder_result(
            CODEBOOK, shown, FORM, rejected=[one for one in labels if one != code],
            missed=[] if code in labels else [code],
        )  # fmt: skip
        seconds = round(draw.lognormvariate(2.4, 0.4), 1)
        return {
            "id": number, "result": result, "was_cancelled": False, "ground_truth": False, "completed_by": coder,
            "updated_by": coder, "lead_time": seconds, "created_at": _stamp(at), "updated_at": _stamp(at),
            "draft_created_at": None, "parent_prediction": None, "parent_annotation": None, "import_id": None,
            "last_action": None, "prediction": None,
        }  # fmt: skip


def train(project: Project, folder: Path, verified: int, state: RoundState, *, new: float, before: float) -> str:
    """A round as it ended, with its adapter in the store, current where it was promoted; the adapter's id."""
    verdict = "promoted" if state is RoundState.PROMOTED else "kept"
    reason = f"macro-F1 {new:.3f} against {before:.3f} on {verified // 5} holdout documents: " + (
        "better with probability 0.993, at least the 0.9 asked for." if verdict == "promoted"
        else "better with probability 0.71, below the 0.9 asked for."
    )  # fmt: skip
    began = START + timedelta(hours=verified / 4)
    identifier = round_name(verified)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(f"weights {verified}".encode())
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    adapter = adapters.store_of(project.home).publish(
        folder,
        {
            "base": "smollm2", "prompt": "zero_shot", "max_document_tokens": 1024, "project": project.id,
            "codebook": project.codebook.fingerprint, "round": identifier, "made_at": began.isoformat(),
            "training_examples": verified * 4 // 5, "holdout_examples": verified // 5,
            "gate": {"verdict": verdict, "metric": "macro_f1", "new": new, "current": before, "reason": reason},
        },
    )  # fmt: skip
    if state is RoundState.PROMOTED:
        promotions.promote(project.folder, adapter)
    rounds = rounds_folder(project.home, project.id)
    (rounds / identifier).mkdir(parents=True, exist_ok=True)
    (rounds / identifier / "fit.log").write_text("loaded the base\nstep 1 of 90\n", encoding="utf-8")
    save_round(
        rounds,
        RoundRecord(identifier, project.id, state, verified, verified * 4 // 5, verified // 5, adapter.id, reason,
                    {"new_macro_f1": new, "current_macro_f1": before}, 412.0, began,
                    began + timedelta(seconds=412), refreshed_at=began + timedelta(seconds=420)),
    )  # fmt: skip
    save_seen(rounds, identifier, (f"d{number}" for number in range(1, verified + 1)))
    return adapter.id


def round_name(verified: int) -> str:
    """The id of the round of so many documents."""
    return hashlib.sha256(str(verified).encode()).hexdigest()[:16]


@contextmanager
def working(redis: Redis) -> Iterator[None]:
    """A train worker that is alive has the round that was enqueued."""
    (line,) = (line for line in queue.queues(redis, queue.TRAIN) if line.count)
    job = line.fetch_job(line.pop_job_id())
    beat(redis, "test-worker", WorkerKind.TRAIN)
    job.worker_name = "test-worker"
    job.set_status("started")
    job.save()
    try:
        yield
    finally:
        job.delete()
        redis.zrem(WorkerKind.TRAIN, "test-worker")


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
