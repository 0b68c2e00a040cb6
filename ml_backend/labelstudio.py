"""Label Studio as Winnow uses it: projects, tasks, predictions, annotations."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence

from label_configs.errors import LabelStudioError
from label_configs.wire import JsonObject
from ml_backend.labelstudio_connections import ConnectionCalls
from ml_backend.labelstudio_projects import ProjectCalls
from ml_backend.labelstudio_reading import ReadingCalls
from ml_backend.labelstudio_views import ViewCalls

log = logging.getLogger(__name__)

PAGE = 100  # tasks
FIELDS = "id,data,is_labeled,predictions,overlap"
PREDICTIONS_PER_REQUEST = 500
IDS_PAGE = 1000  # tasks of which only the data is read
# Writing one task, Label Studio computes all columns of its Data Manager twice, unless it is asked for few: 62 instead
# of 85 ms of its time. Several writes at once make it lose count of the project's data columns on SQLite.
LEAN = {"additional_query_parameters": {"review": "true"}}


class LabelStudioClient(ProjectCalls, ConnectionCalls, ViewCalls, ReadingCalls):
    """What Winnow asks of Label Studio. Every method raises LabelStudioError when it is away or refuses."""

    # --- tasks and predictions --------------------------------------------------------------------------------------

    def import_tasks(self, project_id: int, tasks: Sequence[JsonObject]) -> list[int]:
        """Import task data; ids of the new tasks in order."""
        with self._errors(f"importing {len(tasks)} tasks"):
            # Wrapped, since a team's own column may be called ``data``.
            done = self._post_once(
                f"api/projects/{project_id}/import?return_task_ids=true", [{"data": task} for task in tasks]
            )
            return [int(i) for i in done["task_ids"]]

    def tasks(self, project_id: int, task_ids: Sequence[int] | None = None) -> Iterator[JsonObject]:
        """Tasks with ``FIELDS`` and ``draft_exists``: all of the project, or those named that still exist.

        ``draft_exists`` is true where any coder has a draft.
        """
        if task_ids is not None and not task_ids:
            return
        chosen = {"selectedItems": {"all": False, "included": list(task_ids)}} if task_ids else {}
        drafts = {"filter": "filter:tasks:draft_exists", "operator": "equal", "type": "Boolean", "value": True}
        filters = {"filters": {"conjunction": "and", "items": [drafts]}}
        open_now = {task["id"] for task in self._list(project_id, {**chosen, **filters}, "id")}
        for task in self._list(project_id, chosen):
            yield {**task, "draft_exists": task["id"] in open_now}

    def annotated_without(self, project_id: int, versions: Sequence[str]) -> Iterator[JsonObject]:
        """Tasks that have annotations, and predictions of none of these versions; as ``tasks`` gives them."""
        items = [
            {"filter": "filter:tasks:total_annotations", "operator": "greater", "type": "Number", "value": 0},
            {"filter": "filter:tasks:predictions_model_versions", "operator": "not_contains", "type": "List",
             "value": list(versions)},
        ]  # fmt: skip
        yield from self._list(project_id, {"filters": {"conjunction": "and", "items": items}})

    def _list(self, project_id: int, query: JsonObject, fields: str = FIELDS) -> Iterator[JsonObject]:
        """With ``review``, Label Studio neither computes columns that nobody asked for nor asks its ML backends."""
        with self._errors(f"reading the tasks of project {project_id}"):
            found = self._sdk.tasks.list(
                project=project_id, query=json.dumps(query) if query else None, fields="all", page_size=PAGE,
                include=fields, review=True,
            )  # fmt: skip
            for task in found:
                yield task.model_dump()

    def task_data(self, project_id: int) -> Iterator[JsonObject]:
        """The data of all tasks, five times as fast as ``tasks``."""
        for _, data in self.task_data_by_id(project_id):
            yield data

    def task_data_by_id(self, project_id: int) -> Iterator[tuple[int, JsonObject]]:
        """The same with the tasks' ids."""
        with self._errors(f"reading the tasks of project {project_id}"):
            if not self._sdk.projects.get(project_id).task_number:
                return
            for task in self._sdk.tasks.list(project=project_id, page_size=IDS_PAGE, include="id,data", review=True):
                yield int(task.id), dict(task.data or {})

    def task_glances(self, project_id: int) -> Iterator[JsonObject]:
        """All tasks by id: data, ``total_annotations`` (skips among them), and whether there are ``drafts``."""
        drafts = self.tasks_with_drafts(project_id)
        for task in sorted(self._list(project_id, {}, "id,data,total_annotations,cancelled_annotations"), key=_id_of):
            annotated = int(task["total_annotations"] or 0) + int(task["cancelled_annotations"] or 0)
            yield {**task, "total_annotations": annotated, "drafts": task["id"] in drafts}

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete these tasks with all that they hold."""
        self._act_on_tasks("delete_tasks", f"deleting {len(task_ids)} tasks", project_id, task_ids)

    def repeats(self, project_id: int) -> list[JsonObject]:
        """The copies of documents that are shown again, as ``tasks`` gives them, with annotators."""
        repeated = {"filter": "filter:tasks:data.repeat", "operator": "equal", "type": "String", "value": 1}
        query = json.dumps({"filters": {"conjunction": "and", "items": [repeated]}})
        with self._errors(f"reading the repeated tasks of project {project_id}"):
            tasks = self._sdk.tasks.list(
                project=project_id, query=query, fields="all", page_size=PAGE, include=f"{FIELDS},annotators",
                review=True,
            )  # fmt: skip
            return [task.model_dump() for task in tasks]

    def serve_to(self, task_id: int, coders: int) -> None:
        """Have Label Studio serve a task until this many coders have submitted it, though it was done before."""
        with self._errors(f"opening task {task_id}"):
            self._sdk.tasks.update(str(task_id), overlap=coders, is_labeled=False)

    def set_task_data(self, task_id: int, data: JsonObject, *, coders: int | None = None) -> None:
        """Replace a task's data, and say how many coders it is for where ``coders`` is given."""
        more = {} if coders is None else {"overlap": coders}
        with self._errors(f"writing task {task_id}"):
            self._sdk.tasks.update(str(task_id), data=data, request_options=LEAN, **more)

    def import_predictions(self, project_id: int, predictions: Sequence[JsonObject]) -> None:
        """Import predictions, each with ``task``, ``result``, ``score``, ``model_version``.

        Raises LabelStudioError when Label Studio left some out, as it does without a word where they do not fit.
        """
        for start in range(0, len(predictions), PREDICTIONS_PER_REQUEST):
            part = list(predictions[start : start + PREDICTIONS_PER_REQUEST])
            with self._errors(f"importing {len(part)} predictions"):
                answer = self._sdk.projects.import_predictions(id=project_id, request=part)
            if answer.created != len(part):
                raise LabelStudioError(
                    f"project {project_id}: Label Studio took {answer.created} of {len(part)} predictions, the others "
                    "do not fit its label config; run `winnow init` again"
                )

    def delete_predictions(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete all predictions of these tasks."""
        self._act_on_tasks(
            "delete_tasks_predictions", f"deleting the predictions of {len(task_ids)} tasks", project_id, task_ids
        )

    def _act_on_tasks(self, action: str, doing: str, project_id: int, task_ids: Sequence[int]) -> None:
        if not task_ids:  # Label Studio would take that for all tasks
            return
        with self._errors(doing):
            self._sdk.actions.create(
                id=action, project=project_id,
                request_options={"additional_body_parameters": {
                    "selectedItems": {"all": False, "included": list(task_ids)}
                }},
            )  # fmt: skip

    # --- annotations ------------------------------------------------------------------------------------------------

    def annotated_tasks(self, project_id: int) -> int:
        """Number of tasks with an annotation, skipped ones perhaps among them: an upper bound of what is verified."""
        with self._errors(f"reading project {project_id}"):
            return int(self._sdk.projects.get(project_id).num_tasks_with_annotations or 0)

    def set_annotation(self, annotation_id: int, result: Sequence[JsonObject]) -> None:
        """Replace an annotation's result; its coder and seconds stay."""
        with self._errors(f"writing annotation {annotation_id}"):
            self._sdk.annotations.update(annotation_id, result=list(result))

    def set_draft(self, draft_id: int, result: Sequence[JsonObject]) -> None:
        """Replace a draft's result; one that was submitted or deleted meanwhile is left."""
        with self._errors(f"writing draft {draft_id}"):
            self._request("PATCH", f"api/drafts/{draft_id}/", {"result": list(result)})


def _id_of(task: JsonObject) -> int:
    return int(task["id"])
