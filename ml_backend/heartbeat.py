"""Which workers are alive: each says so every few seconds, also while it computes or trains.

RQ's own heartbeat is silent during a job of a SimpleWorker, and slow beside one that forks: a worker that was killed
would count as working on its job for as long as that may take.
"""

from __future__ import annotations

import logging
import threading
from enum import StrEnum
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


class WorkerKind(StrEnum):
    """What a worker does; the value is the key of those that do it."""

    PROPOSE = WORKERS_KEY
    TRAIN = f"{WORKERS_KEY}:train"


class Heartbeat:
    """Beats in a thread of its own from ``with`` to its end, through failures of Redis."""

    def __init__(self, redis: Redis, name: str, kind: WorkerKind = WorkerKind.PROPOSE) -> None:
        self._redis = redis
        self._name = name
        self._kind = kind
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        beat(self._redis, self._name, self._kind)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with redis_errors():
            self._redis.zrem(self._kind, self._name)

    def _run(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                beat(self._redis, self._name, self._kind)
            except RedisError as error:
                log.debug("no heartbeat: %s", type(error).__name__)


def beat(redis: Redis, name: str, kind: WorkerKind = WorkerKind.PROPOSE) -> None:
    """Note that the worker of this name is alive now."""
    now = _now(redis)
    with redis.pipeline(transaction=False) as pipe:
        pipe.zadd(kind, {name: now})
        pipe.zremrangebyscore(kind, 0, now - FORGET_SECONDS)
        pipe.execute()


def live_workers(redis: Redis, kind: WorkerKind = WorkerKind.PROPOSE) -> set[str]:
    """Names of the workers of a kind that are alive, on any host.

    Where the clock of Redis was set back, a beat from its future says nothing.
    """
    with redis_errors():
        now = _now(redis)
        names = redis.zrangebyscore(kind, now - ALIVE_SECONDS, now + ALIVE_SECONDS)
    return {name.decode() for name in cast(list[bytes], names)}


def _now(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return float(seconds) + microseconds / 1e6
