"""Redis: queue names, job ids, locks, and each key's template beside the functions that touch it.

Everything here can be rebuilt: Redis may be wiped at any time. No document's text and no secret is ever written to it.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import LockError, LockNotOwnedError, RedisError
from redis.retry import Retry
from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from label_configs import wire
from label_configs.errors import QueueError, reason
from label_configs.records import Document, Proposal, ScoredLabel
from ml_backend.settings import Settings

log = logging.getLogger(__name__)

PROPOSE, TRAIN = "winnow-propose", "winnow-train"
PROPOSE_TIMEOUT = 900  # seconds; a chunk takes about 30, loading a model comes on top of the first
TRAIN_TIMEOUT = 7 * 24 * 3600  # seconds
RESULT_TTL = 3600  # seconds that a finished job is remembered
FAILURE_TTL = 24 * 3600  # seconds that a failed job is remembered
SOCKET_TIMEOUT = 150  # seconds; above the longest wait for a job's result, which is below Label Studio's 100
ENDED = ("finished", "failed", "stopped", "canceled")  # states of a job that runs no more
PROPOSAL_TTL = 30 * 24 * 3600  # seconds that a proposal is kept


def client(settings: Settings) -> Redis:
    """A client that connects when it is first used. Raises QueueError when the URL is none."""
    try:
        return Redis.from_url(
            settings.effective_redis_url(), retry=Retry(ExponentialBackoff(), 3), health_check_interval=30,
            socket_timeout=SOCKET_TIMEOUT,
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


def queue(redis: Redis, name: str) -> Queue:
    """The RQ queue of this name, with the JSON serializer: no pickle crosses it."""
    return Queue(name, connection=redis, serializer=JSONSerializer)


def enqueue(
    redis: Redis, name: str, function: str, args: Sequence[Any], *, job_id: str, timeout: int, at_front: bool = False
) -> Job | None:
    """Enqueue a job by its function's dotted name; None when one with this id is already queued or running."""
    with redis_errors():
        line = queue(redis, name)
        known = line.fetch_job(job_id)
        if known is not None and known.get_status() in ENDED:
            known.delete()
        try:
            return line.enqueue_call(
                function,
                args=tuple(args),
                timeout=timeout,
                result_ttl=RESULT_TTL,
                failure_ttl=FAILURE_TTL,
                job_id=job_id,
                description=job_id,
                at_front=at_front,
                unique=True,
            )
        except DuplicateJobError:
            return None


def at_hand(redis: Redis, name: str, job_id: str) -> bool:
    """Whether a job with this id is queued or running."""
    job = fetch_job(redis, name, job_id)
    return job is not None and job.get_status() not in ENDED


ROUND_JOB = "trainer.jobs.run_round"  # by its dotted name: no process but the train worker imports it


def enqueue_round(redis: Redis, project_id: int) -> bool:
    """Enqueue a fine-tuning round, unless one of this project is queued or running; whether it was enqueued."""
    job_id = f"round-{project_id}"
    return enqueue(redis, TRAIN, ROUND_JOB, [project_id], job_id=job_id, timeout=TRAIN_TIMEOUT) is not None


def round_at_hand(redis: Redis, project_id: int) -> bool:
    """Whether a round of the project is queued or running."""
    return at_hand(redis, TRAIN, f"round-{project_id}")


def fetch_job(redis: Redis, name: str, job_id: str) -> Job | None:
    """The job with this id, None when Redis does not know it."""
    with redis_errors():
        return queue(redis, name).fetch_job(job_id)


# Proposals, by codebook and text: documents with equal text share them. A hash from source version to JSON.
PROPOSALS_KEY = "winnow:proposals:{fingerprint}:{digest}"


def put_proposals(redis: Redis, fingerprint: str, pairs: Iterable[tuple[Document, Proposal]]) -> None:
    """Keep proposals for later: labels and probabilities only, no text."""
    with redis_errors(), redis.pipeline(transaction=False) as pipe:
        for document, proposal in pairs:
            key = PROPOSALS_KEY.format(fingerprint=fingerprint, digest=document.digest)
            value = {
                "labels": [[s.label, s.probability] for s in proposal.labels],
                **wire.cost_to_json(proposal),
            }
            pipe.hset(key, f"{proposal.source}\n{proposal.version}", json.dumps(value, separators=(",", ":")))
            pipe.expire(key, PROPOSAL_TTL)
        pipe.execute()


def get_proposals(
    redis: Redis, fingerprint: str, documents: Sequence[Document], sources: Sequence[tuple[str, str]]
) -> list[dict[str, Proposal]]:
    """For each document the proposals kept for ``sources`` (name, version), by source name; without missing ones."""
    if not documents or not sources:
        return [{} for _ in documents]
    with redis_errors(), redis.pipeline(transaction=False) as pipe:
        for document in documents:
            key = PROPOSALS_KEY.format(fingerprint=fingerprint, digest=document.digest)
            pipe.hmget(key, [f"{name}\n{version}" for name, version in sources])
        rows = pipe.execute()
    found = []
    for document, row in zip(documents, rows, strict=True):
        kept: dict[str, Proposal] = {}
        for (name, version), value in zip(sources, row, strict=True):
            if value is not None:
                data = json.loads(value)
                labels = tuple(ScoredLabel(label, p) for label, p in data["labels"])
                kept[name] = Proposal(document.id, name, version, labels, **wire.cost_from_json(data))
        found.append(kept)
    return found


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
def alone(redis: Redis, name: str, seconds: float) -> Iterator[None]:
    """Wait until no other process is in a block of this name, ``seconds`` at most, which is also how long it may last.

    Raises QueueError when it stays occupied.
    """
    lock = redis.lock(LOCK_KEY.format(name=name), timeout=seconds, blocking_timeout=seconds, thread_local=False)
    with redis_errors():
        if not lock.acquire():
            raise QueueError(f"Redis: {name} was occupied for {seconds:.0f} s; try again")
    try:
        yield
    finally:
        with redis_errors(), suppress(LockError):  # it ran out before the block ended
            lock.release()


def pushing_jobs(redis: Redis, project_id: int) -> list[Job]:
    """Jobs that push predictions of the project's tasks, queued or running."""
    with redis_errors():
        line = queue(redis, PROPOSE)
        ids = [*line.get_job_ids(), *line.started_job_registry.get_job_ids()]
        own = [job_id for job_id in dict.fromkeys(ids) if job_id.startswith(f"prelabel-{project_id}-")]
        jobs = Job.fetch_many(own, connection=redis, serializer=JSONSerializer)
    return [job for job in jobs if job is not None]


def pushing(redis: Redis, project_id: int) -> bool:
    """Whether jobs that push predictions of the project's tasks are queued or running."""
    return bool(pushing_jobs(redis, project_id))


# What the fine-tuning round of a project is doing.
ROUND_KEY = "winnow:round:{project}"


def put_round_progress(redis: Redis, project_id: int, progress: Mapping[str, Any]) -> None:
    """Replace what is known of the project's round."""
    key = ROUND_KEY.format(project=project_id)
    with redis_errors():
        redis.set(key, json.dumps(dict(progress)), ex=PROPOSAL_TTL)


def round_progress(redis: Redis, project_id: int) -> dict[str, Any]:
    """What the project's round said last; empty when there was none."""
    with redis_errors():
        value = redis.get(ROUND_KEY.format(project=project_id))
    return dict(json.loads(cast(bytes, value))) if value else {}
