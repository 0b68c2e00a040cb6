"""Live mode: review predictions for the tasks that Label Studio asks about, within a deadline."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from redis import Redis

from label_configs import wire
from label_configs.records import Document, Proposal
from ml_backend import queue
from ml_backend.experiment import Project
from ml_backend.prelabel import Scope, candidates_of, documents_of, enqueue_chunk, review_prediction, shows
from ml_backend.proposing import Plan

PROPOSE_JOB = "ml_backend.jobs.propose_tasks"


def predict(
    redis: Redis, project: Project, tasks: Sequence[wire.JsonObject], *, chunk: int, deadline: float
) -> list[list[wire.JsonObject]]:
    """For each task a list with its review prediction, an empty one where it is not ready after ``deadline`` seconds.

    What is not ready, or does not fit the candidates that the task was served with, is pushed when it is.
    """
    plan = Plan.of(project).placing(redis)
    pairs, _ = documents_of(tasks, project.experiment.text)
    documents = [document for _, document in pairs]
    ready = plan.ready(redis, documents)
    missing = [d for d, made in zip(documents, ready, strict=True) if made is None and d.task_id is not None]
    if missing:
        _wait(redis, project, plan, missing, chunk, deadline)
        ready = plan.ready(redis, documents)
    answers: dict[int, list[wire.JsonObject]] = {}
    late: list[int] = []
    for (task, document), made in zip(pairs, ready, strict=True):
        answers[id(task)] = answer = _answer(plan, task, document, made)
        if not answer and document.task_id is not None and not task.get("is_labeled"):
            late.append(document.task_id)
    for start in range(0, len(late), chunk):
        enqueue_chunk(redis, project.id, plan.version, late[start : start + chunk], Scope.REVIEW)
    return [answers.get(id(task), []) for task in tasks]


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


def _wait(
    redis: Redis, project: Project, plan: Plan, documents: Sequence[Document], chunk: int, deadline: float
) -> None:
    """Have the documents proposed, ahead of what else is queued, and wait for the jobs until the deadline."""
    end = time.monotonic() + deadline
    ids = [d.task_id for d in documents]
    jobs = []
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        job_id = f"propose-{project.id}-{hashlib.sha256(f'{plan.version} {part}'.encode()).hexdigest()[:16]}"
        queue.enqueue(redis, queue.PROPOSE, PROPOSE_JOB, [project.id, part], job_id=job_id,
                      timeout=queue.PROPOSE_TIMEOUT, at_front=True)  # fmt: skip
        jobs.append(job_id)
    for job_id in jobs:
        left = end - time.monotonic()
        job = queue.fetch_job(redis, queue.PROPOSE, job_id)
        if left > 0 and job is not None:
            with queue.redis_errors():
                job.latest_result(timeout=max(1, int(left)))
