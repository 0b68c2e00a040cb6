"""Push mode: predictions are made and imported before a coder asks for them; refreshed after a promotion."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import cast

from redis import Redis

from label_configs import wire
from label_configs.drawing import draw
from label_configs.errors import WireError
from label_configs.records import Arm, CandidateSet, Document, Proposal
from ml_backend import queue
from ml_backend.arms import arm_of, coders_of
from ml_backend.config_check import check_config
from ml_backend.experiment import Order, Project
from ml_backend.heartbeat import live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel_progress import (
    TaskProgress,
    TaskState,
    move_tasks,
    prelabel_progress,
    start_prelabel,
    tasks_in,
)
from ml_backend.proposing import Plan

log = logging.getLogger(__name__)

CHUNK_JOB = "ml_backend.jobs.prelabel_chunk"
HAS_DRAFT = "a coder has it open: there is a draft"
CODED = "a coder has coded it meanwhile"


class Scope(StrEnum):
    """What is pushed: the review and the sources' own predictions, or the latter alone (for coded documents)."""

    REVIEW = "review"
    SOURCES = "sources"


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
        elif switching or plan.version not in _versions(task) or _coders_to_set(project, task) is not None:
            (left if task.get("draft_exists") else waiting).append(task_id)
    if project.experiment.review.order is not Order.RANDOM:
        # The first scores say where random documents stand: they must not be those of a file's first documents.
        waiting.sort(key=lambda task_id: draw(str(task_id), "winnow-proposing"))
    start_prelabel(redis, project.id, plan.version, [*waiting, *left])
    move_tasks(redis, project.id, TaskState.LEFT, left, dict.fromkeys(left, HAS_DRAFT))
    # What is at hand is read after the start: a job that ends in between has moved its tasks, or is enqueued again.
    at_hand = tasks_at_hand(redis, project.id)
    enqueue_tasks(redis, plan, [i for i in waiting if i not in at_hand[Scope.REVIEW]], Scope.REVIEW, chunk=chunk)
    owed = [i for i in dict.fromkeys(owed) if i not in at_hand[Scope.SOURCES]]
    enqueue_tasks(redis, plan, owed, Scope.SOURCES, chunk=chunk)
    return len(waiting)


def enqueue_tasks(redis: Redis, plan: Plan, task_ids: Sequence[int], scope: Scope, *, chunk: int) -> None:
    """Enqueue these tasks in jobs of ``chunk``."""
    for start in range(0, len(task_ids), chunk):
        enqueue_chunk(redis, plan.project.id, plan.version, task_ids[start : start + chunk], scope)


def enqueue_chunk(
    redis: Redis, project_id: int, version: str, task_ids: Sequence[int], scope: Scope, *, at_front: bool = False
) -> None:
    """Enqueue one job for these tasks, unless the very same one is at hand already."""
    digest = hashlib.sha256(f"{version} {scope} {list(task_ids)}".encode()).hexdigest()[:16]
    job_id = f"prelabel-{project_id}-{digest}"
    job = queue.fetch_job(redis, queue.PROPOSE, job_id)
    if job is not None and job.get_status() == "started" and job.worker_name not in live_workers(redis):
        with queue.redis_errors():
            job.delete()  # its worker was killed, and Redis would hold it for running until its time is over
    queue.enqueue(
        redis, queue.PROPOSE, CHUNK_JOB, [project_id, list(task_ids), scope.value],
        job_id=job_id, timeout=queue.PROPOSE_TIMEOUT, at_front=at_front,
    )  # fmt: skip


def tasks_at_hand(redis: Redis, project_id: int) -> Mapping[Scope, set[int]]:
    """The tasks of jobs that are queued, or running in a worker that is alive."""
    found: dict[Scope, set[int]] = {scope: set() for scope in Scope}
    alive = live_workers(redis)
    for job in queue.pushing_jobs(redis, project_id):
        if job.get_status(refresh=False) != "started" or job.worker_name in alive:
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


def _coders_to_set(project: Project, task: wire.JsonObject) -> int | None:
    """How many coders an open task is for where Label Studio has another number; None where it need not be told.

    A repeat's number follows who has got it.
    """
    pairs, _ = documents_of([task], project.experiment.text)
    wanted = [coders_of(project.experiment.review, document.id) for _, document in pairs if not document.repeat]
    return next((number for number in wanted if number != task.get("overlap", number)), None)


def _versions(task: wire.JsonObject) -> set[str]:
    return {str(p["model_version"]) for p in task.get("predictions") or []}


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
            problems[int(task.get("id") or 0)] = str(error)
    return pairs, problems


