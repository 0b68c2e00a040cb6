"""Workers that are alive, and such as were killed."""

from __future__ import annotations

import pytest
from redis import Redis

from ml_backend import heartbeat
from ml_backend.heartbeat import ALIVE_SECONDS, WORKERS_KEY, Heartbeat, live_workers
from tests.integration.running import until


def test_a_worker_is_alive_from_its_start_to_its_end(redis: Redis) -> None:
    assert live_workers(redis) == set()
    with Heartbeat(redis, "one"), Heartbeat(redis, "two"):
        assert live_workers(redis) == {"one", "two"}
    assert live_workers(redis) == set()


def test_one_that_was_killed_counts_no_more_after_a_while(redis: Redis) -> None:
    heartbeat.beat(redis, "killed")
    assert live_workers(redis) == {"killed"}
    redis.zincrby(WORKERS_KEY, -ALIVE_SECONDS - 1, "killed")
    assert live_workers(redis) == set()


def test_it_beats_on_after_redis_was_wiped(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)
    with Heartbeat(redis, "one"):
        redis.flushall()
        until(lambda: live_workers(redis) == {"one"}, 5)


def test_the_dead_are_forgotten(redis: Redis) -> None:
    heartbeat.beat(redis, "dead")
    redis.zincrby(WORKERS_KEY, -heartbeat.FORGET_SECONDS - 1, "dead")
    heartbeat.beat(redis, "one")
    assert redis.zrange(WORKERS_KEY, 0, -1) == [b"one"]
