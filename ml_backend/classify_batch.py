"""A request to classify: its documents in jobs of a chunk each, so that all propose workers share them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from label_configs.records import Document, Proposal
from ml_backend.classify_queue import ClassifyQueue, Outcome, State
from ml_backend.classifying import ClassifySpec
from ml_backend.experiment import Priority

ID_BYTES = 18
ID = re.compile(r"[A-Za-z0-9_-]{24}")  # 18 bytes in base64


@dataclass(frozen=True)
class Standing:
    """How far a batch is: ``done`` documents have their proposals; all of ``proposals`` when the state is DONE."""

    state: State
    done: int = 0
    proposals: tuple[list[Proposal], ...] = ()
    failure: Outcome | None = None


@dataclass(frozen=True)
class Batch:
    """Documents under an id that nobody can guess; ``sizes`` are the numbers of documents of its jobs."""

    id: str
    spec: ClassifySpec
    sizes: tuple[int, ...]

    @classmethod
    def send(
        cls,
        line: ClassifyQueue,
        spec: ClassifySpec,
        documents: Sequence[Document],
        *,
        chunk: int,
        at_front: bool,
        priority: Priority = Priority.NORMAL,
    ) -> Batch:
        """Enqueue the documents, ``chunk`` to a job; ``at_front`` of what else is queued where somebody waits."""
        parts = [documents[start : start + chunk] for start in range(0, len(documents), chunk)]
        batch = cls(secrets.token_urlsafe(ID_BYTES), spec, tuple(map(len, parts)))
        line.exchange.put(_name(batch.id), [{"spec": spec.to_json(line.home), "sizes": batch.sizes}])
        jobs = list(zip(batch.jobs, parts, strict=True))
        for job_id, part in reversed(jobs) if at_front else jobs:
            line.submit(spec, part, job_id=job_id, at_front=at_front, priority=priority)
        return batch

    @classmethod
    def find(cls, line: ClassifyQueue, batch_id: str) -> Batch | None:
        """The batch of this id, None when there is none, or no more. Raises ConfigError for one of another version."""
        rows = line.exchange.get(_name(batch_id)) if ID.fullmatch(batch_id) else None
        if rows is None:
            return None
        return cls(batch_id, ClassifySpec.from_json(rows[0]["spec"], line.home), tuple(rows[0]["sizes"]))

    @property
    def jobs(self) -> list[str]:
        """Ids of its jobs."""
        return [f"{self.id}-{number}" for number in range(len(self.sizes))]

    def standing(self, line: ClassifyQueue) -> Standing | None:
        """How far it is; None when it was deleted or has expired."""
        outcomes = [line.collect(job_id) for job_id in self.jobs]
        found = [outcome for outcome in outcomes if outcome is not None]
        states = {outcome.state for outcome in found}
        if len(found) < len(outcomes):
            return None
        done = sum(size for size, o in zip(self.sizes, found, strict=True) if o.state is State.DONE)
        if State.FAILED in states:
            failure = next(outcome for outcome in found if outcome.state is State.FAILED)
            return Standing(State.FAILED, done, failure=failure)
        if states == {State.DONE}:
            return Standing(State.DONE, done, tuple(row for outcome in found for row in outcome.proposals))
        return Standing(State.QUEUED if states == {State.QUEUED} else State.WORKING, done)

    def wait(self, line: ClassifyQueue, seconds: float) -> None:
        """Return when the workers are through with it, after ``seconds`` at the latest."""
        end = time.monotonic() + seconds
        for job_id in self.jobs:
            if (left := end - time.monotonic()) > 0:
                line.wait(job_id, left)

    def delete(self, line: ClassifyQueue) -> None:
        """Forget it, with its documents and results."""
        line.exchange.delete(_name(self.id))
        line.delete(*self.jobs)


def _name(batch_id: str) -> str:
    return f"{batch_id}.batch"
