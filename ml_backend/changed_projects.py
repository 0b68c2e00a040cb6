"""Projects that something was said about, for the scheduler to look at: a hint, never a count."""

from __future__ import annotations

from typing import cast

from redis import Redis

from ml_backend.queue import KEPT_SECONDS, redis_errors
from ml_backend.request_ids import KEPT, newest, request_ids

# Projects that a webhook said something about, and a list to wait on.
CHANGED_KEY = "winnow:changed"
CHANGED_SIGNAL = "winnow:changed:signal"
# Ids of the calls that said something about a project since its last round was enqueued, the newest first.
REQUESTS_KEY = "winnow:changed:{project}:requests"
# A call that only asked whether webhooks arrive, by its id.
CHECK_KEY = "winnow:check:{request}"
CHECK_SECONDS = 60


def mark_changed(redis: Redis, project_id: int) -> None:
    """Note that a project should be looked at, and by which call; wake the scheduler."""
    key, ids = REQUESTS_KEY.format(project=project_id), request_ids()
    with redis_errors(), redis.pipeline() as pipe:
        if ids:
            pipe.lpush(key, *ids)
            pipe.ltrim(key, 0, KEPT - 1)
            pipe.expire(key, KEPT_SECONDS)
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


def changing_requests(redis: Redis, project_id: int) -> tuple[str, ...]:
    """Ids of the calls that said something about the project since its last round was enqueued; the newest last."""
    with redis_errors():
        found = cast(list[bytes], redis.lrange(REQUESTS_KEY.format(project=project_id), 0, KEPT - 1))
    return newest(one.decode("ascii", "replace") for one in reversed(found))


def forget_requests(redis: Redis, project_id: int) -> None:
    """The project's round has them now."""
    with redis_errors():
        redis.delete(REQUESTS_KEY.format(project=project_id))


def note_check(redis: Redis) -> None:
    """Note that a webhook arrived that asks for nothing else."""
    with redis_errors():
        for request in request_ids():
            redis.set(CHECK_KEY.format(request=request), 1, ex=CHECK_SECONDS)


def take_check(redis: Redis, request: str) -> bool:
    """Whether the webhook with this request id was noted lately; it is forgotten by that."""
    with redis_errors():
        return bool(redis.delete(CHECK_KEY.format(request=request)))
