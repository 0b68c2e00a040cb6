"""Reading a project's tasks: what changed, chosen tasks, or all of them by an export."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from ml_backend.labelstudio_away import through_outages
from ml_backend.task_reader import Pulse, TaskStamp, VersionCount

EXPORT_SECONDS = 1800  # how long a snapshot may take to be made
PAGE = 100  # whole tasks, or ids in an address
STAMPS_PAGE = 1000  # tasks of which only the stamp is read
EXPORT_PART = 500  # whole tasks in one export: with more, memory grows and time does not shrink
_VIEW_TITLE = "Winnow is reading"
_MADE_BY, _MADE_AT = "winnowReader", "winnowSince"  # in a tab's data: which reader made it, and when


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

        ``annotated_only``: those with an annotation that is no skip. With ``task_ids`` those that still exist of them,
        all in memory as they are without.
        """
        if task_ids is not None:
            return list(self.export_each(project_id, task_ids))
        chosen = {"annotated": "only"} if annotated_only else {}
        with self._errors(f"exporting project {project_id}"):
            return self._anew(project_id, lambda mark: self._export(project_id, chosen, mark))

    def export_each(self, project_id: int, task_ids: Sequence[int]) -> Iterator[JsonObject]:
        """See ``TaskReader``. While a part is worked on, Label Studio makes the next."""
        ids = sorted(task_ids)
        parts = [ids[start : start + EXPORT_PART] for start in range(0, len(ids), EXPORT_PART)]
        self._remove_old_tabs(project_id)
        with ThreadPoolExecutor(1, "export") as ahead:
            coming: list[Future[list[JsonObject]]] = []
            for part in parts:
                coming.append(ahead.submit(self._export_these, project_id, part))
                if len(coming) > 1:
                    yield from coming.pop(0).result()
            for one in coming:
                yield from one.result()

    def export_after(self, project_id: int, after: int) -> Iterator[JsonObject]:
        """See ``TaskReader``. While a part is worked on, Label Studio makes the next.

        Nothing lists the tasks before: that would take Label Studio a quarter of the time that exporting them does.
        """
        self._remove_old_tabs(project_id)
        with ThreadPoolExecutor(1, "export") as ahead:
            coming = ahead.submit(self._export_next, project_id, after)
            last: int | None = after
            while last is not None:
                tasks, last = coming.result()
                if last is not None:
                    coming = ahead.submit(self._export_next, project_id, last)
                yield from tasks

    def _export_next(self, project_id: int, after: int) -> tuple[list[JsonObject], int | None]:
        """The next tasks by id, and the last of their ids, None where no others come after."""
        with self._errors(f"listing the tasks of project {project_id}"):
            later = _filters([_id_filter("greater", after)])
            page = self._page(project_id, later, "id", 1, number=EXPORT_PART)
            last = int(page["tasks"][0]["id"]) if page and page["tasks"] else None
        between = {"min": after + 1, "max": last}
        chosen = _id_filter("greater", after) if last is None else _id_filter("in", between)
        return self._export_by_view(project_id, [chosen]), last

    def _export_these(self, project_id: int, task_ids: Sequence[int]) -> list[JsonObject]:
        """These tasks, by id. A long list is asked for as a range, of which others are left out."""
        wanted = set(task_ids)
        if len(wanted) > PAGE:
            chosen = [_id_filter("in", {"min": task_ids[0], "max": task_ids[-1]})]
        else:
            # ``equal`` and not ``in_list``: who opens the Data Manager in this second shall not find the page blank.
            chosen = [_id_filter("equal", task_id) for task_id in task_ids]
        return [task for task in self._export_by_view(project_id, chosen) if task["id"] in wanted]

    def _export_by_view(self, project_id: int, filters: Sequence[JsonObject]) -> list[JsonObject]:
        """The tasks for which one of the filters holds, by id.

        Label Studio exports all tasks or those of a tab, so a tab is made and deleted at once.
        """
        data = {"title": _VIEW_TITLE, "filters": {"conjunction": "or", "items": list(filters)}}

        def exported(mark: str) -> list[JsonObject]:
            marked = {**data, _MADE_BY: mark, _MADE_AT: int(time.time())}
            view = self._sdk.views.create(project=project_id, data=marked)
            try:
                return self._export(project_id, {"view": view.id}, mark)
            finally:
                self._sdk.views.delete(str(view.id))

        with self._errors(f"exporting tasks of project {project_id}"):
            return sorted(self._anew(project_id, exported), key=lambda task: int(task["id"]))

    def _anew(self, project_id: int, exported: Callable[[str], list[JsonObject]]) -> list[JsonObject]:
        """What ``exported`` gives, done anew after an outage; it is told what to mark the things with that it makes.

        What it made and was not told of, since the answer was lost, is deleted before it is made anew.
        """
        mark, tries = uuid.uuid4().hex, 0

        def one_try() -> list[JsonObject]:
            nonlocal tries
            tries += 1
            with self._errors(f"exporting tasks of project {project_id}"):
                if tries > 1:
                    self._remove_tabs(project_id, lambda data: data.get(_MADE_BY) == mark)
                    for snapshot in self._sdk.projects.exports.list(project_id):
                        if snapshot.title == mark:
                            self._sdk.projects.exports.delete(project_id, snapshot.id)
                return exported(mark)

        return through_outages(self._patience, one_try)

    def _remove_old_tabs(self, project_id: int) -> None:
        with self._errors(f"exporting tasks of project {project_id}"):
            self._remove_tabs(project_id, lambda data: time.time() - float(data.get(_MADE_AT) or 0) > EXPORT_SECONDS)

    def _remove_tabs(self, project_id: int, left: Callable[[JsonObject], bool]) -> None:
        """Delete those of our tabs that are left behind: after an outage, or by a reader that was killed."""
        for view in self._sdk.views.list(project=project_id):
            data = view.data or {}
            if data.get("title") == _VIEW_TITLE and left(data):
                self._sdk.views.delete(str(view.id))

    def _export(self, project_id: int, chosen: JsonObject, mark: str) -> list[JsonObject]:
        snapshot = self._sdk.projects.exports.create(
            project_id,
            title=mark,
            task_filter_options=chosen,
            annotation_filter_options={"usual": True, "skipped": True, "ground_truth": True},
            serialization_options={"predictions": {"only_id": False}, "drafts": {"only_id": False}},
        )
        try:
            if snapshot.status != "completed":  # it is, where Label Studio makes it within the request
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
            page = self._page(project_id, _filters([*conditions, _id_filter("greater", last)]), include, size)
            yield from page["tasks"]
            if not page["tasks"] or int(page["total"]) <= len(page["tasks"]):  # a page may be smaller than asked for
                return
            last = max(int(task["id"]) for task in page["tasks"])

    def _page(self, project_id: int, query: JsonObject, include: str, size: int, number: int = 1) -> Any:
        """A page of the Data Manager's list, ordered by id unless the query says otherwise; None beyond its end.

        With ``review``, Label Studio neither computes columns that nobody asked for nor asks its ML backends.
        """
        asked = {
            "project": project_id, "query": json.dumps({"ordering": ["tasks:id"], **query}), "page_size": size,
            "fields": "all", "review": "true", "include": include, "page": number,
        }  # fmt: skip
        path = f"api/tasks/?{urlencode(asked)}"
        page = self._get(path) if number == 1 else self._request("GET", path)
        if page is None:
            return None
        if not (isinstance(page, dict) and page.keys() >= {"total", "total_annotations", "tasks"}):
            raise TypeError("no page of tasks")
        return page


def _filters(items: Sequence[JsonObject]) -> JsonObject:
    return {"filters": {"conjunction": "and", "items": list(items)}}


def _id_filter(operator: str, value: int | JsonObject) -> JsonObject:
    return {"filter": "filter:tasks:id", "operator": operator, "type": "Number", "value": value}


def _since(moment: str) -> JsonObject:
    return {"filter": "filter:tasks:updated_at", "operator": "greater_or_equal", "type": "Datetime", "value": moment}
