"""The same proposals under ``label-studio-ml start ml_backend``: a LabelStudioMLBase for its 1.0.9 and 2.x interfaces.

1.0.9 builds the class with ``label_config`` and ``train_output`` for every project it sees; 2.x with ``project_id`` and
``label_config``. Neither trains here: ``fit`` notes the change, and Winnow's own scheduler starts the round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from label_configs.errors import ConfigError
from ml_backend import changed_projects, queue
from ml_backend.events import Change, parse_event, parse_project_id
from ml_backend.experiment import Project
from ml_backend.predicting import predict
from ml_backend.proposing import Plan
from ml_backend.registered_projects import load_project
from ml_backend.settings import load_settings


class WinnowModel(LabelStudioMLBase):  # type: ignore[misc]  # label-studio-ml ships no types
    """Answers from the proposals of Winnow's workers."""

    def setup(self) -> None:
        """2.x calls this when it builds the model; sets the version that Label Studio compares predictions with."""
        project_id = getattr(self, "project_id", None)
        if project_id:
            self.set("model_version", Plan.of(self._project(project_id)).version)

    def predict(
        self, tasks: Sequence[dict[str, Any]], context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[list[dict[str, Any]]]:
        """For each task a list with its review prediction, empty where it is not ready in time.

        Both versions of label-studio-ml hand lists on as they are, and Label Studio keeps nothing for an empty one.
        """
        del context, kwargs
        if not tasks:
            return []
        settings = load_settings()
        return predict(
            queue.connect(settings),
            self._project(getattr(self, "project_id", None) or tasks[0].get("project")),
            tasks,
            chunk=settings.chunk_documents,
            deadline=settings.predict_deadline_seconds,
        ).results

    def fit(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Note that the project changed: ``fit(event, data)`` in 2.x, ``fit((), event=..., data=...)`` in 1.0.9."""
        event = kwargs.get("event", args[0] if args else None)
        data = kwargs.get("data", args[1] if len(args) > 1 else None)
        if isinstance(event, str) and isinstance(data, Mapping):
            seen = parse_event({**data, "action": event})
            if seen.change in (Change.ANNOTATIONS, Change.TRAIN):
                changed_projects.mark_changed(queue.connect(load_settings()), seen.project_id)
        return {}

    @staticmethod
    def _project(value: Any) -> Project:
        if value is None:
            raise ConfigError(
                "label-studio-ml: neither model nor task names the project; run `winnow init` and connect it again"
            )
        return load_project(load_settings().home, parse_project_id(value, "label-studio-ml"))
