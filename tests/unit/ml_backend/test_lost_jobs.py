"""What a killed worker had at hand is enqueued again, and not for ever."""

from __future__ import annotations

import time

import pytest
from pydantic import SecretStr
from redis import Redis
from rq.job import Job

from ml_backend import queue
from ml_backend.experiment import Project
from ml_backend.heartbeat import beat
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.lost_jobs import KILLED, TRIES, mark_pushed, revive
from ml_backend.prelabel import enqueue_chunk, tasks_at_hand
from ml_backend.prelabel_progress import TaskState, prelabel_progress, start_prelabel, tasks_in
from ml_backend.pushing import Scope
from ml_backend.settings import Settings


@pytest.fixture
def client(settings: Settings) -> LabelStudioClient:
    """A client of a server that is away: nothing here may ask it."""
    away = {"label_studio_url": "http://127.0.0.1:1", "label_studio_token": SecretStr("none")}
    return LabelStudioClient(settings.model_copy(update=away))


def begin(redis: Redis, worker: str) -> Job:
    """As a worker does that takes the project's only job."""
    line = queue.queue(redis, queue.PROPOSE)
    (job,) = line.jobs
    line.remove(job)
    with redis.pipeline() as pipe:
        job.prepare_for_execution(worker, pipe)
        pipe.zadd(line.started_job_registry.key, {f"{job.id}:execution-1": time.time() + 900})
        pipe.execute()
    return job


@pytest.mark.parametrize("scope", Scope)
def test_a_killed_workers_chunk_is_enqueued_again(
    redis: Redis, project: Project, client: LabelStudioClient, scope: Scope
) -> None:
    enqueue_chunk(redis, project, "v1", [1, 2], scope)
    begin(redis, "alive")
    beat(redis, "alive")
    assert revive(redis, client, project) == 0
    redis.flushall()

    enqueue_chunk(redis, project, "v1", [1, 2], scope)
    begin(redis, "killed")
    assert tasks_at_hand(redis, project.id)[scope] == set()
    assert revive(redis, client, project) == 2
    assert tasks_at_hand(redis, project.id)[scope] == {1, 2}
    assert queue.queue(redis, queue.PROPOSE).count == 1
    assert revive(redis, client, project) == 0


def test_tasks_that_kill_their_workers_have_failed(redis: Redis, project: Project, client: LabelStudioClient) -> None:
    start_prelabel(redis, project.id, "v1", [1, 2])
    enqueue_chunk(redis, project, "v1", [1, 2], Scope.REVIEW)
    for turn in range(1, TRIES + 1):
        begin(redis, f"killed-{turn}")
        assert revive(redis, client, project) == (2 if turn < TRIES else 0)
    assert [(one.task_id, one.reason) for one in tasks_in(redis, project.id, TaskState.FAILED)] == [
        (1, KILLED),
        (2, KILLED),
    ]
    assert prelabel_progress(redis, project.id).ended
    assert queue.pushing_jobs(redis, project.id) == []


def test_what_has_pushed_is_not_at_hand(redis: Redis, project: Project) -> None:
    enqueue_chunk(redis, project, "v1", [1], Scope.REVIEW)
    job = begin(redis, "alive")
    beat(redis, "alive")
    assert tasks_at_hand(redis, project.id)[Scope.REVIEW] == {1}
    mark_pushed(job)
    assert tasks_at_hand(redis, project.id)[Scope.REVIEW] == set(), "its next version is another job's"
