"""The jobs of a propose worker. What they need is built once per process, at the first job."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property

from redis import Redis
from rq import get_current_job
from rq.timeouts import JobTimeoutException

from label_configs.errors import ModelError, QueueError, WinnowError
from label_configs.records import Document, Proposal
from label_configs.wire import JsonObject
from ml_backend import queue
from ml_backend.adapters import store_of
from ml_backend.classify_queue import ClassifyQueue
from ml_backend.devices import device_facts, set_threads
from ml_backend.exchange import exchange_of
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.labelstudio_away import through_outages
from ml_backend.log_events import LogEvent, tell
from ml_backend.lost_jobs import mark_pushed
from ml_backend.prelabel import documents_of
from ml_backend.prelabel_progress import TaskProgress, TaskState, move_tasks
from ml_backend.proposing import Plan
from ml_backend.pushing import Scope, finish, push, pushing_alone
from ml_backend.registered_projects import load_project
from ml_backend.settings import Settings, load_settings
from ml_backend.sources.pool import SourcePool

log = logging.getLogger(__name__)

DELETED = "it was deleted meanwhile"


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

    The job is enqueued by its tasks alone and works by the plan in force when it pushes: a promotion while it waited
    or proposed counts. A Label Studio that is away is waited for, and what it has got by then is not pushed again.
    """
    redis, scoped = context().redis, Scope(scope)
    try:
        if scoped is Scope.REVIEW:
            move_tasks(redis, project_id, TaskState.WORKING, task_ids)
        patience = context().settings.label_studio_wait_seconds
        states = through_outages(patience, lambda: _propose_and_push(project_id, task_ids, scoped))
    except Exception as error:  # the job's edge: whatever it is, it must be told of every task
        with pushing_alone(redis, project_id):
            told = _tell(project_id, [TaskProgress(i, TaskState.FAILED, _reason(error)) for i in task_ids], scoped)
            with suppress(WinnowError):  # the error at hand is the one to report
                if told:
                    finish(redis, context().labelstudio, _plan(project_id))
        raise
    return sum(one.state is TaskState.DONE for one in states)


def _propose_and_push(project_id: int, task_ids: list[int], scope: Scope) -> list[TaskProgress]:
    """Propose for the tasks, and push by what they are after that: a coder may have opened or coded one meanwhile.

    Where an adapter took over while these were proposed for, they are proposed for anew and only then pushed: nothing
    pushes a version after a later one was pushed. A document for which a source fails has failed alone. Begun again,
    it pushes only what the tasks lack then.
    """
    work, client, plan = context(), context().labelstudio, _plan(project_id)
    while True:
        pairs, _ = documents_of(client.tasks(project_id, task_ids), plan.project.experiment.text)
        documents = [document for _, document in pairs]
        found = list(zip(pairs, plan.propose_each(work.redis, documents, work.pool), strict=True))
        made = {int(task["id"]): one for (task, _), one in found if not isinstance(one, ModelError)}
        failed = {int(task["id"]): str(one) for (task, _), one in found if isinstance(one, ModelError)}
        with pushing_alone(work.redis, project_id) as still_alone:
            now = _plan(project_id)
            if now.version == plan.version:
                if scope is Scope.REVIEW:
                    placed = [document for (_, document), one in found if not isinstance(one, ModelError)]
                    plan = plan.placing(work.redis, placed, list(made.values()))
                states = _push(plan, task_ids, made, failed, scope)
                if still_alone():
                    if _tell(project_id, states, scope):
                        finish(work.redis, client, plan)
                    return states
        plan = now


def _push(
    plan: Plan, task_ids: list[int], made: Mapping[int, list[Proposal]], failed: Mapping[int, str], scope: Scope
) -> list[TaskProgress]:
    """Read the tasks once more and push what was ``made`` of them, by task id; ``failed`` says why nothing was."""
    client, project = context().labelstudio, plan.project
    pairs, problems = documents_of(client.tasks(project.id, task_ids), project.experiment.text)
    known = [(task, document) for task, document in pairs if int(task["id"]) in made]
    pushed = push(client, plan, known, [made[task_id] for task_id in _ids(known)], scope)
    told = {one.task_id: one for one in pushed}
    why = {**problems, **failed}
    if failed:
        first = next(iter(failed.values()))
        tell(log, LogEvent.TASKS_FAILED, project=project.id, failed=len(failed), tasks=len(task_ids), reason=first)
    return [told.get(i) or TaskProgress(i, TaskState.FAILED, why.get(i, DELETED)) for i in task_ids]


def _plan(project_id: int) -> Plan:
    # Fresh: nothing may be pushed by a plan that another host has replaced.
    return Plan.of(load_project(context().settings.home, project_id, fresh=True))


def _ids(pairs: Sequence[tuple[JsonObject, Document]]) -> list[int]:
    return [int(task["id"]) for task, _ in pairs]


def _tell(project_id: int, states: Sequence[TaskProgress], scope: Scope) -> bool:
    """Say that this job pushes no more, and move its tasks; whether one belongs to the project's prelabelling."""
    mark_pushed(get_current_job())
    if scope is Scope.SOURCES:
        return False
    moved = 0
    for state in TaskState:
        reasons = {one.task_id: one.reason for one in states if one.state is state}
        moved += move_tasks(context().redis, project_id, state, reasons, reasons)
    return bool(moved)


def _reason(error: Exception) -> str:
    if isinstance(error, JobTimeoutException):
        return f"took longer than {queue.PROPOSE_TIMEOUT} s; lower WINNOW_CHUNK_DOCUMENTS"
    return str(error) if isinstance(error, WinnowError) else f"unexpected {type(error).__name__}"


def propose_tasks(project_id: int, task_ids: list[int]) -> int:
    """Propose for these tasks without pushing: /predict waits for it. The number of tasks done."""
    work, plan = context(), _plan(project_id)
    pairs, _ = documents_of(work.labelstudio.tasks(project_id, task_ids), plan.project.experiment.text)
    plan.propose(work.redis, [document for _, document in pairs], work.pool)
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
        tell(log, LogEvent.CLASSIFICATION_FAILED, job=job_id, error=error)
        failure = QueueError(f"unexpected {type(error).__name__}; the log of the propose worker says where")
    line.fail(job_id, failure)
    raise failure from None
