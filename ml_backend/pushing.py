"""Into Label Studio: what a task lacks of candidates and predictions, and the version that coders see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum

from redis import Redis

from label_configs import wire
from label_configs.errors import WireError
from label_configs.records import Arm, CandidateSet, Document, Proposal
from ml_backend.arms import arm_of, coders_of
from ml_backend.config_check import check_config
from ml_backend.experiment import Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.locks import alone
from ml_backend.log_events import LogEvent, tell
from ml_backend.prelabel_progress import TaskProgress, TaskState, prelabel_progress
from ml_backend.proposing import Plan

log = logging.getLogger(__name__)

HAS_DRAFT = "a coder has it open: there is a draft"
CODED = "a coder has coded it meanwhile"
PUSH_SECONDS = 120.0  # for pushing one chunk; candidates take a tenth of a second for each task


def pushing_alone(redis: Redis, project_id: int) -> AbstractContextManager[Callable[[], bool]]:
    """While one process pushes or decides who is to push, no other does: what it did, the next one sees.

    What it gives tells whether that still holds: a Label Studio that hangs may have taken longer than it lasts.
    """
    return alone(redis, f"push-{project_id}", PUSH_SECONDS)


class Scope(StrEnum):
    """What is pushed: the review and the sources' own predictions, or the latter alone (for coded documents)."""

    REVIEW = "review"
    SOURCES = "sources"


@dataclass(frozen=True, slots=True)
class _Lacking:
    """What a task lacks, and its state once it has got that; ``data`` and ``coders`` are None where they are right."""

    state: TaskProgress
    sources: Sequence[wire.JsonObject] = ()
    review: Sequence[wire.JsonObject] = ()
    data: wire.JsonObject | None = None
    coders: int | None = None


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
    sources: list[wire.JsonObject] = []
    reviews: list[wire.JsonObject] = []
    states = []
    for (task, document), made in zip(pairs, proposals, strict=True):
        task_id = int(task["id"])
        try:
            lacking = _lacking(plan, task, document, made, scope)
            if lacking.data is not None:
                client.set_task_data(task_id, lacking.data, coders=lacking.coders)
        except WireError as error:
            lacking = _Lacking(TaskProgress(task_id, TaskState.FAILED, str(error)))
        sources += lacking.sources
        reviews += lacking.review
        states.append(lacking.state)
    client.import_predictions(plan.project.id, sources + reviews)
    return states


def _lacking(plan: Plan, task: wire.JsonObject, document: Document, made: Sequence[Proposal], scope: Scope) -> _Lacking:
    """Raises WireError where the review prediction would not fit the form."""
    project, task_id, coded = plan.project, int(task["id"]), bool(task.get("is_labeled"))
    if not coded and task.get("draft_exists"):
        return _Lacking(TaskProgress(task_id, TaskState.LEFT, HAS_DRAFT))
    known = versions_in(task) - _outgrown(task, made)
    withheld = not coded and arm_of(project.experiment, document.id) is Arm.BLIND
    sources = [
        {"task": task_id, **_source_prediction(project, p)} for p in made if p.version not in known and not withheld
    ]
    if scope is Scope.SOURCES:
        return _Lacking(TaskProgress(task_id, TaskState.DONE), sources)
    if coded:
        return _Lacking(TaskProgress(task_id, TaskState.LEFT, CODED), sources)
    shown = plan.candidates(document, made)
    prediction = review_prediction(plan, document, made, shown)
    drawn = candidates_of(project, shown)
    coders = coders_to_set(project.experiment.review, task, document)
    data = {**task["data"], **drawn} if coders is not None or not shows(task, drawn) else None
    review = [] if plan.version in known else [{"task": task_id, **prediction}]
    return _Lacking(TaskProgress(task_id, TaskState.DONE), sources, review, data, coders)


def coders_to_set(review: Review, task: wire.JsonObject, document: Document) -> int | None:
    """How many coders an open task is for where Label Studio has another number; None where it need not be told.

    A repeat's number follows who has got it.
    """
    wanted = coders_of(review, document.id)
    return None if document.repeat or wanted == task.get("overlap", wanted) else wanted


def versions_in(task: wire.JsonObject) -> set[str]:
    """Versions of the predictions that a task has."""
    return {str(p["model_version"]) for p in task.get("predictions") or []}


def _outgrown(task: wire.JsonObject, made: Sequence[Proposal]) -> set[str]:
    """Versions whose proposals in the task know fewer labels than those made now: codes were added since."""
    before = {p.version: {scored.label for scored in p.labels} for p in wire.proposals(task)}
    now = {p.version: {scored.label for scored in p.labels} for p in made}
    return {version for version, labels in now.items() if version in before and labels - before[version]}


def _source_prediction(project: Project, proposal: Proposal) -> wire.JsonObject:
    return wire.prediction_to_team(wire.source_prediction(project.codebook, proposal, project.form), project.team)


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
        tell(log, LogEvent.TASKS_FAILED, project=plan.project.id, failed=failed, tasks=progress.total)
    if done:
        client.set_model_version(plan.project.id, plan.version)
        tell(log, LogEvent.PREDICTIONS_PUSHED, project=plan.project.id, tasks=done, version=plan.version)
