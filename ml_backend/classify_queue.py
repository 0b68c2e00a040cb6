"""Classification through the queue: documents to propose workers on any number of hosts, proposals back.

The documents of a job lie in the exchange and so do its proposals, or the reason why there are none: when Redis is
wiped, or a worker dies, the job is enqueued again and nothing is lost. A job that has ended is not computed again.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from redis import Redis
from tenacity import Retrying, retry_if_result, wait_fixed

from label_configs.errors import EnvironmentFault, QueueError, WinnowError
from label_configs.records import Document, Proposal
from label_configs.wire.shown import proposal_from_json, proposal_to_json
from ml_backend import queue
from ml_backend.classifying import ClassifySpec, Pool, propose_missing
from ml_backend.exchange import Exchange
from ml_backend.experiment import Priority
from ml_backend.heartbeat import live_workers
from ml_backend.log_events import LogEvent, tell

log = logging.getLogger(__name__)

JOB = "ml_backend.jobs.classify_documents"
TRIES = 3  # times that a job is begun before it is held for what kills the workers
KEEP_SECONDS = 24 * 3600.0  # documents and results that nobody fetches
CLEAN_SECONDS = 600  # between two looks for what has expired
LOOK_SECONDS = 5.0  # at most this long until it is seen that a worker is gone, or that a chunk is done
WORKERLESS_SECONDS = 60.0  # that a run goes on without any live worker, as when they are being restarted

# How often a job was enqueued again, and that somebody is at it.
TRIES_KEY = "winnow:classify:tries:{job}"
AGAIN_KEY = "winnow:classify:again:{job}"
CLEANED_KEY = "winnow:classify:cleaned"


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job's state; when it is done its proposals per document, when it failed the error's code and reason."""

    state: State
    proposals: tuple[list[Proposal], ...] = ()
    code: str = ""
    reason: str = ""

    @property
    def ended(self) -> bool:
        """Whether the state is the last one."""
        return self.state in (State.DONE, State.FAILED)

    def error(self) -> WinnowError:
        """The error of a failed job, with the code that it had in the worker."""
        error = WinnowError(self.reason)
        error.code = self.code
        return error


