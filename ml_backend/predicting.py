"""Live mode: review predictions for the tasks that Label Studio asks about, within a deadline."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis

from label_configs import wire
from label_configs.records import Document, Proposal
from ml_backend import queue
from ml_backend.experiment import Project
from ml_backend.lost_jobs import forget_lost
from ml_backend.prelabel import documents_of, enqueue_chunk
from ml_backend.proposing import Plan
from ml_backend.pushing import Scope, candidates_of, review_prediction, shows

PROPOSE_JOB = "ml_backend.jobs.propose_tasks"


@dataclass(frozen=True, slots=True)
class Predicted:
    """For each task a list with its review prediction, an empty one where it is not ready; all are of ``version``."""

    version: str
    results: list[list[wire.JsonObject]]


def predict(
    redis: Redis, project: Project, tasks: Sequence[wire.JsonObject], *, chunk: int, deadline: float
) -> Predicted:
    """Review predictions of one version: the one in force, or where an adapter took over meanwhile the one before.

    What is not ready after ``deadline`` seconds, or does not fit the candidates that the task was served with, is
    pushed when it is.
    """
    pairs, _ = documents_of(tasks, project.experiment.text)
    plan, ready = _ready(redis, project, [document for _, document in pairs], chunk, time.monotonic() + deadline)
    answers: dict[int, list[wire.JsonObject]] = {}
    late: list[int] = []
    for (task, document), made in zip(pairs, ready, strict=True):
        answers[id(task)] = answer = _answer(plan, task, document, made)
        if not answer and document.task_id is not None and not task.get("is_labeled"):
            late.append(document.task_id)
    for start in range(0, len(late), chunk):
        enqueue_chunk(redis, project, plan.version, late[start : start + chunk], Scope.REVIEW)
    return Predicted(plan.version, [answers.get(id(task), []) for task in tasks])


def _ready(
    redis: Redis, project: Project, documents: Sequence[Document], chunk: int, end: float
) -> tuple[Plan, list[list[Proposal] | None]]:
    """The plan and what it has ready of the documents at the time ``end`` at the latest; None where that is nothing.

    The workers propose by the plan that is in force when they do. One that came while this waited for the plan before
    is waited for in turn.
    """
    plan = Plan.of(project)
    while True:
        ready = plan.ready(redis, documents)
        missing = [d for d, made in zip(documents, ready, strict=True) if made is None and d.task_id is not None]
        if missing and time.monotonic() < end:
            _wait(redis, plan, missing, chunk, end)
            ready = plan.ready(redis, documents)
        now = Plan.of(project)
        if now.version == plan.version or None not in ready or time.monotonic() >= end:
            return plan, ready
        plan = now


def _answer(
    plan: Plan, task: wire.JsonObject, document: Document, made: list[Proposal] | None
) -> list[wire.JsonObject]:
    if made is None:
        return []
    project = plan.project
    shown = plan.candidates(document, made)
    if not shows(task, candidates_of(project, shown)):
        return []  # the page would tick candidates that it does not show
    return [review_prediction(plan, document, made, shown)]


def _wait(redis: Redis, plan: Plan, documents: Sequence[Document], chunk: int, end: float) -> None:
    """Have the documents proposed, ahead of what else their project has queued, and wait for the jobs until ``end``."""
    project = plan.project
    ids = [d.task_id for d in documents]
    jobs = []
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        job_id = f"propose-{project.id}-{hashlib.sha256(f'{plan.version} {part}'.encode()).hexdigest()[:16]}"
        forget_lost(redis, job_id)
        queue.enqueue(
            redis, queue.PROPOSE, PROPOSE_JOB, [project.id, part], job_id=job_id,
            timeout=queue.PROPOSE_TIMEOUT, priority=project.experiment.priority, at_front=True,
        )  # fmt: skip
        jobs.append(job_id)
    for job_id in jobs:
        left = end - time.monotonic()
        job = queue.fetch_job(redis, job_id)
        if left > 0 and job is not None:
            queue.wait_for(job, left)
