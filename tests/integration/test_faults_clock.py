"""Clocks that are set back or forward, and two schedulers at once: no round is lost, none is run twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from label_configs.forms import ReviewForm
from label_configs.render import render_label_config
from ml_backend import heartbeat, queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.heartbeat import WORKERS_KEY, beat, live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.locks import LOCK_KEY
from ml_backend.registered_projects import register
from ml_backend.round_queue import round_at_hand
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from tests.integration.coded import CODEBOOK, coded_task
from tests.integration.running import until
from tests.unit.trainer.test_due_rounds import Desk
from trainer.due_rounds import interrupted
from trainer.rounds import RoundRecord, RoundState, list_rounds, save_round, start_time
from trainer.scheduler import run_scheduler

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_a_round_that_starts_after_the_clock_was_set_back_is_still_the_last(tmp_path: Path) -> None:
    def save(identifier: str, state: RoundState, now: datetime) -> None:
        started = start_time(tmp_path, now)
        save_round(tmp_path, RoundRecord(identifier * 16, 7, state, 4, 3, 1, started_at=started))

    save("a", RoundState.KEPT, NOW)
    save("b", RoundState.RUNNING, NOW - DAY)
    assert [record.id[0] for record in list_rounds(tmp_path)] == ["a", "b"]
    assert interrupted(tmp_path), "cut off, it is found and goes on"
    save("b", RoundState.PROMOTED, NOW - DAY)
    save("c", RoundState.RUNNING, NOW + DAY)
    assert list_rounds(tmp_path)[-1].started_at == NOW + DAY


@pytest.mark.parametrize("minutes", [-1440, 1440])
def test_a_round_that_is_due_comes_once_whatever_the_clock_does(tmp_path: Path, redis: Redis, minutes: float) -> None:
    desk = Desk(tmp_path, redis)
    assert not desk.look()
    desk.code(3)
    assert not desk.look(), "it waits for quiet"
    looks = [desk.look(minutes), *(desk.look() for _ in range(10))]
    assert looks.count(True) == 1
    assert round_at_hand(redis, desk.project.id)


def test_the_dead_do_not_live_on_when_the_clock_of_redis_is_set_back(redis: Redis) -> None:
    beat(redis, "dead")
    redis.zincrby(WORKERS_KEY, 3600, "dead")  # as it was before the clock was set back an hour
    beat(redis, "alive")
    assert live_workers(redis) == {"alive"}
    redis.zincrby(WORKERS_KEY, -3600, "alive")  # set forward, until the next beat
    beat(redis, "alive")
    assert live_workers(redis) == {"alive"}
    assert heartbeat.BEAT_SECONDS < heartbeat.ALIVE_SECONDS


@pytest.fixture
def due(settings: Settings, client: LabelStudioClient) -> Project:
    """A project with more verified documents than a round needs."""
    training = Training("no-model", thresholds=(4,))
    sources = (SourceConfig("words", SourceKind.FAKE),)
    experiment = Experiment("things", sources, review=Review(ReviewForm.WHOLE), training=training)
    number = client.create_project("two schedulers", render_label_config(CODEBOOK, ReviewForm.WHOLE))
    client._sdk.projects.import_tasks(id=number, request=[coded_task(n) for n in range(6)])
    return register(settings.home, number, experiment, CODEBOOK)


@pytest.fixture
def schedulers(settings: Settings) -> Iterator[None]:
    """Two of them, from one moment."""
    stop = threading.Event()
    quick = settings.model_copy(update={"reconcile_seconds": 0.5})
    both = [threading.Thread(target=run_scheduler, args=(quick, stop)) for _ in range(2)]
    for one in both:
        one.start()
    yield
    stop.set()
    for one in both:
        one.join()


@pytest.mark.label_studio
@pytest.mark.timeout(200)
def test_of_two_schedulers_one_starts_the_round_once(
    due: Project, redis: Redis, schedulers: None, caplog: pytest.LogCaptureFixture
) -> None:
    del schedulers
    line = queue.queue(redis, queue.TRAIN)
    until(lambda: line.count == 1, 60)
    for turn in (1, 2):
        redis.flushall()  # with the lock that one of them held
        until(lambda: line.count == 1, 60)
        until(lambda: redis.exists(LOCK_KEY.format(name="scheduler")), 60)
        assert line.job_ids == [f"round-{due.id}"], turn