@dataclass(frozen=True)
class ClassifyQueue:
    """Jobs of classification: ``redis`` has their ids, ``exchange`` their documents and results.

    ``home`` is the installation's folder on this host. Methods raise QueueError and EnvironmentFault where Redis or
    the exchange is away.
    """

    redis: Redis
    exchange: Exchange
    home: Path

    def submit(
        self,
        spec: ClassifySpec,
        documents: Sequence[Document],
        *,
        job_id: str,
        keep: bool = True,
        at_front: bool = False,
        priority: Priority = Priority.NORMAL,
    ) -> str:
        """Enqueue a job for these documents and give its id; ``keep`` has Redis keep the proposals for others."""
        self._clean()
        head = {"spec": spec.to_json(self.home), "keep": keep, "at_front": at_front, "priority": priority.value}
        rows = ({"id": document.id, "text": document.text} for document in documents)
        self.exchange.put(_request(job_id), [head, *rows])
        try:
            self._enqueue(job_id, head)
        except QueueError:
            self.exchange.delete(_request(job_id))
            raise
        return job_id

    def collect(self, job_id: str) -> Outcome | None:
        """The job's state and, when it has ended, its result; None when it is unknown, or was deleted or has expired.

        A job that has not ended and is no longer at hand, because Redis was wiped or its worker is gone, is enqueued
        again, up to ``TRIES`` times in all; then it has failed.
        """
        outcome = self._ended(job_id)
        if outcome is None and (state := self._state(job_id)) is not None:
            return Outcome(state) if self.exchange.has(_request(job_id)) else self._ended(job_id)
        # It may have ended between the two looks.
        return outcome or self._ended(job_id) or self._again(job_id)

    def wait(self, job_id: str, seconds: float) -> None:
        """Return when a worker is through with the job, after ``seconds`` (1 or more) at the latest."""
        job = queue.fetch_job(self.redis, job_id)
        if job is not None:
            queue.wait_for(job, seconds)

    def delete(self, *job_ids: str) -> None:
        """Forget jobs with their documents and results; one that is being worked on ends without a result."""
        for job_id in job_ids:
            open_still = self.exchange.has(_request(job_id))
            self.exchange.delete(_request(job_id))
            job = queue.fetch_job(self.redis, job_id)
            with queue.redis_errors():
                queued = job is not None and job.get_status(refresh=False) == "queued"
            if open_still and not queued and not self.exchange.has(_result(job_id)):
                # A worker may have read the documents: what it is going to write must not outlive this.
                self.exchange.put(_deleted(job_id), [])
            self.exchange.delete(_result(job_id))
            with queue.redis_errors():
                if job is not None:
                    job.delete()
                self.redis.delete(TRIES_KEY.format(job=job_id))

    def work(self, pool: Pool, job_id: str) -> int:
        """Do a job, in a propose worker; the number of its documents, 0 when it has ended before or was deleted.

        Raises what the sources raise, and ConfigError for a job of another version of Winnow.
        """
        rows = None if self.exchange.has(_result(job_id)) else self.exchange.get(_request(job_id))
        if rows is None:
            return 0
        head, *documents = rows
        made = propose_missing(
            self.redis,
            pool,
            ClassifySpec.from_json(head["spec"], self.home),
            [Document(row["id"], row["text"]) for row in documents],
            keep=head["keep"],
        )
        self._end(job_id, [{"proposals": [proposal_to_json(p) for p in of_document]} for of_document in made])
        return len(documents)

    def fail(self, job_id: str, error: WinnowError) -> None:
        """Have the job end with this error, unless it has ended."""
        if not self.exchange.has(_result(job_id)):
            self._end(job_id, [{"code": error.code, "reason": str(error)}])

    def _end(self, job_id: str, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the result and drop the documents; nothing is kept of a job that was deleted meanwhile."""
        if self.exchange.has(_request(job_id)):  # else it was deleted, or another worker was faster
            self.exchange.put(_result(job_id), rows)
            if self.exchange.has(_deleted(job_id)):
                self.exchange.delete(_result(job_id))
        self.exchange.delete(_request(job_id), _deleted(job_id))

    def _ended(self, job_id: str) -> Outcome | None:
        rows = self.exchange.get(_result(job_id))
        if rows is None:
            return None
        if rows and "reason" in rows[0]:
            return Outcome(State.FAILED, code=str(rows[0]["code"]), reason=str(rows[0]["reason"]))
        return Outcome(State.DONE, tuple([proposal_from_json(p) for p in row["proposals"]] for row in rows))

    def _state(self, job_id: str) -> State | None:
        """QUEUED or WORKING as Redis says, None when neither is so."""
        job = queue.fetch_job(self.redis, job_id)
        with queue.redis_errors():
            status = None if job is None else job.get_status(refresh=False)
        if job is None or status is None or status in queue.ENDED:
            return None
        if status != "started":
            queue.put_back(self.redis, job)
            return State.QUEUED
        return State.WORKING if job.worker_name in live_workers(self.redis) else None

    def _again(self, job_id: str) -> Outcome | None:
        rows = self.exchange.get(_request(job_id))
        if rows is None:
            return None
        with queue.redis_errors():
            if not self.redis.set(AGAIN_KEY.format(job=job_id), 1, nx=True, ex=int(LOOK_SECONDS)):
                return Outcome(State.QUEUED)  # another process is at it
        if (state := self._state(job_id)) is not None:
            return Outcome(state)  # another process was
        with queue.redis_errors():
            tries = int(self.redis.incr(TRIES_KEY.format(job=job_id)))
            self.redis.expire(TRIES_KEY.format(job=job_id), int(KEEP_SECONDS))
        if tries >= TRIES:
            told = f"was begun {TRIES} times and never ended; see the propose workers' logs, or classify fewer at once"
            self.fail(job_id, QueueError(told))
            return self._ended(job_id)
        tell(log, LogEvent.CLASSIFICATION_REVIVED, job=job_id)
        job = queue.fetch_job(self.redis, job_id)
        with queue.redis_errors():
            if job is not None:
                job.delete()
        self._enqueue(job_id, rows[0])
        return Outcome(State.QUEUED)

    def _enqueue(self, job_id: str, head: Mapping[str, Any]) -> None:
        """``head`` is the first row of the request, which may be of an earlier version of Winnow."""
        queue.enqueue(
            self.redis, queue.PROPOSE, JOB, [job_id], job_id=job_id, timeout=queue.PROPOSE_TIMEOUT,
            priority=Priority(head.get("priority", Priority.NORMAL)), at_front=bool(head.get("at_front")),
        )  # fmt: skip

    def _clean(self) -> None:
        """Remove what has expired, now and then."""
        with queue.redis_errors():
            due = self.redis.set(CLEANED_KEY, 1, nx=True, ex=CLEAN_SECONDS)
        if due and (removed := self.exchange.clean(KEEP_SECONDS)):
            tell(log, LogEvent.EXCHANGE_EXPIRED, objects=removed)


def check_workers(redis: Redis) -> None:
    """Raise QueueError when no propose worker is alive."""
    if not live_workers(redis):
        raise QueueError("no propose worker is alive; start one or more with `winnow worker propose`, on any host")


def classify_over_queue(
    redis: Redis,
    exchange: Exchange,
    home: Path,
    spec: ClassifySpec,
    chunks: Iterable[Sequence[Document]],
    *,
    at_once: int = 32,
    priority: Priority = Priority.NORMAL,
) -> Iterator[list[list[Proposal]]]:
    """For each chunk the proposals of its documents, in order, worked on by all propose workers.

    At most ``at_once`` chunks are under way or waiting here, so that memory stays flat; twice the number of workers
    keeps them busy. What is queued is cancelled when the iterator is closed, by Ctrl-C too. Raises QueueError when no
    worker is alive, at the start or for a minute, and a WinnowError with its reason when a chunk fails.
    """
    check_workers(redis)
    line, run = ClassifyQueue(redis, exchange, home), secrets.token_urlsafe(12)
    under_way: deque[str] = deque()
    try:
        for number, chunk in enumerate(chunks):
            if len(under_way) >= at_once:
                yield _take(line, under_way)
            under_way.append(line.submit(spec, chunk, job_id=f"{run}-{number}", keep=False, priority=priority))
        while under_way:
            yield _take(line, under_way)
    finally:
        line.delete(*under_way)


def _take(line: ClassifyQueue, under_way: deque[str]) -> list[list[Proposal]]:
    """Wait for the first job; its proposals, removed from exchange and queue."""
    job_id, alive = under_way[0], time.monotonic()

    def look() -> Outcome:
        nonlocal alive
        outcome = line.collect(job_id)
        if outcome is None:
            raise EnvironmentFault(f"exchange: the documents of chunk {job_id} are gone; classify again")
        if not outcome.ended:
            if live_workers(line.redis):
                alive = time.monotonic()
            elif time.monotonic() - alive > WORKERLESS_SECONDS:
                check_workers(line.redis)
            line.wait(job_id, LOOK_SECONDS)
        return outcome

    outcome = Retrying(retry=retry_if_result(lambda found: not found.ended), wait=wait_fixed(0.05))(look)
    if outcome.state is State.FAILED:
        raise outcome.error()
    line.delete(job_id)
    under_way.popleft()
    return list(outcome.proposals)


def _request(job_id: str) -> str:
    return f"{job_id}.request"


def _result(job_id: str) -> str:
    return f"{job_id}.result"


def _deleted(job_id: str) -> str:
    return f"{job_id}.deleted"
