"""The train worker: takes one round at a time and supervises it. Never loads torch itself."""

from __future__ import annotations

import logging

from rq import Worker
from rq.serializers import JSONSerializer

from ml_backend import queue
from ml_backend.settings import Settings


def run_train_worker(settings: Settings, *, burst: bool = False) -> None:
    """Work until told to stop; ``burst`` stops when the queue is empty."""
    redis = queue.connect(settings)
    worker = Worker([queue.queue(redis, queue.TRAIN)], connection=redis, serializer=JSONSerializer)
    worker.log_job_description = False
    with queue.redis_errors():
        worker.work(burst=burst, logging_level=logging.getLevelName(logging.WARNING))
