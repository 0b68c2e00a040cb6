"""Who has a project's round: the queue, a worker that is alive, or nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from label_configs.codebook import load_codebook
from ml_backend import heartbeat, queue, round_queue
from ml_backend.experiment import Experiment, Priority, Project
from ml_backend.heartbeat import WorkerKind, beat, live_workers
from ml_backend.registered_projects import register
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


@pytest.fixture
def project(tmp_path: Path) -> Project:
    sources = (SourceConfig("words", SourceKind.FAKE),)
    training = Training("no-model", time_limit_hours=2.5)
    experiment = Experiment("reuters8", sources, training=training, priority=Priority.LOW)
    return register(tmp_path, 7, experiment, load_codebook("reuters8"))


def begun(redis: Redis, worker: str) -> None:
    """What RQ does when a worker takes the job."""
    (line,) = (line for line in queue.queues(redis, queue.TRAIN) if line.count)
    job_id = line.pop_job_id()
    assert job_id is not None
    job = queue.fetch_job(redis, job_id)
    assert job is not None
    with redis.pipeline() as pipe:
        job.prepare_for_execution(worker, pipe)
        pipe.execute()


def test_a_round_is_enqueued_once_with_the_projects_limit(redis: Redis, project: Project) -> None:
    assert not round_queue.round_at_hand(redis, 7)
    assert round_queue.enqueue_round(redis, project)
    assert not round_queue.enqueue_round(redis, project, resume=True)
    (job,) = queue.queue(redis, queue.TRAIN, Priority.LOW).jobs
    assert (list(job.args), job.timeout) == ([7, False], int(2.5 * 3600) + 3600)
    assert round_queue.round_at_hand(redis, 7)
    assert round_queue.round_progress(redis, 7) == {"stage": "queued"}
    assert not round_queue.round_at_hand(redis, 8)


def test_a_killed_workers_round_is_nobodys(redis: Redis, project: Project) -> None:
    round_queue.enqueue_round(redis, project)
    beat(redis, "one", WorkerKind.TRAIN)
    begun(redis, "one")
    assert round_queue.round_at_hand(redis, 7)
    assert not round_queue.enqueue_round(redis, project)
    redis.zincrby(WorkerKind.TRAIN, -heartbeat.ALIVE_SECONDS - 1, "one")
    assert not round_queue.round_at_hand(redis, 7)
    assert round_queue.enqueue_round(redis, project, resume=True)
    (job,) = queue.queue(redis, queue.TRAIN, Priority.LOW).jobs
    assert list(job.args) == [7, True]


def test_a_train_worker_is_no_propose_worker(redis: Redis) -> None:
    beat(redis, "one", WorkerKind.TRAIN)
    assert live_workers(redis, WorkerKind.TRAIN) == {"one"}
    assert live_workers(redis) == set()


def test_a_round_that_waits_is_taken_back(redis: Redis, project: Project) -> None:
    assert not round_queue.take_back(redis, 7)
    round_queue.enqueue_round(redis, project)
    assert round_queue.take_back(redis, 7)
    assert not round_queue.round_at_hand(redis, 7)
    assert round_queue.round_progress(redis, 7) == {}
    round_queue.enqueue_round(redis, project)
    beat(redis, "one", WorkerKind.TRAIN)
    begun(redis, "one")
    assert not round_queue.take_back(redis, 7)
    assert round_queue.round_at_hand(redis, 7)


def test_an_old_request_to_stop_does_not_stop_the_next_round(redis: Redis, project: Project) -> None:
    assert not round_queue.stop_asked(redis, 7)
    round_queue.ask_to_stop(redis, 7)
    assert round_queue.stop_asked(redis, 7)
    assert not round_queue.stop_asked(redis, 8)
    round_queue.enqueue_round(redis, project)
    assert not round_queue.stop_asked(redis, 7)


def test_the_progress_is_replaced(redis: Redis) -> None:
    assert round_queue.round_progress(redis, 7) == {}
    round_queue.put_round_progress(redis, 7, {"stage": "train", "step": 3})
    round_queue.put_round_progress(redis, 7, {"stage": "done"})
    assert round_queue.round_progress(redis, 7) == {"stage": "done"}
