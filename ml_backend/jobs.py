"""The jobs of a propose worker. What they need is built once per process, at the first job."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from traceback import format_tb

from redis import Redis
from rq.timeouts import JobTimeoutException

from label_configs.errors import LabelStudioError, QueueError, WinnowError
from ml_backend import queue
from ml_backend.adapters import store_of
from ml_backend.classify_queue import ClassifyQueue
from ml_backend.devices import device_facts, set_threads
from ml_backend.exchange import exchange_of
from ml_backend.experiment import load_project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import Scope, documents_of, finish, push
from ml_backend.proposing import Plan
from ml_backend.settings import Settings, load_settings
from ml_backend.sources.pool import SourcePool

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What the jobs of this process share: settings, connections and loaded sources."""

    settings: Settings
    redis: Redis
    pool: SourcePool

    @cached_property
    def labelstudio(self) -> LabelStudioClient:
        """Label Studio; ConfigError without its token. Classifying needs none."""
        return LabelStudioClient(self.settings)

    @cached_property
    def classifications(self) -> ClassifyQueue:
        """Where documents to classify and their proposals lie."""
        return ClassifyQueue(self.redis, exchange_of(self.settings), self.settings.home)


@cache
def context() -> Context:
    """Built at the process's first job."""
    settings = load_settings()
    set_threads(settings.threads)
    pool = SourcePool(device_facts(), store_of(settings.home), settings.api_keys)
    return Context(settings, queue.connect(settings), pool)


def prelabel_chunk(project_id: int, task_ids: list[int], scope: str) -> int:
    """Propose for these tasks and push the predictions; the number of tasks done.

    The job is enqueued by its tasks alone and works by the plan in force when it runs: a promotion while it waited
    counts.
    """
    work, client, redis = context(), context().labelstudio, context().redis
    project = load_project(work.settings.home, project_id)
    plan = Plan.of(project)
    reviewing = Scope(scope) is Scope.REVIEW
    try:
        pairs, problems = documents_of(list(client.tasks(project_id, task_ids)), project.experiment.text)
        made = plan.propose(redis, [d for _, d in pairs], work.pool)
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
    work, client = context(), context().labelstudio
    project = load_project(work.settings.home, project_id)
    plan = Plan.of(project)
    pairs, _ = documents_of(list(client.tasks(project_id, task_ids)), project.experiment.text)
    plan.propose(work.redis, [d for _, d in pairs], work.pool)
    return len(pairs)


def classify_documents(job_id: str) -> int:
    """Propose for the documents that lie in the exchange under this job's id; the number of documents.

    What goes wrong becomes the job's result. RQ keeps the error that is raised, and logs show it: it must not quote a
    document, as another library's message might.
    """
    line = context().classifications
    try:
        return line.work(context().pool, job_id)
    except WinnowError as error:
        failure = error
    except JobTimeoutException:
        failure = QueueError(f"took longer than {queue.PROPOSE_TIMEOUT} s; classify fewer documents at once")
    except Exception as error:  # noqa: BLE001 - the job's edge: whoever waits must be told
        log.error("classification %s: %s\n%s", job_id, type(error).__name__, "".join(format_tb(error.__traceback__)))
        failure = QueueError(f"unexpected {type(error).__name__}; the log of the propose worker says where")
    line.fail(job_id, failure)
    raise failure from None
