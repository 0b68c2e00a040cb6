"""Reading a project's tasks: what changed, chosen tasks, or all of them by an export."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
)

from label_configs.errors import LabelStudioError, WireError
from label_configs.wire import KEPT_KEYS, JsonObject
from ml_backend.labelstudio_access import LabelStudioAccess
from ml_backend.task_reader import Pulse, TaskStamp, VersionCount

EXPORT_SECONDS = 1800  # how long a snapshot may take to be made
PAGE = 100  # whole tasks, or ids in an address
STAMPS_PAGE = 1000  # tasks of which only the stamp is read
EXPORTED_BY_VIEW = 500  # above, a whole export is cheaper than one for every hundred tasks
_VIEW_TITLE = "Winnow is reading"


class ReadingCalls(LabelStudioAccess):
    """A ``TaskReader``. Pages go on after the last id: a task that is deleted meanwhile shifts none of the others."""

    def pulse(self, project_id: int) -> Pulse:
        """See ``TaskReader``; asked of the Data Manager's list, whose answer counts the project's annotations too."""
        with self._errors(f"looking at project {project_id}"):
            page = self._page(project_id, {"ordering": ["-tasks:updated_at"]}, "id,updated_at", 1)
            newest = page["tasks"][0]["updated_at"] if page["tasks"] else None
            return Pulse(newest, int(page["total"]), int(page["total_annotations"]))

    def whole_tasks(self, project_id: int, task_ids: Sequence[int]) -> Iterator[JsonObject]:
        """See ``TaskReader``."""
        with self._errors(f"reading {len(task_ids)} tasks of project {project_id}"):
            for start in range(0, len(task_ids), PAGE):
                chosen = {"selectedItems": {"all": False, "included": list(task_ids[start : start + PAGE])}}
                yield from self._page(project_id, chosen, ",".join(KEPT_KEYS), PAGE)["tasks"]

    def task_stamps(self, project_id: int, since: str | None = None) -> Iterator[TaskStamp]:
        """See ``TaskReader``."""
        with self._errors(f"listing the tasks of project {project_id}"):
            conditions = [] if since is None else [_since(since)]
            for task in self._by_id(project_id, conditions, "id,updated_at,total_annotations", STAMPS_PAGE):
                yield TaskStamp(int(task["id"]), str(task["updated_at"]), int(task["total_annotations"]))

    def prediction_versions(self, project_id: int) -> dict[str, VersionCount]:
        """See ``TaskReader``."""
        with self._errors(f"reading the predictions' versions of project {project_id}"):
            found = self._get(f"api/projects/{project_id}/model-versions/?extended=true")
            return {
                str(one["model_version"]): VersionCount(int(one["count"]), str(one["latest"]))
                for one in found["static"]
                if one["model_version"]
            }

    def tasks_with_version(self, project_id: int, version: str) -> set[int]:
        """See ``TaskReader``."""
        has = {"filter": "filter:tasks:predictions_model_versions", "operator": "contains", "type": "List",
               "value": [version]}  # fmt: skip
        return self._ids(project_id, has)

    def tasks_with_drafts(self, project_id: int) -> set[int]:
        """See ``TaskReader``."""
        return self._ids(
            project_id,
            {"filter": "filter:tasks:draft_exists", "operator": "equal", "type": "Boolean", "value": True},
        )

    def export(
        self, project_id: int, task_ids: Sequence[int] | None = None, *, annotated_only: bool = False
    ) -> list[JsonObject]:
        """All tasks with annotations (skips, drafts, results) and predictions, by a snapshot that is deleted again.

        ``annotated_only``: those with an annotation that is no skip. With ``task_ids`` those that still exist of them:
        Label Studio exports all tasks or those of a tab, so one of a hundred tasks is made for it and deleted at once;
        for more than 500 tasks all are exported instead.
        """
        with self._errors(f"exporting project {project_id}"):
            if task_ids is None:
                return self._export(project_id, {"annotated": "only"} if annotated_only else {})
            wanted = set(task_ids)
            if len(wanted) > EXPORTED_BY_VIEW:
                return [task for task in self._export(project_id, {}) if task["id"] in wanted]
            found = []
            for start in range(0, len(task_ids), PAGE):
                found += self._export_by_view(project_id, task_ids[start : start + PAGE])
            return found

    def _export_by_view(self, project_id: int, task_ids: Sequence[int]) -> list[JsonObject]:
        # ``equal`` and not ``in_list``: who opens the Data Manager in this second shall not find the page blank.
        items = [{"filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": i} for i in task_ids]
        data = {"title": _VIEW_TITLE, "filters": {"conjunction": "or", "items": items}}
        view = self._sdk.views.create(project=project_id, data=data)
        try:
            return self._export(project_id, {"view": view.id})
        finally:
            self._sdk.views.delete(str(view.id))

    def _export(self, project_id: int, chosen: JsonObject) -> list[JsonObject]:
        snapshot = self._sdk.projects.exports.create(
            project_id,
            task_filter_options=chosen,
            annotation_filter_options={"usual": True, "skipped": True, "ground_truth": True},
            serialization_options={"predictions": {"only_id": False}, "drafts": {"only_id": False}},
        )
        try:
            self._wait_for_export(project_id, snapshot.id)
            content = self._download(project_id, snapshot.id)
        finally:
            self._sdk.projects.exports.delete(project_id, snapshot.id)
        try:
            tasks = json.loads(content)
        except ValueError as error:
            raise WireError(
                f"Label Studio at {self.url}: the export of project {project_id} is no JSON ({error})"
            ) from None
        if not isinstance(tasks, list):
            raise WireError(f"Label Studio at {self.url}: the export of project {project_id} is no list of tasks")
        return tasks

    def _download(self, project_id: int, export_id: int) -> bytes:
        """The snapshot's bytes. A connection that breaks off is tried again: nothing has been done yet."""
        download: bytes = Retrying(
            retry=retry_if_exception_type(httpx.TransportError), stop=stop_after_attempt(3), reraise=True,
            wait=wait_exponential(0.2, max=2),
        )(lambda: b"".join(self._sdk.projects.exports.download(project_id, export_id, export_type="JSON")))  # fmt: skip
        return download

    def _wait_for_export(self, project_id: int, export_id: int) -> None:
        def status() -> str:
            return str(self._sdk.projects.exports.get(project_id, export_id).status)

        waiting = Retrying(
            retry=retry_if_result(lambda s: s in ("created", "in_progress")),
            stop=stop_after_delay(EXPORT_SECONDS),
            wait=wait_exponential(0.1, max=5),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else "unknown",
        )
        if (last := waiting(status)) != "completed":
            raise LabelStudioError(
                f"Label Studio at {self.url}: the export of project {project_id} is {last}; try again"
            )

    def _ids(self, project_id: int, condition: JsonObject) -> set[int]:
        with self._errors(f"listing tasks of project {project_id}"):
            return {int(task["id"]) for task in self._by_id(project_id, [condition], "id", STAMPS_PAGE)}

    def _by_id(
        self, project_id: int, conditions: Sequence[JsonObject], include: str, size: int
    ) -> Iterator[JsonObject]:
        last = 0
        while True:
            after = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last}
            page = self._page(project_id, _filters([*conditions, after]), include, size)
            yield from page["tasks"]
            if not page["tasks"] or int(page["total"]) <= len(page["tasks"]):  # a page may be smaller than asked for
                return
            last = max(int(task["id"]) for task in page["tasks"])

    def _page(self, project_id: int, query: JsonObject, include: str, size: int) -> Any:
        """A page of the Data Manager's list, ordered by id unless the query says otherwise.

        With ``review``, Label Studio neither computes columns that nobody asked for nor asks its ML backends.
        """
        asked = {
            "project": project_id, "query": json.dumps({"ordering": ["tasks:id"], **query}), "page_size": size,
            "fields": "all", "review": "true", "include": include,
        }  # fmt: skip
        page = self._get(f"api/tasks/?{urlencode(asked)}")
        if not (isinstance(page, dict) and page.keys() >= {"total", "total_annotations", "tasks"}):
            raise TypeError("no page of tasks")
        return page


def _filters(items: Sequence[JsonObject]) -> JsonObject:
    return {"filters": {"conjunction": "and", "items": list(items)}}


def _since(moment: str) -> JsonObject:
    return {"filter": "filter:tasks:updated_at", "operator": "greater_or_equal", "type": "Datetime", "value": moment}
