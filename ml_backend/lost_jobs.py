"""Which jobs are still to push: not those of a killed worker, which RQ takes for running until their time is over."""

from __future__ import annotations

import logging
from typing import cast

from redis import Redis
from rq.job import Job

from ml_backend import queue
from ml_backend.experiment import Project
from ml_backend.heartbeat import live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.log_events import LogEvent, tell
from ml_backend.prelabel_progress import TaskState, move_tasks
from ml_backend.proposing import Plan
from ml_backend.pushing import Scope, finish, pushing_alone
from ml_backend.request_ids import META

log = logging.getLogger(__name__)

TRIES = 3  # times that a job is begun before it is held for what kills the workers
KILLED = f"its worker was killed {TRIES} times; see the propose workers' logs, or lower WINNOW_CHUNK_DOCUMENTS"

PUSHED = "pushed"  # in a job's meta

# How often a job was taken from a worker that was killed.
TRIES_KEY = "winnow:lost:{job}"


def is_lost(job: Job, alive: set[str]) -> bool:
    """Whether a job has begun in none of the workers ``alive``; the job's state as it was fetched."""
    return job.get_status(refresh=False) == "started" and job.worker_name not in alive


def mark_pushed(job: Job | None) -> None:
    """Note in a job that it has pushed: what is to be pushed from now on is another's. None is no job, but a call."""
    if job is not None:
        job.meta[PUSHED] = True
        with queue.redis_errors():
            if Job.exists(job.id, connection=job.connection):  # else it was taken for lost
                job.save_meta()


def will_push(job: Job, alive: set[str]) -> bool:
    """Whether a job that was fetched as queued or running is still to push, as far as is known."""
    return not is_lost(job, alive) and PUSHED not in job.meta


def forget_lost(redis: Redis, job_id: str) -> None:
    """Remove the job of this id where it is lost, so that it can be enqueued."""
    job = queue.fetch_job(redis, job_id)
    if job is not None and is_lost(job, live_workers(redis)):
        with queue.redis_errors():
            job.delete()


def revive(redis: Redis, client: LabelStudioClient, project: Project) -> int:
    """Enqueue the project's lost jobs again, ahead of the others; the number of their tasks.

    A job that was lost ``TRIES`` times is given up: its tasks have failed.
    """
    alive, revived = live_workers(redis), 0
    for job in queue.pushing_jobs(redis, project.id):
        if not is_lost(job, alive):
            continue
        _, task_ids, scope = cast(tuple[int, list[int], str], job.args)
        key = TRIES_KEY.format(job=job.id)
        with queue.redis_errors():
            tries = int(redis.incr(key))
            redis.expire(key, queue.PROPOSE_TIMEOUT * TRIES)
            job.delete()
        if tries >= TRIES:
            tell(log, LogEvent.JOBS_GIVEN_UP, project=project.id, tasks=len(task_ids), reason=KILLED)
            with pushing_alone(redis, project.id):
                reasons = dict.fromkeys(task_ids, KILLED)
                if Scope(scope) is Scope.REVIEW and move_tasks(redis, project.id, TaskState.FAILED, task_ids, reasons):
                    finish(redis, client, Plan.of(project))
            continue
        queue.enqueue(
            redis, queue.PROPOSE, job.func_name, job.args, job_id=job.id,
            timeout=queue.PROPOSE_TIMEOUT, priority=project.experiment.priority, at_front=True,
            requests=job.meta.get(META, ()),
        )  # fmt: skip
        revived += len(task_ids)
    if revived:
        tell(log, LogEvent.JOBS_REVIVED, project=project.id, tasks=revived)
    return revived
