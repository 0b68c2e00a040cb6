"""Every task of a prelabelling is in one state, whatever happens twice."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from redis import Redis

from ml_backend import queue
from ml_backend.app import create_app
from ml_backend.experiment import Project
from ml_backend.heartbeat import beat
from ml_backend.prelabel import enqueue_chunk, enqueue_lost, tasks_at_hand
from ml_backend.prelabel_progress import (
    REASON_LENGTH,
    Progress,
    TaskProgress,
    TaskState,
    move_tasks,
    prelabel_progress,
    start_prelabel,
    tasks_in,
)
from ml_backend.pushing import Scope
from ml_backend.settings import Settings
from tests.unit.ml_backend.described import conforms


def test_before_the_first_there_is_nothing(redis: Redis) -> None:
    progress = prelabel_progress(redis, 7)
    assert progress == Progress("", dict.fromkeys(TaskState, 0))
    assert progress.ended
    assert tasks_in(redis, 7, TaskState.DONE) == []


def test_tasks_move_and_are_counted_where_they_are(redis: Redis) -> None:
    start_prelabel(redis, 7, "v1", [3, 1, 2])
    assert move_tasks(redis, 7, TaskState.WORKING, [1, 2]) == 2
    for _ in range(2):  # a job that is run twice
        assert move_tasks(redis, 7, TaskState.DONE, [1]) == 1
        assert move_tasks(redis, 7, TaskState.FAILED, [2], {2: "no text"}) == 1
    progress = prelabel_progress(redis, 7)
    assert [progress[state] for state in TaskState] == [1, 0, 1, 0, 1]
    assert (progress.version, progress.total, progress.ended) == ("v1", 3, False)
    assert tasks_in(redis, 7, TaskState.FAILED) == [TaskProgress(2, TaskState.FAILED, "no text")]

    move_tasks(redis, 7, TaskState.DONE, [2, 3])
    assert prelabel_progress(redis, 7).ended
    assert tasks_in(redis, 7, TaskState.DONE) == [TaskProgress(i, TaskState.DONE) for i in (1, 2, 3)]


def test_tasks_of_no_prelabelling_count_nowhere(redis: Redis) -> None:
    start_prelabel(redis, 7, "v1", [1])
    assert move_tasks(redis, 7, TaskState.DONE, [2]) == 0
    assert move_tasks(redis, 8, TaskState.FAILED, [1], {1: "no text"}) == 0
    assert prelabel_progress(redis, 7).total == 1
    assert prelabel_progress(redis, 8).total == 0


def test_a_new_start_forgets_the_one_before(redis: Redis) -> None:
    start_prelabel(redis, 7, "v1", [1, 2])
    move_tasks(redis, 7, TaskState.FAILED, [1, 2], {1: "no text"})
    start_prelabel(redis, 7, "v2", [1])
    assert tasks_in(redis, 7, TaskState.QUEUED) == [TaskProgress(1, TaskState.QUEUED)]
    assert prelabel_progress(redis, 7).total == 1


def test_reasons_are_short(redis: Redis) -> None:
    start_prelabel(redis, 7, "v1", [1])
    move_tasks(redis, 7, TaskState.FAILED, [1], {1: "x" * 5000})
    assert len(tasks_in(redis, 7, TaskState.FAILED)[0].reason) == REASON_LENGTH


def test_what_is_at_hand_is_in_a_job_that_waits_or_that_a_living_worker_has(redis: Redis, project: Project) -> None:
    enqueue_chunk(redis, project, "v1", [1, 2], Scope.REVIEW)
    enqueue_chunk(redis, project, "v1", [3], Scope.SOURCES)
    enqueue_chunk(redis, replace(project, id=8), "v1", [4], Scope.REVIEW)
    assert tasks_at_hand(redis, 7) == {Scope.REVIEW: {1, 2}, Scope.SOURCES: {3}}
    start_prelabel(redis, 7, "v1", [1, 2])
    assert enqueue_lost(redis, project, chunk=4) == 0

    begin(redis, 1, 2)
    assert tasks_at_hand(redis, 7)[Scope.REVIEW] == set(), "its worker was killed"
    beat(redis, "worker-1")
    assert tasks_at_hand(redis, 7)[Scope.REVIEW] == {1, 2}


def test_what_a_killed_worker_had_is_enqueued_again(redis: Redis, project: Project) -> None:
    start_prelabel(redis, 7, "v1", [1, 2, 5])
    enqueue_chunk(redis, project, "v1", [1, 2], Scope.REVIEW)
    begin(redis, 1, 2)
    assert enqueue_lost(redis, project, chunk=4) == 3
    assert tasks_at_hand(redis, 7)[Scope.REVIEW] == {1, 2, 5}
    assert enqueue_lost(redis, project, chunk=4) == 0


def begin(redis: Redis, *task_ids: int) -> None:
    """As a worker does that takes the job of these tasks."""
    line = queue.queue(redis, queue.PROPOSE)
    (job,) = [job for job in queue.pushing_jobs(redis, 7) if job.args[1] == list(task_ids)]
    line.remove(job)
    with redis.pipeline() as pipe:
        job.prepare_for_execution("worker-1", pipe)
        pipe.zadd(line.started_job_registry.key, {f"{job.id}:execution-1": time.time() + 900})
        pipe.execute()


@pytest.fixture
def client(settings: Settings, redis: Redis) -> FlaskClient:
    return create_app(settings, redis).test_client()


def test_the_route_tells_of_every_task(client: FlaskClient, settings: Settings, redis: Redis, project: Project) -> None:
    assert settings.password
    login = (settings.username, settings.password.get_secret_value())
    start_prelabel(redis, 7, "v1", [11, 12, 13])
    move_tasks(redis, 7, TaskState.DONE, [11])
    move_tasks(redis, 7, TaskState.FAILED, [13], {13: "no text"})
    beat(redis, "worker-1")
    answer = client.get("/projects/7/prelabel", auth=login)
    conforms(answer)
    assert answer.get_json() == {
        "project": 7, "version": "v1", "total": 3, "queued": 1, "working": 0, "done": 1, "left": 0, "failed": 1,
        "workers": 1,
        "tasks": [
            {"task": 12, "state": "queued"},
            {"task": 11, "state": "done"},
            {"task": 13, "state": "failed", "reason": "no text"},
        ],
    }  # fmt: skip
    some = client.get("/projects/7/prelabel?state=failed&state=left", auth=login).get_json()
    assert [task["task"] for task in some["tasks"]] == [13]
    assert some["total"] == 3
    for refused, status in (("/projects/7/prelabel", 401), ("/projects/x/prelabel", 401)):
        assert client.get(refused).status_code == status
    bearer = {"Authorization": f"Bearer {settings.webhook_token and settings.webhook_token.get_secret_value()}"}
    assert client.get("/projects/7/prelabel", headers=bearer).status_code == 401, "the webhook's token opens no more"
