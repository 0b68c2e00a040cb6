"""Locks in Redis, over the processes of all hosts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from redis import Redis
from redis.exceptions import LockError, LockNotOwnedError

from label_configs.errors import QueueError
from ml_backend.queue import redis_errors

# A process that must be alone: the scheduler.
LOCK_KEY = "winnow:lock:{name}"


class Lock:
    """A Redis lock with an owner; it runs out ``seconds`` after the last renewal."""

    def __init__(self, redis: Redis, name: str, seconds: float) -> None:
        self._lock = redis.lock(LOCK_KEY.format(name=name), timeout=seconds, thread_local=False)
        self._owner = uuid.uuid4().hex

    def hold(self) -> bool:
        """Take the lock or renew it; False when another process has it."""
        with redis_errors():
            with suppress(LockNotOwnedError):  # it ran out between the two commands
                if self._lock.owned():
                    return bool(self._lock.reacquire())
            return bool(self._lock.acquire(blocking=False, token=self._owner))

    def release(self) -> None:
        """Give the lock up, when it is ours."""
        with redis_errors(), suppress(LockNotOwnedError):
            if self._lock.owned():
                self._lock.release()


@contextmanager
def alone(redis: Redis, name: str, seconds: float) -> Iterator[Callable[[], bool]]:
    """Wait until no other process is in a block of this name, ``seconds`` at most, which is also how long it may last.

    What it gives tells whether the block is still alone: one that took too long is not. Raises QueueError when it stays
    occupied.
    """
    lock = redis.lock(LOCK_KEY.format(name=name), timeout=seconds, blocking_timeout=seconds, thread_local=False)
    with redis_errors():
        if not lock.acquire():
            raise QueueError(f"Redis: {name} was occupied for {seconds:.0f} s; try again")

    def still() -> bool:
        with redis_errors():
            return bool(lock.owned())

    try:
        yield still
    finally:
        with redis_errors(), suppress(LockError):  # it ran out before the block ended
            lock.release()
