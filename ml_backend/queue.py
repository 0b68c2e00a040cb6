"""Redis and the queues in it: who works on what, and whose jobs come first.

Everything in Redis can be rebuilt: it may be wiped at any time. No document's text and no secret is ever written to it,
and each key's template stands beside the functions that touch it.

A kind of work, PROPOSE or TRAIN, has a queue for each priority. A worker takes a job of a lower one only when those
above are empty; a job that has begun is not interrupted, and nothing makes up for waiting.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, RedisError
from redis.retry import Retry
from rq import Queue
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from label_configs.errors import QueueError, reason
from ml_backend.experiment import Priority
from ml_backend.request_ids import META, request_ids
from ml_backend.settings import Settings

PROPOSE, TRAIN = "winnow-propose", "winnow-train"
PROPOSE_TIMEOUT = 900  # seconds; a chunk takes about 30, loading a model comes on top of the first
RESULT_TTL = 3600  # seconds that a finished job is remembered
FAILURE_TTL = 24 * 3600  # seconds that a failed job is remembered
SOCKET_TIMEOUT = 15  # seconds that a Redis which hangs is waited for; above every blocking command's
BLOCK_SECONDS = 5  # of one blocking command; a longer wait takes several
ENDED = ("finished", "failed", "stopped", "canceled")  # states of a job that runs no more
KEPT_SECONDS = 30 * 24 * 3600  # seconds that proposals and progress are kept


def client(settings: Settings) -> Redis:
    """A client that connects when it is first used. Raises QueueError when the URL is none."""
    try:
        return Redis.from_url(
            settings.effective_redis_url(), health_check_interval=30, socket_timeout=SOCKET_TIMEOUT,
            retry=Retry(ExponentialBackoff(), 3, supported_errors=(ConnectionError,)),  # one that hangs is asked once
        )  # fmt: skip
    except ValueError:  # its message may quote a part of the password
        raise QueueError(
            "WINNOW_REDIS_URL is no address of a Redis; write redis://:password@host:port/0, special characters "
            "of the password as %XX"
        ) from None


def connect(settings: Settings) -> Redis:
    """A client whose server has answered. Raises QueueError, without the password, when Redis is away."""
    redis, url = client(settings), settings.effective_redis_url()
    try:
        redis.ping()
        redis.close()  # a worker sets another time limit, which must hold for every connection
    except (RedisError, OSError) as error:
        remedy = "set WINNOW_REDIS_URL to a running Redis" if settings.redis_url else "start it with `winnow up`"
        raise QueueError(f"Redis at {_place(url)}: {reason(error)}; {remedy}") from None
    return redis


def _place(url: str) -> str:
    """The address without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn the Redis client's errors into QueueError."""
    try:
        yield
    except RedisError as error:
        raise QueueError(f"Redis: {reason(error)}; see whether it runs (`winnow doctor`)") from error


def queue(redis: Redis, kind: str, priority: Priority = Priority.NORMAL) -> Queue:
    """The RQ queue of a kind of work and a priority, with the JSON serializer: no pickle crosses it."""
    name = kind if priority is Priority.NORMAL else f"{kind}-{priority.value}"
    return Queue(name, connection=redis, serializer=JSONSerializer)


def queues(redis: Redis, kind: str) -> list[Queue]:
    """The queues of a kind of work, in the order in which a worker takes jobs."""
    return [queue(redis, kind, priority) for priority in Priority]


def enqueue(
    redis: Redis,
    kind: str,
    function: str,
    args: Sequence[Any],
    *,
    job_id: str,
    timeout: int,
    priority: Priority = Priority.NORMAL,
    at_front: bool = False,
    requests: Sequence[str] = (),
) -> Job | None:
    """Enqueue a job by its function's dotted name; None when one with this id is already queued or running.

    One that a worker took and never began, because it was killed just then, is put back. ``at_front`` puts it before
    the others of its priority. It carries the ids of the ``requests`` that led to it, by default those that led here.
    """
    with redis_errors():
        known = fetch_job(redis, job_id)
        if known is not None and known.get_status() in ENDED:
            known.delete()
        try:
            return queue(redis, kind, priority).enqueue_call(
                function,
                args=tuple(args),
                timeout=timeout,
                result_ttl=RESULT_TTL,
                failure_ttl=FAILURE_TTL,
                job_id=job_id,
                description=job_id,
                meta={META: list(requests or request_ids())},
                at_front=at_front,
                unique=True,
            )
        except DuplicateJobError:
            put_back(redis, known)
            return None


def put_back(redis: Redis, job: Job | None) -> bool:
    """Put a job that is called queued and is in no queue back into its own; whether it was so.

    A worker takes a job in one step and says so in the next: one that is killed in between leaves it like that. Where
    the worker lives and only has not come to it, the job is done twice, which must do no harm.
    """
    with redis_errors():
        if job is None or job.get_status(refresh=False) != "queued":
            return False
        line = Queue(job.origin, connection=redis, serializer=JSONSerializer)
        if redis.lpos(line.key, job.id) is not None:
            return False
        line.push_job_id(job.id, at_front=True)
        return True


def fetch_job(redis: Redis, job_id: str) -> Job | None:
    """The job with this id, of whatever queue; None when Redis does not know it."""
    with redis_errors():
        try:
            return Job.fetch(job_id, connection=redis, serializer=JSONSerializer)
        except NoSuchJobError:
            return None


def wait_for(job: Job, seconds: float) -> None:
    """Return when the job has ended, after ``seconds`` (1 or more) at the latest."""
    end = time.monotonic() + seconds
    with redis_errors():
        while (left := end - time.monotonic()) > 0:
            if job.latest_result(timeout=max(1, min(BLOCK_SECONDS, int(left)))) is not None:
                return


def at_hand(redis: Redis, job_id: str) -> bool:
    """Whether a job with this id is queued or running."""
    job = fetch_job(redis, job_id)
    return job is not None and job.get_status() not in ENDED


def pushing_jobs(redis: Redis, project_id: int) -> list[Job]:
    """Jobs that push predictions of the project's tasks, queued or running."""
    with redis_errors():
        ids = [
            job_id
            for line in queues(redis, PROPOSE)
            for job_id in (*line.get_job_ids(), *line.started_job_registry.get_job_ids())
        ]
        own = [job_id for job_id in dict.fromkeys(ids) if job_id.startswith(f"prelabel-{project_id}-")]
        jobs = Job.fetch_many(own, connection=redis, serializer=JSONSerializer)
    return [job for job in jobs if job is not None]


def pushing(redis: Redis, project_id: int) -> bool:
    """Whether jobs that push predictions of the project's tasks are queued or running."""
    return bool(pushing_jobs(redis, project_id))
