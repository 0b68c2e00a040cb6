"""What a round tells Redis, through a Redis that is away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from ml_backend.round_queue import ask_to_stop, round_progress
from trainer.telling import AWAY_SECONDS, EVERY_SECONDS, Telling


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_new_stage_is_told_at_once_and_steps_now_and_then(redis: Redis) -> None:
    clock = Clock()
    telling = Telling(redis, 7, {"round": "ab"}, clock)
    telling.tell({"stage": "load"})
    telling.tell({"stage": "train", "step": 1})
    assert round_progress(redis, 7) == {"stage": "train", "step": 1, "round": "ab"}
    telling.tell({"stage": "train", "step": 2})
    assert round_progress(redis, 7)["step"] == 1
    assert telling.last["step"] == 2
    clock.now += EVERY_SECONDS
    telling.tell({"stage": "train", "step": 3})
    assert round_progress(redis, 7)["step"] == 3
    telling.tell_last({"stage": "kept"})
    assert round_progress(redis, 7) == {"stage": "kept", "round": "ab"}


def test_a_request_to_stop_is_heard(redis: Redis) -> None:
    telling = Telling(redis, 7, {})
    assert not telling.stop_asked()
    ask_to_stop(redis, 7)
    assert telling.stop_asked()


def test_redis_may_be_away(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    kwargs = redis.connection_pool.connection_kwargs
    port, kwargs["port"] = kwargs["port"], 9  # nothing listens there
    redis.connection_pool.reset()
    telling = Telling(redis, 7, {}, clock)
    for step in range(3):
        clock.now += EVERY_SECONDS
        telling.tell({"stage": "train", "step": step})
        assert not telling.stop_asked()
    assert len([r for r in caplog.records if "redis away" in r.getMessage()]) == 1
    kwargs["port"] = port
    redis.connection_pool.reset()
    clock.now += AWAY_SECONDS
    ask_to_stop(redis, 7)
    telling.tell({"stage": "train", "step": 9})
    assert round_progress(redis, 7)["step"] == 9
    assert telling.stop_asked()
