"""What a prelabelling left is taken up later: blind documents once coded, tasks that lay open, a killed worker's.

A blind document's task has nothing of a source in it until it is coded; then it gets what the sources propose, so that
they can be compared. A task with a draft keeps the candidates that its coder sees until the draft is gone. A
prelabelling that Redis forgot, being wiped, is found again in Label Studio.
"""

from __future__ import annotations

import logging

from redis import Redis

from label_configs.forms import ReviewForm
from label_configs.records import Arm
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.log_events import LogEvent, tell
from ml_backend.lost_jobs import revive
from ml_backend.prelabel import enqueue_lost, enqueue_prelabel, enqueue_tasks, owes_sources, tasks_at_hand
from ml_backend.prelabel_asked import forget_asked, is_asked
from ml_backend.prelabel_progress import TaskState, move_tasks, prelabel_progress, tasks_in
from ml_backend.proposing import Plan
from ml_backend.pushing import CODED, HAS_DRAFT, Scope, pushing_alone
from trainer.verified import Look

log = logging.getLogger(__name__)


class Leftovers:
    """Looks for such tasks; remembers what it saw, so that quiet projects cost one request at most."""

    def __init__(self, redis: Redis, client: LabelStudioClient, *, chunk: int) -> None:
        self._redis = redis
        self._client = client
        self._chunk = chunk
        self._revisions: dict[int, str] = {}

    def look(self, project: Project, at: Look | None = None) -> int:
        """Enqueue what can be proposed now; the number of tasks. Raises LabelStudioError, QueueError."""
        revived = revive(self._redis, self._client, project) + self._forgotten(project)
        return revived + self._closed(project) + (self._coded_blind(project, at) if has_blind(project) else 0)

    def _forgotten(self, project: Project) -> int:
        """Tasks of a prelabelling that no job has: Redis was wiped, or whoever enqueued was killed."""
        if not is_asked(project):
            return 0
        progress = prelabel_progress(self._redis, project.id)
        if progress.version and progress.ended:
            forget_asked(project)
            return 0
        if progress.version:
            with pushing_alone(self._redis, project.id):  # whoever enqueues just now has done so
                number = enqueue_lost(self._redis, project, chunk=self._chunk)
        else:
            number = enqueue_prelabel(self._redis, self._client, project, chunk=self._chunk)
        if number:
            tell(log, LogEvent.PRELABEL_ASKED_AGAIN, project=project.id, tasks=number)
        return number

    def _closed(self, project: Project) -> int:
        """Tasks that had a draft, which is gone."""
        left = [t.task_id for t in tasks_in(self._redis, project.id, TaskState.LEFT) if t.reason == HAS_DRAFT]
        tasks = list(self._client.tasks(project.id, left))
        coded = [int(task["id"]) for task in tasks if task["is_labeled"]]
        move_tasks(self._redis, project.id, TaskState.LEFT, coded, dict.fromkeys(coded, CODED))
        closed = [int(task["id"]) for task in tasks if not (task["is_labeled"] or task.get("draft_exists"))]
        move_tasks(self._redis, project.id, TaskState.QUEUED, closed)
        self._enqueue(project, closed, Scope.REVIEW)
        return len(closed)

    def _coded_blind(self, project: Project, at: Look | None) -> int:
        """Blind documents that were coded since the last look."""
        revision = (at or Look(self._client, project)).revision
        if self._revisions.get(project.id) == revision:
            return 0
        versions = [version for _, version in Plan.of(project).names]
        owed = [
            int(task["id"])
            for task in self._client.annotated_without(project.id, versions)
            if owes_sources(project, task)
        ]
        self._enqueue(project, owed, Scope.SOURCES)
        self._revisions[project.id] = revision
        return len(owed)

    def _enqueue(self, project: Project, task_ids: list[int], scope: Scope) -> None:
        if task_ids:
            at_hand = tasks_at_hand(self._redis, project.id)[scope]
            wanted = [task_id for task_id in task_ids if task_id not in at_hand]
            enqueue_tasks(self._redis, Plan.of(project), wanted, scope, chunk=self._chunk)
            tell(log, LogEvent.TASKS_TAKEN_UP, project=project.id, tasks=len(wanted))


def has_blind(project: Project) -> bool:
    """Whether a document of the project may be in the arm blind."""
    review, training = project.experiment.review, project.experiment.training
    held = training is not None and review.holdout is Arm.BLIND
    return held or review.blind_share > 0 or review.form is ReviewForm.BLIND