def push(
    client: LabelStudioClient,
    plan: Plan,
    pairs: Sequence[tuple[wire.JsonObject, Document]],
    proposals: Sequence[Sequence[Proposal]],
    scope: Scope,
) -> list[TaskProgress]:
    """Import what these tasks lack: the sources' own predictions first, the review prediction last; each one's state.

    The stream shows the last prediction. Where the form draws on the task's data, the candidates are written there
    before, one request for each task: there is no other way, and Label Studio answers no faster to several at once. A
    blind document's task gets nothing of a source before it is coded, and a task with a draft nothing at all. Raises
    LabelConfigError where the project's label config no longer fits: nothing is sent.
    """
    check_config(client, plan.project)
    own: list[wire.JsonObject] = []
    reviews: list[wire.JsonObject] = []
    states = []
    for (task, document), made in zip(pairs, proposals, strict=True):
        task_id = int(task["id"])
        try:
            state = _push_one(client, plan, task, document, made, scope, own, reviews)
        except WireError as error:
            state = TaskProgress(task_id, TaskState.FAILED, str(error))
        states.append(state)
    client.import_predictions(plan.project.id, own + reviews)
    return states


def _outgrown(task: wire.JsonObject, made: Sequence[Proposal]) -> set[str]:
    """Versions whose proposals in the task know fewer labels than those made now: codes were added since."""
    before = {p.version: {scored.label for scored in p.labels} for p in wire.proposals(task)}
    now = {p.version: {scored.label for scored in p.labels} for p in made}
    return {version for version, labels in now.items() if version in before and labels - before[version]}


def _push_one(
    client: LabelStudioClient,
    plan: Plan,
    task: wire.JsonObject,
    document: Document,
    made: Sequence[Proposal],
    scope: Scope,
    own: list[wire.JsonObject],
    reviews: list[wire.JsonObject],
) -> TaskProgress:
    """Write a task's candidates, and add the predictions that it lacks to ``own`` and ``reviews``."""
    project, task_id, coded = plan.project, int(task["id"]), bool(task.get("is_labeled"))
    form = project.form
    if not coded and task.get("draft_exists"):
        return TaskProgress(task_id, TaskState.LEFT, HAS_DRAFT)
    known = _versions(task) - _outgrown(task, made)
    withheld = not coded and arm_of(project.experiment, document.id) is Arm.BLIND
    sources = [
        {"task": task_id, **wire.prediction_to_team(wire.source_prediction(project.codebook, p, form), project.team)}
        for p in made
        if p.version not in known and not withheld
    ]
    if scope is Scope.REVIEW and not coded:
        shown = plan.candidates(document, made)
        prediction = review_prediction(plan, document, made, shown)
        drawn = candidates_of(project, shown)
        coders = _coders_to_set(project, task)
        if coders is not None or not shows(task, drawn):
            client.set_task_data(task_id, {**task["data"], **drawn}, coders=coders)
        if plan.version not in known:
            reviews.append({"task": task_id, **prediction})
    own += sources
    if scope is Scope.REVIEW and coded:
        return TaskProgress(task_id, TaskState.LEFT, CODED)
    return TaskProgress(task_id, TaskState.DONE)


def review_prediction(plan: Plan, document: Document, made: Sequence[Proposal], shown: CandidateSet) -> wire.JsonObject:
    """The prediction that a coder starts from. Raises WireError where it would not fit the form."""
    project = plan.project
    score = plan.score(document, made)
    prediction = wire.review_prediction(project.codebook, shown, project.form, score=score)
    wire.validate_prediction(project.codebook, prediction, project.form, shown)
    return wire.prediction_to_team(prediction, project.team)


def candidates_of(project: Project, shown: CandidateSet) -> wire.JsonObject:
    """The keys of the task's data that the project's form draws on."""
    show_sources = project.experiment.candidates.show_sources
    return wire.candidate_data(project.codebook, shown, project.form, show_sources=show_sources)


def shows(task: wire.JsonObject, drawn: wire.JsonObject) -> bool:
    """Whether a task's data holds what its form should draw on."""
    return all(task["data"].get(key) == value for key, value in drawn.items())


def finish(redis: Redis, client: LabelStudioClient, plan: Plan) -> None:
    """When no task is queued or worked on, have Label Studio show the plan's version, unless no task has got it."""
    progress = prelabel_progress(redis, plan.project.id)
    if progress.version != plan.version or not progress.ended:
        return
    done, failed = progress[TaskState.DONE], progress[TaskState.FAILED]
    if failed:
        log.warning("project %s: %s of %s tasks failed", plan.project.id, failed, progress.total)
    if done:
        client.set_model_version(plan.project.id, plan.version)
        log.info("project %s: %s open tasks have the review prediction %s", plan.project.id, done, plan.version)
