"""Push mode: which tasks are proposed for before a coder asks for them, and anew after a promotion; their jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from redis import Redis

from label_configs import wire
from label_configs.drawing import draw
from label_configs.errors import WireError
from label_configs.records import Arm, Document
from ml_backend import queue
from ml_backend.arms import arm_of
from ml_backend.experiment import Order, Project
from ml_backend.heartbeat import live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.lost_jobs import forget_lost, will_push
from ml_backend.prelabel_asked import ask_prelabel
from ml_backend.prelabel_progress import (
    TaskState,
    move_tasks,
    start_prelabel,
    tasks_in,
)
from ml_backend.proposing import Plan
from ml_backend.pushing import HAS_DRAFT, Scope, coders_to_set, pushing_alone, versions_in

CHUNK_JOB = "ml_backend.jobs.prelabel_chunk"


def enqueue_prelabel(
    redis: Redis, client: LabelStudioClient, project: Project, *, chunk: int, coded: Sequence[int] = ()
) -> int:
    """Enqueue the open tasks that lack the plan's review prediction, and ``coded`` tasks for the sources' predictions.

    Returns the number of open tasks enqueued. Run again, it enqueues only what is missing and not at hand already, and
    tasks that are for another number of coders than they say.
    While Label Studio shows another version than the plan's, as after a roll-back, that is all open tasks: their data
    may hold its candidates. A task that a coder has open is left alone: its candidates would change under the coder.
    Blind documents that were coded since get the sources' predictions.
    """
    plan = Plan.of(project)
    switching = client.model_version(project.id) != plan.version
    waiting: list[int] = []
    left: list[int] = []
    owed = list(coded)
    for task in client.tasks(project.id):
        task_id = int(task["id"])
        if task["is_labeled"]:
            owed += [task_id] if owes_sources(project, task) else []
        elif switching or plan.version not in versions_in(task) or _lacks_coders(project, task):
            (left if task.get("draft_exists") else waiting).append(task_id)
    if project.experiment.review.order is not Order.RANDOM:
        # The first scores say where random documents stand: they must not be those of a file's first documents.
        waiting.sort(key=lambda task_id: draw(str(task_id), "winnow-proposing"))
    if waiting:
        ask_prelabel(project)
    with pushing_alone(redis, project.id):  # a job either pushes after this, by the plan of then, or is not at hand
        start_prelabel(redis, project.id, plan.version, [*waiting, *left])
        move_tasks(redis, project.id, TaskState.LEFT, left, dict.fromkeys(left, HAS_DRAFT))
        at_hand = tasks_at_hand(redis, project.id)
        enqueue_tasks(redis, plan, [i for i in waiting if i not in at_hand[Scope.REVIEW]], Scope.REVIEW, chunk=chunk)
        owed = [i for i in dict.fromkeys(owed) if i not in at_hand[Scope.SOURCES]]
        enqueue_tasks(redis, plan, owed, Scope.SOURCES, chunk=chunk)
    return len(waiting)


def enqueue_tasks(redis: Redis, plan: Plan, task_ids: Sequence[int], scope: Scope, *, chunk: int) -> None:
    """Enqueue these tasks in jobs of ``chunk``."""
    for start in range(0, len(task_ids), chunk):
        enqueue_chunk(redis, plan.project, plan.version, task_ids[start : start + chunk], scope)


def enqueue_chunk(
    redis: Redis, project: Project, version: str, task_ids: Sequence[int], scope: Scope, *, at_front: bool = False
) -> None:
    """Enqueue one job for these tasks, unless the very same one is at hand already."""
    digest = hashlib.sha256(f"{version} {scope} {list(task_ids)}".encode()).hexdigest()[:16]
    job_id = f"prelabel-{project.id}-{digest}"
    forget_lost(redis, job_id)
    queue.enqueue(
        redis, queue.PROPOSE, CHUNK_JOB, [project.id, list(task_ids), scope.value], job_id=job_id,
        timeout=queue.PROPOSE_TIMEOUT, priority=project.experiment.priority, at_front=at_front,
    )  # fmt: skip


def tasks_at_hand(redis: Redis, project_id: int) -> Mapping[Scope, set[int]]:
    """The tasks of jobs that are queued, or running in a worker that is alive and have not pushed yet."""
    found: dict[Scope, set[int]] = {scope: set() for scope in Scope}
    alive = live_workers(redis)
    for job in queue.pushing_jobs(redis, project_id):
        if will_push(job, alive):
            _, task_ids, scope = cast(tuple[int, list[int], str], job.args)
            found[Scope(scope)].update(task_ids)
    return found


def enqueue_lost(redis: Redis, project: Project, *, chunk: int) -> int:
    """Enqueue again what is queued or worked on by no job at hand, because a worker was killed; the number of tasks."""
    at_hand = tasks_at_hand(redis, project.id)[Scope.REVIEW]
    unfinished = [one for state in (TaskState.QUEUED, TaskState.WORKING) for one in tasks_in(redis, project.id, state)]
    lost = sorted(one.task_id for one in unfinished if one.task_id not in at_hand)
    enqueue_tasks(redis, Plan.of(project), lost, Scope.REVIEW, chunk=chunk)
    return len(lost)


def owes_sources(project: Project, task: wire.JsonObject) -> bool:
    """Whether a task was coded blind and has not got what the sources proposed."""
    if not task["is_labeled"] or wire.proposals(task):
        return False
    pairs, _ = documents_of([task], project.experiment.text)
    return any(arm_of(project.experiment, document.id) is Arm.BLIND for _, document in pairs)


def _lacks_coders(project: Project, task: wire.JsonObject) -> bool:
    """Whether an open task is for another number of coders than Label Studio has."""
    pairs, _ = documents_of([task], project.experiment.text)
    return any(coders_to_set(project.experiment.review, task, document) is not None for _, document in pairs)


def documents_of(
    tasks: Iterable[wire.JsonObject], text_key: str
) -> tuple[list[tuple[wire.JsonObject, Document]], dict[int, str]]:
    """Tasks with their documents, and by its id why a task has none."""
    pairs: list[tuple[wire.JsonObject, Document]] = []
    problems: dict[int, str] = {}
    for task in tasks:
        try:
            pairs.append((task, wire.document(task, text_key=text_key)))
        except WireError as error:
            problems[task["id"] if type(task.get("id")) is int else 0] = str(error)
    return pairs, problems
