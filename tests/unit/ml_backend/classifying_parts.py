"""Fake sources that note what they are asked, and a propose worker in a thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from redis import Redis
from rq.job import JobStatus
from rq.results import Result

from label_configs.codebook import Codebook
from label_configs.records import Document, Proposal
from ml_backend import queue
from ml_backend.classify_queue import ClassifyQueue
from ml_backend.heartbeat import Heartbeat
from ml_backend.sources.base import Source
from ml_backend.sources.fake import FakeSource
from ml_backend.versions import ActiveSource


class NotingPool:
    """Builds fake sources; ``asked`` has the ids of the documents of each call."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def source(self, codebook: Codebook, active: ActiveSource) -> Source:
        """A fake one, whatever its kind."""
        return _Noting(active, codebook, self)


class _Noting(FakeSource):
    def __init__(self, active: ActiveSource, codebook: Codebook, pool: NotingPool) -> None:
        super().__init__(active.config.name, active.version, codebook)
        self._pool = pool

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        self._pool.asked.append((self.name, [d.id for d in documents]))
        return super().propose(documents)


class ThreadWorker:
    """Does what a propose worker does with classifications, from ``with`` to its end."""

    def __init__(self, redis: Redis, line: ClassifyQueue, name: str = "thread") -> None:
        self.pool = NotingPool()
        self._redis, self._line, self._name = redis, line, name
        self._stop = threading.Event()
        self._heartbeat = Heartbeat(redis, name)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> ThreadWorker:
        self._heartbeat.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._heartbeat.__exit__(None, None, None)

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            taken = self._redis.lpop(f"rq:queue:{queue.PROPOSE}")
            if taken is not None:
                job = queue.fetch_job(self._redis, taken.decode())
                assert job is not None
                self._redis.hset(job.key, mapping={"worker_name": self._name, "status": JobStatus.STARTED.value})
                done = self._line.work(self.pool, job.id)
                job.set_status(JobStatus.FINISHED)
                self._redis.expire(
                    job.key, 60
                )  # as RQ does: it writes the job anew even where it was deleted meanwhile
                Result.create(job, Result.Type.SUCCESSFUL, ttl=60, return_value=done)
