"""The train worker: takes one round at a time and supervises it. Never loads torch itself."""

from __future__ import annotations

import logging
from typing import Any

from redis.exceptions import RedisError
from rq import Worker
from rq.serializers import JSONSerializer

from label_configs.errors import reason
from ml_backend import queue
from ml_backend.ending import must_end
from ml_backend.heartbeat import Heartbeat, WorkerKind
from ml_backend.job_logging import JobLogging
from ml_backend.log_events import LogEvent, tell
from ml_backend.settings import Settings
from trainer.tether import tie

log = logging.getLogger(__name__)


class RoundWorker(JobLogging, Worker):  # type: ignore[misc]  # rq is not typed for us
    """A worker that ends a round with itself: RQ would wait for the job, and a round may take hours.

    RQ forks a process for each job, into a process group of its own that no signal to the worker reaches. While Redis
    is away the round goes on: RQ's worker would end, and the round with it.
    """

    def handle_warm_shutdown_request(self) -> None:
        """On SIGTERM or SIGINT: kill the job's process, and with it the training that it supervises."""
        must_end()
        if self.horse_pid:
            self.kill_horse()

    def main_work_horse(self, *args: Any, **kwargs: Any) -> None:
        """The job's process: it ends with the worker even when that is killed."""
        tie(self.pid)
        super().main_work_horse(*args, **kwargs)

    def execute_job(self, *args: Any, **kwargs: Any) -> None:
        """Run one job. What became of its round is on disk, so that nothing is lost where Redis cannot be told."""
        try:
            super().execute_job(*args, **kwargs)
        except RedisError as error:
            tell(log, LogEvent.ROUND_NOT_TOLD, reason=reason(error))

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Say that the worker is alive, where Redis hears it."""
        try:
            super().heartbeat(timeout, pipeline)
        except RedisError as error:
            log.debug("no heartbeat: %s", reason(error))

    def maintain_heartbeats(self, *args: Any, **kwargs: Any) -> None:
        """Say that worker and job are alive, where Redis hears it."""
        try:
            super().maintain_heartbeats(*args, **kwargs)
        except RedisError as error:
            tell(log, LogEvent.REDIS_AWAY, reason=reason(error))


def run_train_worker(settings: Settings, *, burst: bool = False) -> None:
    """Work until told to stop, which ends a round at hand; ``burst`` stops when the queue is empty."""
    redis = queue.connect(settings)
    worker = RoundWorker(queue.queues(redis, queue.TRAIN), connection=redis, serializer=JSONSerializer)
    worker.log_job_description = False
    with queue.redis_errors(), Heartbeat(queue.connect(settings), worker.name, WorkerKind.TRAIN):
        worker.work(burst=burst, logging_level=logging.getLevelName(logging.WARNING))
