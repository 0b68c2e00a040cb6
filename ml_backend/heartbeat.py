"""Which propose workers are alive: each says so every few seconds, also while it computes.

RQ's own heartbeat is silent during a job of a SimpleWorker, so a worker that was killed would count as working on its
job for as long as that may take.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from ml_backend.queue import redis_errors

log = logging.getLogger(__name__)

# Names of workers with the time of their last beat, by the clock of Redis, since several hosts' clocks differ.
WORKERS_KEY = "winnow:workers"
BEAT_SECONDS = 5.0
ALIVE_SECONDS = 30.0  # a worker that was silent for longer is gone; a garbage collection or a slow import is shorter
FORGET_SECONDS = 3600.0


class Heartbeat:
    """Beats in a thread of its own from ``with`` to its end, through failures of Redis."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        beat(self._redis, self._name)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with redis_errors():
            self._redis.zrem(WORKERS_KEY, self._name)

    def _run(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                beat(self._redis, self._name)
            except RedisError as error:
                log.debug("no heartbeat: %s", type(error).__name__)


def beat(redis: Redis, name: str) -> None:
    """Note that the worker of this name is alive now."""
    now = _now(redis)
    with redis.pipeline(transaction=False) as pipe:
        pipe.zadd(WORKERS_KEY, {name: now})
        pipe.zremrangebyscore(WORKERS_KEY, 0, now - FORGET_SECONDS)
        pipe.execute()


def live_workers(redis: Redis) -> set[str]:
    """Names of the propose workers that are alive, on any host."""
    with redis_errors():
        names = redis.zrangebyscore(WORKERS_KEY, _now(redis) - ALIVE_SECONDS, "+inf")
    return {name.decode() for name in cast(list[bytes], names)}


def _now(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return float(seconds) + microseconds / 1e6
