"""What both kinds of worker do around a job: the ids of the calls that led to it, and what its failure may tell.

RQ would write the whole text of an error to its log and to Redis; another library's may quote a document or a secret.
"""

from __future__ import annotations

import logging
from typing import Any

from rq.job import Job
from rq.queue import Queue

from ml_backend.log_events import LogEvent, tell
from ml_backend.log_format import places
from ml_backend.request_ids import META, under

log = logging.getLogger(__name__)


class JobLogging:
    """To stand before RQ's worker class among a worker's bases."""

    _failure = ""

    def perform_job(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> bool:
        """Work on the job under the ids that it carries; whether it ended well."""
        with under(job.meta.get(META, ())):
            return bool(super().perform_job(job, queue, *args, **kwargs))  # type: ignore[misc]

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Log that a job failed: with what, and where."""
        error = exc_info[1]
        self._failure = "\n".join(places(error))
        tell(log, LogEvent.JOB_FAILED, job=job.id, error=error)

    def handle_job_failure(self, *args: Any, exc_string: str = "", **kwargs: Any) -> None:
        """Note the failure in Redis: what the log says, and what RQ says of a job whose process died."""
        told, self._failure = self._failure or exc_string, ""
        super().handle_job_failure(*args, exc_string=told, **kwargs)  # type: ignore[misc]
