"""A Label Studio in memory, for tests of what reads it: behaves as the real server does, one test drives both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from label_configs.errors import LabelStudioError
from label_configs.wire import JsonObject
from ml_backend.task_reader import Pulse, TaskStamp, VersionCount

EXPORT_PART = 500  # tasks
_LISTED_NOT = ("prediction", "unique_id", "result_count")  # of an annotation; see ``TaskReader``


class FakeLabelStudio:
    """A ``TaskReader`` of one project, and what coders and programs do to it. ``clock`` gives the server's time.

    As on the real server with SQLite, the id of a deleted newest annotation is given again. ``requests`` counts what
    was asked, ``exported`` the tasks exported. While it is ``away`` it refuses.
    """

    url = "http://fake"

    def __init__(
        self, project_id: int, clock: Callable[[], datetime] = lambda: datetime.now(UTC), model_version: str = ""
    ) -> None:
        self.project_id = project_id
        self._clock = clock
        self._tasks: dict[int, JsonObject] = {}
        self._drafts: dict[int, int] = {}  # id -> task
        self._last_task = self._last_prediction = self._last_draft = 0
        self.model_version = model_version
        self.requests = 0
        self.exported = 0
        self.away = False

    # --- reading, as TaskReader says -----------------------------------------------------------------------------

    def pulse(self, project_id: int) -> Pulse:
        """See ``TaskReader``."""
        self._asked(project_id)
        newest = max((task["updated_at"] for task in self._tasks.values()), default=None)
        return Pulse(newest, len(self._tasks), sum(map(_submitted, self._tasks.values())))

    def whole_tasks(self, project_id: int, task_ids: Sequence[int]) -> Iterator[JsonObject]:
        """See ``TaskReader``."""
        self._asked(project_id)
        yield from self._listed(self._tasks[one] for one in task_ids if one in self._tasks)

    def task_stamps(self, project_id: int, since: str | None = None) -> Iterator[TaskStamp]:
        """See ``TaskReader``."""
        self._asked(project_id)
        for task_id, task in sorted(self._tasks.items()):
            if since is None or task["updated_at"] >= since:
                yield TaskStamp(task_id, task["updated_at"], _submitted(task))

    def export(self, project_id: int, task_ids: Sequence[int] | None = None) -> list[JsonObject]:
        """See ``TaskReader``."""
        self._asked(project_id)
        chosen = [task for name, task in sorted(self._tasks.items()) if task_ids is None or name in task_ids]
        self.exported += len(chosen)
        return [_copy(task) for task in chosen]

    def export_each(self, project_id: int, task_ids: Sequence[int]) -> Iterator[JsonObject]:
        """See ``TaskReader``."""
        for start in range(0, len(task_ids), EXPORT_PART):
            yield from self.export(project_id, sorted(task_ids)[start : start + EXPORT_PART])

    def export_after(self, project_id: int, after: int) -> Iterator[JsonObject]:
        """See ``TaskReader``."""
        yield from self.export_each(project_id, [name for name in self._tasks if name > after])

    def prediction_versions(self, project_id: int) -> dict[str, VersionCount]:
        """See ``TaskReader``."""
        self._asked(project_id)
        made: dict[str, list[str]] = {}
        for task in self._tasks.values():
            for one in task["predictions"]:
                made.setdefault(one["model_version"], []).append(one["created_at"])
        return {version: VersionCount(len(times), max(times)) for version, times in made.items()}

    def tasks_with_version(self, project_id: int, version: str) -> set[int]:
        """See ``TaskReader``."""
        self._asked(project_id)
        return {
            name for name, task in self._tasks.items()
            if any(version in one["model_version"] for one in task["predictions"])
        }  # fmt: skip

    def tasks_with_drafts(self, project_id: int) -> set[int]:
        """See ``TaskReader``."""
        self._asked(project_id)
        return set(self._drafts.values())

    def project_title(self, project_id: int) -> str:
        """As ``ProjectCalls`` does."""
        self._asked(project_id)
        return f"Project {project_id}"

    def coder_names(self) -> dict[str, str]:
        """As ``ProjectCalls`` does: the names of all who annotated."""
        self._asked(self.project_id)
        coders = {one["completed_by"] for task in self._tasks.values() for one in task["annotations"]}
        return {str(coder): f"Name of {coder}" for coder in sorted(coders)}

    # --- what happens to a project -------------------------------------------------------------------------------

    def import_tasks(
        self, data: Iterable[JsonObject], annotations: Sequence[JsonObject] = (), coder: int = 1
    ) -> list[int]:
        """Import tasks, each with the same annotations (``result``, ``was_cancelled``); their ids."""
        made = []
        for one in data:
            self._last_task += 1
            now = self._now()
            self._tasks[self._last_task] = {
                "id": self._last_task, "data": _copy(one), "meta": {}, "created_at": now, "updated_at": now,
                "annotations": [], "predictions": [],
            }  # fmt: skip
            for annotation in annotations:
                # Imported annotations are ground truth unless it is said otherwise.
                self._add(
                    self._last_task, {"ground_truth": True, "completed_by": coder, "prediction": {}, **annotation}
                )
            made.append(self._last_task)
        return made

    def annotate(
        self, task_id: int, result: list[JsonObject], coder: int = 1, *, skipped: bool = False, seconds: float = 1.0
    ) -> int:
        """Submit or skip a task; the annotation's id. What the coder was shown is kept with it."""
        task = self._tasks[task_id]
        shown: JsonObject = next((p for p in task["predictions"] if p["model_version"] == self.model_version), {})
        made = {"was_cancelled": skipped, "completed_by": coder, "updated_by": coder, "lead_time": seconds}
        self._touch(task_id)
        return self._add(task_id, {**made, "result": result, "prediction": _copy(shown)})

    def annotate_by_predictions(self, task_ids: Iterable[int], version: str, coder: int = 1) -> None:
        """The Data Manager's action: predictions of a version become annotations, without a look at them."""
        for task_id in task_ids:
            task = self._tasks[task_id]
            for one in [p for p in task["predictions"] if p["model_version"] == version][-1:]:
                self._touch(task_id)
                made = {"result": one["result"], "completed_by": coder, "parent_prediction": one["id"]}
                self._add(task_id, {**_copy(made), "prediction": None})

    def set_annotation(self, annotation_id: int, result: list[JsonObject], coder: int = 1) -> None:
        """Update an annotation's result; its coder stays."""
        task, found = self._find(annotation_id)
        found |= {"result": _copy(result), "updated_by": coder, "updated_at": self._now()}
        self._touch(task["id"])

    def set_ground_truth(self, annotation_id: int) -> None:
        """Make an annotation ground truth, and no other of its task."""
        task, found = self._find(annotation_id)
        for one in task["annotations"]:
            one["ground_truth"] = one is found
        found["updated_at"] = self._now()
        self._touch(task["id"])

    def delete_annotation(self, annotation_id: int) -> None:
        """Delete one annotation."""
        task, found = self._find(annotation_id)
        task["annotations"].remove(found)
        self._touch(task["id"])

    def delete_annotations(self, task_ids: Iterable[int]) -> None:
        """The Data Manager's action: delete all annotations and drafts of these tasks."""
        for task_id in task_ids:
            if self._tasks[task_id]["annotations"]:
                self._tasks[task_id]["annotations"] = []
                self._touch(task_id)
            self._drop_drafts(task_id)

    def save_draft(self, task_id: int) -> None:
        """A coder has begun."""
        self._last_draft += 1
        self._drafts[self._last_draft] = task_id

    def set_task_data(self, task_id: int, data: JsonObject) -> None:
        """Replace a task's data."""
        self._tasks[task_id]["data"] = _copy(data)
        self._touch(task_id)

    def import_predictions(self, predictions: Iterable[JsonObject]) -> None:
        """Import predictions, each with ``task``, ``result``, ``score``, ``model_version``."""
        for one in predictions:
            self._last_prediction += 1
            now = self._now()
            made = {name: _copy(value) for name, value in one.items() if name != "task"}
            self._tasks[one["task"]]["predictions"].append(
                {"id": self._last_prediction, "created_at": now, "updated_at": now, **made}
            )

    def delete_predictions(self, task_ids: Iterable[int]) -> None:
        """Delete all predictions of these tasks."""
        for task_id in task_ids:
            self._tasks[task_id]["predictions"] = []

    def delete_tasks(self, task_ids: Iterable[int]) -> None:
        """Delete tasks with all they have."""
        for task_id in task_ids:
            del self._tasks[task_id]
            self._drop_drafts(task_id)

    def _asked(self, project_id: int) -> None:
        self.requests += 1
        if self.away or project_id != self.project_id:
            raise LabelStudioError(f"Label Studio at {self.url}: project {project_id}: not there; start it")

    def _find(self, annotation_id: int) -> tuple[JsonObject, JsonObject]:
        return next(
            (task, one) for task in self._tasks.values() for one in task["annotations"] if one["id"] == annotation_id
        )

    def _add(self, task_id: int, annotation: JsonObject) -> int:
        now = self._now()
        ids = [one["id"] for task in self._tasks.values() for one in task["annotations"]]
        made: dict[str, Any] = {
            "id": max(ids, default=0) + 1, "was_cancelled": False, "ground_truth": False, "lead_time": None,
            "created_at": now, "updated_at": now, "draft_created_at": None, "parent_prediction": None,
            "parent_annotation": None, "import_id": None, "last_action": None, "updated_by": None,
        }  # fmt: skip
        self._tasks[task_id]["annotations"].append({**made, **_copy(annotation)})
        return int(made["id"])

    def _touch(self, task_id: int) -> None:
        self._tasks[task_id]["updated_at"] = self._now()

    def _drop_drafts(self, task_id: int) -> None:
        self._drafts = {name: task for name, task in self._drafts.items() if task != task_id}

    def _now(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _listed(self, tasks: Iterable[JsonObject]) -> Iterator[JsonObject]:
        for task in sorted(tasks, key=lambda one: int(one["id"])):
            annotations = [{k: v for k, v in one.items() if k not in _LISTED_NOT} for one in task["annotations"]]
            yield _copy({**task, "annotations": annotations})


def _submitted(task: JsonObject) -> int:
    return sum(not one["was_cancelled"] for one in task["annotations"])


def _copy(value: Any) -> Any:
    """Of JSON."""
    return json.loads(json.dumps(value))
