"""The propose worker: one process that holds the models and works through chunks of documents.

A SimpleWorker runs jobs in its own process, so that a model is loaded once and not in every job's fork.
"""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from rq import SimpleWorker
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

from ml_backend import queue
from ml_backend.ending import must_end
from ml_backend.heartbeat import Heartbeat
from ml_backend.job_logging import JobLogging
from ml_backend.log_events import LogEvent, tell
from ml_backend.settings import Settings

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # that a job at hand has to end once the worker shall; whoever stops it may kill it after 10
AGAIN_SECONDS = 2.0  # where a library swallowed the first call to break off


class HandedBack(BaseException):
    """A job breaks off, to be begun anew by another worker; no job takes it for a failure of its own."""


class ProposeWorker(JobLogging, SimpleWorker):  # type: ignore[misc]  # rq is not typed for us
    """A worker that works on jobs in its own process, and on SIGTERM ends within seconds.

    A job that takes longer goes back to the front of its queue, as if it had not begun. What it has pushed by then is
    found by whoever does it again.
    """

    _over: threading.Event | None = None  # of the job at hand

    def perform_job(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> bool:
        """Work on one job; whether it ended well."""
        self._over = over = threading.Event()
        try:
            return super().perform_job(job, queue, *args, **kwargs)
        finally:
            over.set()

    def handle_warm_shutdown_request(self) -> None:
        """On SIGTERM or SIGINT: a job at hand has some seconds."""
        must_end()
        if self._over is not None and not self._over.is_set():
            signal.signal(signal.SIGUSR1, self._break_off)  # SIGALRM is that of the job's own time limit
            threading.Thread(target=_hurry, args=(self._over,), daemon=True).start()

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Log why a job did not end well; have RQ put one that was broken off back into its queue."""
        if isinstance(exc_info[1], HandedBack):
            if self._over is not None:
                self._over.set()
            job.retries_left, job.enqueue_at_front_on_retry = 1, True
            tell(log, LogEvent.JOB_HANDED_BACK, job=job.id)
        else:
            super().handle_exception(job, *exc_info)

    def _break_off(self, *_: object) -> None:
        if self._over is not None and not self._over.is_set():
            raise HandedBack


def _hurry(over: threading.Event) -> None:
    seconds = GRACE_SECONDS
    while not over.wait(seconds):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        seconds = AGAIN_SECONDS


def run_propose_worker(settings: Settings, *, burst: bool = False) -> None:
    """Work until told to stop (SIGTERM: see ``ProposeWorker``); ``burst`` stops when the queue is empty."""
    redis = queue.connect(settings)
    worker = ProposeWorker(queue.queues(redis, queue.PROPOSE), connection=redis, serializer=JSONSerializer)
    worker.log_job_description = False
    with queue.redis_errors(), Heartbeat(queue.connect(settings), worker.name):
        worker.work(burst=burst, logging_level=logging.getLevelName(logging.WARNING))
