"""Documents shown again to the same coder, as copies of their tasks: how far does a coder agree with themselves?

Label Studio serves nobody the same task twice, so a document is shown again as a second task with the same document id
and ``repeat: 1`` in its data. What is decided there is paired with the first decision of the same coder, and never
votes. Label Studio itself says which copies there are.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis import Redis

from label_configs import wire
from label_configs.drawing import draw
from label_configs.records import Decision, Document
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.log_events import LogEvent, tell
from ml_backend.prelabel import documents_of, enqueue_chunk
from ml_backend.proposing import Plan
from ml_backend.pushing import Scope
from trainer.verified import Look

log = logging.getLogger(__name__)

LATER_DOCUMENTS = 20
"""Other documents that the coder has coded since; or else ``LATER`` has passed."""
LATER = timedelta(days=1)
LOOK_EVERY = 5
"""Newly annotated tasks before a project's copies are looked at again: they are for later anyway."""
MOST_CODERS = 4
"""Coders to whom a copy is served in the hope that one is who coded the document first."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The two decisions of one coder on the same document."""

    first: Decision
    second: Decision

    @property
    def same_shown(self) -> bool:
        """Whether the coder saw the same candidates both times; after a promotion there may be others."""
        one, two = self.first.shown, self.second.shown
        return one is not None and two is not None and one.candidates == two.candidates


def repeated(decisions: Iterable[Decision]) -> list[Repeated]:
    """The first decision of each coder on a document and the first on its copy, sorted by document and coder.

    Skips are left out. Unsure and unresolved decisions are there: whether they count is the measure's question. What
    another coder decides on a copy pairs with nothing.
    """
    first: dict[tuple[str, str], Decision] = {}
    second: dict[tuple[str, str], Decision] = {}
    for decision in sorted(decisions, key=lambda one: one.annotation_id):
        if not decision.skipped:
            (second if decision.repeat else first).setdefault((decision.document_id, decision.coder), decision)
    return [Repeated(first[key], second[key]) for key in sorted(first.keys() & second.keys())]


def due(decisions: Iterable[Decision], share: float, copied: Collection[str], now: datetime) -> list[str]:
    """Ids of the documents to show again now, sorted.

    They are drawn by their ids, about ``share`` of all, have no copy yet, and were coded long enough ago: one of their
    coders has coded 20 other documents since, or a day has passed. Documents without an id of their team's own count
    by their task's.
    """
    by_coder: dict[str, dict[str, Decision]] = {}
    for decision in sorted(decisions, key=lambda one: one.annotation_id):
        if not (decision.repeat or decision.skipped or decision.ground_truth):
            by_coder.setdefault(decision.coder, {}).setdefault(decision.document_id, decision)
    found = set()
    for own in by_coder.values():
        for place, (document_id, decision) in enumerate(own.items(), start=1):
            later = len(own) - place >= LATER_DOCUMENTS or _passed(decision, now)
            if later and document_id not in copied and draw(document_id, "winnow-repeat") < share:
                found.add(document_id)
    return sorted(found)


def _passed(decision: Decision, now: datetime) -> bool:
    return decision.updated_at is not None and now - decision.updated_at >= LATER


class Repeating:
    """Keeps the copies of projects up to date; remembers what it saw, so that quiet projects cost one request."""

    def __init__(self, redis: Redis, client: LabelStudioClient) -> None:
        self._redis = redis
        self._client = client
        self._seen: dict[int, tuple[object, ...]] = {}
        self._looked: dict[int, tuple[object, ...]] = {}

    def look(self, project: Project, now: datetime | None = None, at: Look | None = None) -> int:
        """Make the copies that are due, and have those served on that another coder took; how many were made.

        Nothing is made twice. Raises LabelStudioError, WireError or QueueError.
        """
        share, now = project.experiment.review.repeat_share, now or datetime.now(UTC)
        if not share:
            return 0
        at = at or Look(self._client, project)
        looked = (at.revision, share, now.date())
        if self._looked.get(project.id) == looked:
            return 0
        reading = at.reading
        state = (len(reading.documents) // LOOK_EVERY, share, now.date())
        if self._seen.get(project.id) == state:
            self._looked[project.id] = looked
            return 0
        copies = self._copies(project)
        ids = due(reading.decisions, share, copies, now)
        if ids:
            tasks = {document.id: document.task_id for document in reading.documents}
            self._make(project, [task_id for name in ids if (task_id := tasks.get(name)) is not None])
            copies = self._copies(project)
            tell(log, LogEvent.DOCUMENTS_REPEATED, project=project.id, documents=len(ids))
        self._serve(copies, reading.decisions)
        self._prelabel(project, copies.values())
        self._seen[project.id], self._looked[project.id] = state, looked
        return len(ids)

    def _copies(self, project: Project) -> dict[str, wire.JsonObject]:
        """Document id -> its copy."""
        pairs, _ = documents_of(self._client.repeats(project.id), project.experiment.text)
        return {document.id: task for task, document in pairs if document.repeat}

    def _make(self, project: Project, task_ids: list[int]) -> None:
        text_key, form = project.experiment.text, project.form
        pairs, _ = documents_of(list(self._client.tasks(project.id, task_ids)), text_key)
        self._client.import_tasks(
            project.id,
            [
                # What else the team's label config may show is copied too.
                {**task["data"], **wire.task_data(_again(document), text_key=text_key, form=form)}
                for task, document in pairs
            ],
        )

    def _serve(self, copies: Mapping[str, wire.JsonObject], decisions: Iterable[Decision]) -> None:
        """Community assigns nobody: a copy that another coder took is opened for one more."""
        coders = _coders(decisions)
        for document_id, copy in copies.items():
            wanted = wanted_overlap(copy, coders.get(document_id, set()))
            if wanted is not None:
                self._client.serve_to(int(copy["id"]), wanted)

    def _prelabel(self, project: Project, copies: Iterable[wire.JsonObject]) -> None:
        """As any open task, a copy gets the review prediction of the plan in force."""
        version = Plan.of(project).version
        for copy in copies:
            if not copy["is_labeled"] and all(p["model_version"] != version for p in copy.get("predictions") or []):
                enqueue_chunk(self._redis, project, version, [int(copy["id"])], Scope.REVIEW, at_front=True)


def wanted_overlap(copy: wire.JsonObject, coders: Collection[str]) -> int | None:
    """How many coders shall code a copy, None where that is set already; ``coders`` coded the document first.

    At first as many as coded the document. When none of them was among those who took it, one more, up to four.
    """
    took = {str(annotator) for annotator in copy.get("annotators") or []}
    if not took:
        wanted = max(1, len(coders))
        return wanted if copy.get("overlap") != wanted else None
    if took.intersection(coders) or not copy["is_labeled"] or len(took) >= MOST_CODERS:
        return None
    return len(took) + 1


def _coders(decisions: Iterable[Decision]) -> dict[str, set[str]]:
    """Document id -> coders of its first task."""
    found: dict[str, set[str]] = {}
    for decision in decisions:
        if not (decision.repeat or decision.skipped):
            found.setdefault(decision.document_id, set()).add(decision.coder)
    return found


def _again(document: Document) -> Document:
    return Document(document.id, document.text, repeat=1)
