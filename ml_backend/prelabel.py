"""Push mode: predictions are made and imported before a coder asks for them; refreshed after a promotion."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from enum import StrEnum

from redis import Redis

from label_configs import wire
from label_configs.errors import WireError
from label_configs.records import CandidateSet, Document, Proposal
from label_configs.render import ReviewForm
from ml_backend import queue
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.proposing import Plan

log = logging.getLogger(__name__)

CHUNK_JOB = "ml_backend.jobs.prelabel_chunk"


class Scope(StrEnum):
    """What is pushed: the review and the sources' own predictions, or the latter alone (for coded documents)."""

    REVIEW = "review"
    SOURCES = "sources"


def enqueue_prelabel(
    redis: Redis, client: LabelStudioClient, project: Project, *, chunk: int, coded: Sequence[int] = ()
) -> int:
    """Enqueue the open tasks that lack the plan's review prediction, and ``coded`` tasks for the sources' predictions.

    Returns the number of open tasks enqueued. Run again, it enqueues only what is missing. While Label Studio shows
    another version than the plan's, as after a roll-back, that is all open tasks: their data may hold its candidates.
    """
    plan = Plan.of(project)
    switching = client.model_version(project.id) != plan.version
    waiting = [
        int(task["id"])
        for task in client.tasks(project.id)
        if not task["is_labeled"] and (switching or plan.version not in _versions(task))
    ]
    queue.start_prelabel(redis, project.id, plan.version, len(waiting))
    for scope, ids in ((Scope.REVIEW, waiting), (Scope.SOURCES, list(coded))):
        for start in range(0, len(ids), chunk):
            enqueue_chunk(redis, project.id, plan.version, ids[start : start + chunk], scope)
    return len(waiting)


def enqueue_chunk(
    redis: Redis, project_id: int, version: str, task_ids: Sequence[int], scope: Scope, *, at_front: bool = False
) -> None:
    """Enqueue one job for these tasks, unless the very same one is queued already."""
    digest = hashlib.sha256(f"{version} {scope} {list(task_ids)}".encode()).hexdigest()[:16]
    queue.enqueue(
        redis, queue.PROPOSE, CHUNK_JOB, [project_id, list(task_ids), scope.value],
        job_id=f"prelabel-{project_id}-{digest}", timeout=queue.PROPOSE_TIMEOUT, at_front=at_front,
    )  # fmt: skip


def _versions(task: wire.JsonObject) -> set[str]:
    return {str(p["model_version"]) for p in task.get("predictions") or []}


def documents_of(
    tasks: Sequence[wire.JsonObject], text_key: str
) -> tuple[list[tuple[wire.JsonObject, Document]], list[str]]:
    """Tasks with their documents, and one line for each task that has none."""
    pairs, problems = [], []
    for task in tasks:
        try:
            pairs.append((task, wire.document(task, text_key=text_key)))
        except WireError as error:
            problems.append(str(error))
    return pairs, problems


def push(
    client: LabelStudioClient,
    plan: Plan,
    pairs: Sequence[tuple[wire.JsonObject, Document]],
    proposals: Sequence[Sequence[Proposal]],
    scope: Scope,
) -> None:
    """Import what these tasks lack: the sources' own predictions first, the review prediction last.

    The stream shows the last prediction. Where the form draws on the task's data, the candidates are written there
    before.
    """
    project = plan.project
    own: list[wire.JsonObject] = []
    reviews: list[wire.JsonObject] = []
    for (task, document), made in zip(pairs, proposals, strict=True):
        known = _versions(task)
        own += [
            {"task": task["id"], **wire.source_prediction(project.codebook, p, project.form)}
            for p in made
            if p.version not in known
        ]
        if scope is Scope.REVIEW and not task.get("is_labeled"):
            shown = plan.candidates(document, made)
            choices = candidates_of(project, shown)
            if project.form is not ReviewForm.WHOLE and task["data"].get("candidates") != choices:
                client.set_task_data(int(task["id"]), {**task["data"], "candidates": choices})
            if plan.version not in known:
                prediction = wire.review_prediction(project.codebook, shown, project.form)
                wire.validate_prediction(project.codebook, prediction, project.form, shown)
                reviews.append({"task": task["id"], **prediction})
    client.import_predictions(project.id, own + reviews)


def candidates_of(project: Project, shown: CandidateSet) -> list[wire.JsonObject]:
    """The task data's ``candidates``."""
    return wire.candidate_choices(project.codebook, shown, show_sources=project.experiment.candidates.show_sources)


def finish(redis: Redis, client: LabelStudioClient, plan: Plan) -> None:
    """When the last chunk is done, have Label Studio show the plan's version, unless no task has got it."""
    progress = queue.prelabel_progress(redis, plan.project.id)
    if progress.get("version") != plan.version:
        return
    done, failed, total = (int(progress[name]) for name in ("done", "failed", "total"))
    if done + failed < total:
        return
    if failed:
        log.warning("project %s: %s of %s tasks failed: %s", plan.project.id, failed, total, progress.get("reason", ""))
    if done:
        client.set_model_version(plan.project.id, plan.version)
        log.info("project %s: %s open tasks have the review prediction %s", plan.project.id, done, plan.version)
