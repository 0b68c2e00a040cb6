"""Projects that something was said about, for the scheduler to look at: a hint, never a count."""

from __future__ import annotations

from redis import Redis

from ml_backend.queue import redis_errors

# Projects that a webhook said something about, and a list to wait on.
CHANGED_KEY = "winnow:changed"
CHANGED_SIGNAL = "winnow:changed:signal"


def mark_changed(redis: Redis, project_id: int) -> None:
    """Note that a project should be looked at, and wake the scheduler."""
    with redis_errors(), redis.pipeline() as pipe:
        pipe.sadd(CHANGED_KEY, project_id)
        pipe.lpush(CHANGED_SIGNAL, 1)
        pipe.ltrim(CHANGED_SIGNAL, 0, 0)
        pipe.execute()


def wait_changed(redis: Redis, seconds: float) -> set[int]:
    """Wait at most ``seconds`` for a change; ids of the projects changed since the last call."""
    with redis_errors():
        redis.brpop([CHANGED_SIGNAL], timeout=max(0.1, seconds))
        with redis.pipeline() as pipe:
            pipe.smembers(CHANGED_KEY)
            pipe.delete(CHANGED_KEY)
            members, _ = pipe.execute()
    return {int(m) for m in members}
