"""The jobs of a propose worker. What they need is built once per process, at the first job."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from ml_backend.prelabel_progress import TaskProgress, TaskState, move_tasks
from ml_backend.proposing import Plan
from ml_backend.settings import Settings, load_settings
from ml_backend.sources.pool import SourcePool

log = logging.getLogger(__name__)

DELETED = "it was deleted meanwhile"
PUSH_SECONDS = 120.0  # for pushing one chunk; candidates take a tenth of a second for each task


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
    plan = Plan.of(load_project(work.settings.home, project_id))
    reviewing = Scope(scope) is Scope.REVIEW
    try:
        if reviewing:
            move_tasks(redis, project_id, TaskState.WORKING, task_ids)
        states = _propose_and_push(plan, task_ids, Scope(scope))
    except Exception as error:  # the job's edge: whatever it is, it must be told of every task
        if reviewing:
            _tell(redis, project_id, [TaskProgress(i, TaskState.FAILED, _reason(error)) for i in task_ids])
            with suppress(LabelStudioError):  # the error at hand is the one to report
                finish(redis, client, plan)
        raise
    if reviewing and _tell(redis, project_id, states):
        finish(redis, client, plan)
    return sum(one.state is TaskState.DONE for one in states)


def _propose_and_push(plan: Plan, task_ids: list[int], scope: Scope) -> list[TaskProgress]:
    """Propose for the tasks, and push by what they are after that: a coder may have opened or coded one meanwhile."""
    work, client, project = context(), context().labelstudio, plan.project
    pairs, _ = documents_of(client.tasks(project.id, task_ids), project.experiment.text)
    proposals = plan.propose(work.redis, [d for _, d in pairs], work.pool)
    made = {int(task["id"]): of_task for (task, _), of_task in zip(pairs, proposals, strict=True)}
    with queue.alone(work.redis, f"push-{project.id}", PUSH_SECONDS):  # what one process pushes, the next one sees
        if scope is Scope.REVIEW:
            plan = plan.placing(work.redis, [d for _, d in pairs], proposals)
        pairs, problems = documents_of(client.tasks(project.id, task_ids), project.experiment.text)
        known = [(task, document) for task, document in pairs if int(task["id"]) in made]
        pushed = push(client, plan, known, [made[int(task["id"])] for task, _ in known], scope)
    told = {one.task_id: one for one in pushed}
    return [told.get(i) or TaskProgress(i, TaskState.FAILED, problems.get(i, DELETED)) for i in task_ids]


def _tell(redis: Redis, project_id: int, states: Sequence[TaskProgress]) -> bool:
    """Move the tasks to their states; whether one of them belongs to the project's prelabelling."""
    moved = 0
    for state in TaskState:
        reasons = {one.task_id: one.reason for one in states if one.state is state}
        moved += move_tasks(redis, project_id, state, reasons, reasons)
    return bool(moved)


def _reason(error: Exception) -> str:
    if isinstance(error, JobTimeoutException):
        return f"took longer than {queue.PROPOSE_TIMEOUT} s; lower WINNOW_CHUNK_DOCUMENTS"
    return str(error) if isinstance(error, WinnowError) else f"unexpected {type(error).__name__}"


def propose_tasks(project_id: int, task_ids: list[int]) -> int:
    """Propose for these tasks without pushing: /predict waits for it. The number of tasks done."""
    work, client = context(), context().labelstudio
    project = load_project(work.settings.home, project_id)
    plan = Plan.of(project)
    pairs, _ = documents_of(client.tasks(project_id, task_ids), project.experiment.text)
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
