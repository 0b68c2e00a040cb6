"""The trainings of a learning curve in Redis: enqueued one by one, watched, taken back.

What they came to is told by files (``trainer.evaluation.curve_file``); all of this may be lost at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from redis import Redis

from ml_backend.experiment import Priority, Project
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.queue import ENDED, TRAIN, enqueue, fetch_job, queues, redis_errors
from ml_backend.round_queue import BESIDE_SECONDS
from ml_backend.training_config import Training
from trainer.evaluation.curve_file import cell_name

CELL_JOB = "trainer.curve_jobs.run_cell"
KEPT_SECONDS = 3600  # seconds that a training's progress is kept

# That the project's curve shall end, and what one of its trainings said last.
STOP_KEY = "winnow:curve:{project}:stop"
PROGRESS_KEY = "winnow:curve:{project}:{cell}"


def job_id(project_id: int, curve_id: str, share: int, seed: int) -> str:
    """The job of one cell."""
    return f"curve-{project_id}-{curve_id}-{cell_name(share, seed)}"


def enqueue_cell(redis: Redis, project: Project, curve_id: str, share: int, seed: int) -> None:
    """Enqueue the training of a cell, after all rounds that wait; nothing where it is at hand."""
    name = job_id(project.id, curve_id, share, seed)
    if cell_at_hand(redis, name):
        return
    with redis_errors():
        if (lost := fetch_job(redis, name)) is not None:
            lost.delete()
    training = project.experiment.training or Training(base="")
    enqueue(
        redis, TRAIN, CELL_JOB, [project.id, curve_id, share, seed], job_id=name,
        timeout=round(training.time_limit_hours * 3600) + BESIDE_SECONDS, priority=Priority.LOW,
    )  # fmt: skip


def cell_at_hand(redis: Redis, name: str) -> bool:
    """Whether the job is queued, or running in a train worker that is alive."""
    job = fetch_job(redis, name)
    if job is None or job.get_status(refresh=False) in ENDED:
        return False
    with redis_errors():
        queued = any(name in line.get_job_ids() for line in queues(redis, TRAIN))
    return queued or job.worker_name in live_workers(redis, WorkerKind.TRAIN)


def take_back(redis: Redis, project_id: int) -> None:
    """Take the project's cells that wait out of the queue, and have those that train end at their next step."""
    with redis_errors():
        redis.set(STOP_KEY.format(project=project_id), 1, ex=KEPT_SECONDS)
        waiting = [name for line in queues(redis, TRAIN) for name in line.get_job_ids()]
        for name in waiting:
            if name.startswith(f"curve-{project_id}-") and (job := fetch_job(redis, name)) is not None:
                job.delete()


def go_on(redis: Redis, project_id: int) -> None:
    """Forget that the curve was asked to end."""
    with redis_errors():
        redis.delete(STOP_KEY.format(project=project_id))


def stop_asked(redis: Redis, project_id: int) -> bool:
    """Whether the project's curve shall end."""
    with redis_errors():
        return bool(redis.exists(STOP_KEY.format(project=project_id)))


def put_progress(redis: Redis, project_id: int, cell: str, progress: Mapping[str, Any]) -> None:
    """What a cell's training says of itself."""
    with redis_errors():
        redis.set(PROGRESS_KEY.format(project=project_id, cell=cell), json.dumps(dict(progress)), ex=KEPT_SECONDS)


def progress_of(redis: Redis, project_id: int, cell: str) -> dict[str, Any]:
    """What a cell's training said last; empty where there is none."""
    with redis_errors():
        value = redis.get(PROGRESS_KEY.format(project=project_id, cell=cell))
    return dict(json.loads(cast(bytes, value))) if value else {}
