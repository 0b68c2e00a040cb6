"""The jobs of a propose worker. What they need is built once per process, at the first job."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cache

from redis import Redis

from label_configs.errors import LabelStudioError, WinnowError
from ml_backend import queue
from ml_backend.adapters import store_of
from ml_backend.devices import device_facts, set_threads
from ml_backend.experiment import load_project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import Scope, documents_of, finish, push
from ml_backend.proposing import Plan
from ml_backend.settings import Settings, load_settings
from ml_backend.sources.pool import SourcePool

log = logging.getLogger(__name__)


@cache
def context() -> tuple[Settings, Redis, LabelStudioClient, SourcePool]:
    """Settings, connections and loaded sources of this process."""
    settings = load_settings()
    set_threads(settings.threads)
    pool = SourcePool(device_facts(), store_of(settings.home))
    return settings, queue.connect(settings), LabelStudioClient(settings), pool


def prelabel_chunk(project_id: int, task_ids: list[int], scope: str) -> int:
    """Propose for these tasks and push the predictions; the number of tasks done.

    The job is enqueued by its tasks alone and works by the plan in force when it runs: a promotion while it waited
    counts.
    """
    settings, redis, client, pool = context()
    project = load_project(settings.home, project_id)
    plan = Plan.of(project)
    reviewing = Scope(scope) is Scope.REVIEW
    try:
        pairs, problems = documents_of(list(client.tasks(project_id, task_ids)), project.experiment.text)
        made = plan.propose(redis, [d for _, d in pairs], lambda active: pool.source(project.codebook, active))
        push(client, plan, pairs, made, Scope(scope))
    except Exception as error:  # the job's edge: whatever it is, the count must come out
        if reviewing:
            told = str(error) if isinstance(error, WinnowError) else f"unexpected {type(error).__name__}"
            queue.count_prelabel(redis, project_id, failed=len(task_ids), reason=told)
            with suppress(LabelStudioError):  # the error at hand is the one to report
                finish(redis, client, plan)
        raise
    if reviewing:
        failed = len(task_ids) - len(pairs)
        queue.count_prelabel(redis, project_id, done=len(pairs), failed=failed, reason="; ".join(problems[:3]))
        finish(redis, client, plan)
    return len(pairs)


def propose_tasks(project_id: int, task_ids: list[int]) -> int:
    """Propose for these tasks without pushing: /predict waits for it. The number of tasks done."""
    settings, redis, client, pool = context()
    project = load_project(settings.home, project_id)
    plan = Plan.of(project)
    pairs, _ = documents_of(list(client.tasks(project_id, task_ids)), project.experiment.text)
    plan.propose(redis, [d for _, d in pairs], lambda active: pool.source(project.codebook, active))
    return len(pairs)
