"""Fine-tuning rounds in Redis: who has which, what it is doing, and whether it was asked to stop.

What became of a round is told by its record on disk (``trainer.rounds``); all of this may be lost at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from redis import Redis

from ml_backend.changed_projects import changing_requests, forget_requests
from ml_backend.experiment import Project
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.queue import ENDED, KEPT_SECONDS, TRAIN, enqueue, fetch_job, queues, redis_errors
from ml_backend.request_ids import newest, request_ids
from ml_backend.training_config import Training

ROUND_JOB = "trainer.jobs.run_round"  # by its dotted name: no process but the train worker imports it
BESIDE_SECONDS = 3600  # that a job may take beside the training: reading, publishing, an end that was asked for


def enqueue_round(redis: Redis, project: Project, *, resume: bool = False) -> bool:
    """Enqueue a fine-tuning round, unless one of this project is at hand; whether it was enqueued.

    With ``resume`` it only goes on with a round that was cut off, and does nothing where there is none by then. The job
    carries the ids of the calls that changed the project since its last round.
    """
    if round_at_hand(redis, project.id):
        return False
    training = project.experiment.training or Training(base="")
    put_round_progress(redis, project.id, {"stage": "queued"})
    with redis_errors():
        redis.delete(STOP_KEY.format(project=project.id))
        if (lost := fetch_job(redis, _job_id(project.id))) is not None:
            lost.delete()
    requests = () if resume else newest((*changing_requests(redis, project.id), *request_ids()))
    job = enqueue(
        redis, TRAIN, ROUND_JOB, [project.id, resume], job_id=_job_id(project.id),
        timeout=round(training.time_limit_hours * 3600) + BESIDE_SECONDS, priority=project.experiment.priority,
        requests=requests,
    )  # fmt: skip
    if job is not None and not resume:
        forget_requests(redis, project.id)
    return job is not None


def round_at_hand(redis: Redis, project_id: int) -> bool:
    """Whether a round of the project is queued, or running in a train worker that is alive.

    A killed worker's job is called running by RQ until its time is over.
    """
    job = fetch_job(redis, _job_id(project_id))
    if job is None or job.get_status(refresh=False) in ENDED:
        return False
    return round_queued(redis, project_id) or job.worker_name in live_workers(redis, WorkerKind.TRAIN)


def round_queued(redis: Redis, project_id: int) -> bool:
    """Whether a round of the project waits for a train worker."""
    with redis_errors():
        return any(_job_id(project_id) in line.get_job_ids() for line in queues(redis, TRAIN))


def take_back(redis: Redis, project_id: int) -> bool:
    """Take a round that waits out of the queue; whether there was one."""
    with redis_errors():
        waits = round_queued(redis, project_id)
        job = fetch_job(redis, _job_id(project_id))
        if waits and job is not None:
            job.delete()
            redis.delete(ROUND_KEY.format(project=project_id))
    return waits


def round_result(redis: Redis, project_id: int) -> str | None:
    """The id of the round that the project's last job came to, None where there is no job or it came to none."""
    job = fetch_job(redis, _job_id(project_id))
    with redis_errors():
        found = job.return_value(refresh=True) if job is not None else None
    return str(found) if found else None


def _job_id(project_id: int) -> str:
    return f"round-{project_id}"


# That the project's round shall end at its next step.
STOP_KEY = "winnow:round:{project}:stop"


def ask_to_stop(redis: Redis, project_id: int) -> None:
    """Have the project's running round end at its next step."""
    with redis_errors():
        redis.set(STOP_KEY.format(project=project_id), 1, ex=KEPT_SECONDS)


def stop_asked(redis: Redis, project_id: int) -> bool:
    """Whether the project's running round shall end."""
    with redis_errors():
        return bool(redis.exists(STOP_KEY.format(project=project_id)))


# What the fine-tuning round of a project is doing.
ROUND_KEY = "winnow:round:{project}"


def put_round_progress(redis: Redis, project_id: int, progress: Mapping[str, Any]) -> None:
    """Replace what is known of the project's round."""
    key = ROUND_KEY.format(project=project_id)
    with redis_errors():
        redis.set(key, json.dumps(dict(progress)), ex=KEPT_SECONDS)


def round_progress(redis: Redis, project_id: int) -> dict[str, Any]:
    """What the project's round said last; empty when there was none."""
    with redis_errors():
        value = redis.get(ROUND_KEY.format(project=project_id))
    return dict(json.loads(cast(bytes, value))) if value else {}
