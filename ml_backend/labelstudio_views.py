"""What adjudicators need of Label Studio: tabs in which they find their tasks, and ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_backend.labelstudio_access import LabelStudioAccess

VIEW_TASKS = 100
"""Tasks of one view: each is a line of the view's filter, which a person may open and read."""

# The columns that the first tab of a project hides; a tab that hides none shows them all.
_HIDDEN = ["inner_id", "annotations_results", "annotations_ids", "predictions_score", "predictions_model_versions",
           "predictions_results", "file_upload", "storage_filename", "created_at", "updated_at", "updated_by",
           "avg_lead_time", "draft_exists", "data.candidates"]  # fmt: skip
_NO_TASK = 0


class ViewCalls(LabelStudioAccess):
    """Views, as Label Studio calls the tabs of the Data Manager, ground truth, and the people who code."""

    def show_in_view(self, project_id: int, title: str, task_ids: Sequence[int]) -> int | None:
        """Have the view with this title show these tasks, the first ``VIEW_TASKS`` of them; the view's id.

        Views with other titles are not touched; of this one only the filter is replaced. A view that would be empty is
        not created: None.
        """
        with self._errors(f"writing the view {title!r} of project {project_id}"):
            views = self._sdk.views.list(project=project_id)
            found = next((view for view in views if (view.data or {}).get("title") == title), None)
            if found is not None:
                data = {**found.data, "filters": _only(task_ids)}
                return int(self._sdk.views.update(str(found.id), project=project_id, data=data).id)
            if not task_ids:
                return None
            if not views:
                # The page makes its first tab, of all tasks, only where there is none.
                self._sdk.views.create(project=project_id, data=_view("Default"))
            made = self._sdk.views.create(project=project_id, data={**_view(title), "filters": _only(task_ids)})
            return int(made.id)

    def set_ground_truth(self, annotation_id: int) -> None:
        """Mark an annotation as ground truth, and no other of its task. Community's page has no button for it."""
        with self._errors(f"writing annotation {annotation_id}"):
            self._sdk.annotations.update(annotation_id, ground_truth=True)

    def coders(self) -> dict[str, str]:
        """Coder, as decisions name them -> email."""
        with self._errors("reading the users"):
            return {str(user.id): str(user.email) for user in self._sdk.users.list()}


def _view(title: str) -> dict[str, Any]:
    hidden = [f"tasks:{name}" for name in _HIDDEN]
    return {"title": title, "type": "list", "target": "tasks", "hiddenColumns": {"explore": hidden, "labeling": hidden}}


def _only(task_ids: Sequence[int]) -> dict[str, Any]:
    # The server knows the operator in_list, but the page does not: it would stay blank.
    ids = list(task_ids[:VIEW_TASKS]) or [_NO_TASK]
    items = [{"filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": i} for i in ids]
    return {"conjunction": "or", "items": items}
