"""The propose worker: one process that holds the models and works through chunks of documents.

A SimpleWorker runs jobs in its own process, so that a model is loaded once and not in every job's fork.
"""

from __future__ import annotations

import logging

from rq import SimpleWorker
from rq.serializers import JSONSerializer

from ml_backend import queue
from ml_backend.heartbeat import Heartbeat
from ml_backend.settings import Settings


def run_propose_worker(settings: Settings, *, burst: bool = False) -> None:
    """Work until told to stop (SIGTERM finishes the chunk in hand); ``burst`` stops when the queue is empty."""
    redis = queue.connect(settings)
    worker = SimpleWorker(queue.queues(redis, queue.PROPOSE), connection=redis, serializer=JSONSerializer)
    worker.log_job_description = False
    with queue.redis_errors(), Heartbeat(queue.connect(settings), worker.name):
        worker.work(burst=burst, logging_level=logging.getLevelName(logging.WARNING))
