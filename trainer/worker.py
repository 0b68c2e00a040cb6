"""The train worker: takes one round at a time and supervises it. Never loads torch itself."""

from __future__ import annotations

import logging
from typing import Any

from rq import Worker
from rq.serializers import JSONSerializer

from ml_backend import queue
from ml_backend.settings import Settings
from trainer.tether import tie


class RoundWorker(Worker):  # type: ignore[misc]  # rq is not typed for us
    """A worker that ends a round with itself: RQ would wait for the job, and a round may take hours.

    RQ forks a process for each job, into a process group of its own that no signal to the worker reaches.
    """

    def handle_warm_shutdown_request(self) -> None:
        """On SIGTERM or SIGINT: kill the job's process, and with it the training that it supervises."""
        if self.horse_pid:
            self.kill_horse()

    def main_work_horse(self, *args: Any, **kwargs: Any) -> None:
        """The job's process: it ends with the worker even when that is killed."""
        tie(self.pid)
        super().main_work_horse(*args, **kwargs)


def run_train_worker(settings: Settings, *, burst: bool = False) -> None:
    """Work until told to stop, which ends a round at hand; ``burst`` stops when the queue is empty."""
    redis = queue.connect(settings)
    worker = RoundWorker([queue.queue(redis, queue.TRAIN)], connection=redis, serializer=JSONSerializer)
    worker.log_job_description = False
    with queue.redis_errors():
        worker.work(burst=burst, logging_level=logging.getLevelName(logging.WARNING))
