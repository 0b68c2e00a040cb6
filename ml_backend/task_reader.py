"""The narrow seam by which a project's tasks are read: what counting and training ask of Label Studio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from label_configs.wire import JsonObject


@dataclass(frozen=True, slots=True)
class Pulse:
    """What one small request says of a whole project.

    ``newest`` is the latest ``updated_at`` of a task, None in a project without tasks; ``annotations`` counts those
    that are no skips.
    """

    newest: str | None
    tasks: int
    annotations: int


@dataclass(frozen=True, slots=True)
class TaskStamp:
    """A task's ``updated_at``, and how many annotations it has that are no skips."""

    id: int
    updated_at: str
    annotations: int


@dataclass(frozen=True, slots=True)
class VersionCount:
    """How many predictions of one version a project has, and when the latest of them was made."""

    count: int
    latest: str


class TaskReader(Protocol):
    """Reads the tasks of a project. ``LabelStudioClient`` is one, ``FakeLabelStudio`` another.

    Seen on Label Studio 1.23: a task's ``updated_at`` moves when an annotation of it is created, updated, skipped,
    made ground truth or deleted, one by one or in bulk, and when its data are written. It does *not* move when
    predictions are imported or deleted, nor with a draft. Times are of Label Studio's clock, ISO 8601 in UTC.
    Every method raises LabelStudioError when Label Studio is away or refuses.
    """

    @property
    def url(self) -> str:
        """Which Label Studio it is."""

    def pulse(self, project_id: int) -> Pulse:
        """The project at a glance; one small request."""

    def task_stamps(self, project_id: int, since: str | None = None) -> Iterator[TaskStamp]:
        """All tasks by id, or those with ``updated_at`` of ``since`` or later; nothing of their content."""

    def whole_tasks(self, project_id: int, task_ids: Sequence[int]) -> Iterator[JsonObject]:
        """The tasks named, those that still exist, without the annotations' snapshots."""

    def export(self, project_id: int, task_ids: Sequence[int] | None = None) -> list[JsonObject]:
        """Whole tasks with the annotations' snapshots: all of the project, or those named that still exist."""

    def export_each(self, project_id: int, task_ids: Sequence[int]) -> Iterator[JsonObject]:
        """The same of these tasks in the order of their ids, a few hundred at a time in memory."""

    def export_after(self, project_id: int, after: int) -> Iterator[JsonObject]:
        """The same of all tasks with ids above ``after``; what came or went meanwhile may be among them or not."""

    def prediction_versions(self, project_id: int) -> dict[str, VersionCount]:
        """The versions of the project's predictions; one small request."""

    def tasks_with_version(self, project_id: int, version: str) -> set[int]:
        """Ids of the tasks with a prediction whose version contains ``version``."""

    def tasks_with_drafts(self, project_id: int) -> set[int]:
        """Ids of the tasks of which any coder has a draft."""


class ProjectReader(TaskReader, Protocol):
    """Reads what a project is beside its tasks, too. ``LabelStudioClient`` is one, ``FakeLabelStudio`` another."""

    def project_title(self, project_id: int) -> str:
        """The project's name."""

    def coder_names(self) -> dict[str, str]:
        """Names of all users that the account sees, by their ids."""
