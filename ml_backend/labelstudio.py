"""The only caller of label-studio-sdk: set up, import, push predictions, read annotations."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.parse_error import ParsingError
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
)

from label_configs.errors import ConfigError, LabelStudioError, WireError, reason
from label_configs.wire import JsonObject
from ml_backend.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT = 120.0  # seconds for one request; an import of many predictions is slow
EXPORT_SECONDS = 1800  # how long a snapshot may take to be made
PAGE = 100  # tasks
PREDICTIONS_PER_REQUEST = 500
WEBHOOK_ACTIONS = ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED",
                   "TASKS_CREATED", "TASKS_DELETED"]  # fmt: skip


TOKEN = re.compile(r"[!-~]+")  # printable ASCII without spaces
STRANGER = "its answer is not Label Studio's; is WINNOW_LABEL_STUDIO_URL right?"


@contextmanager
def label_studio_errors(url: str, doing: str) -> Iterator[None]:
    """Turn the SDK's and the transport's errors into LabelStudioError: one line with the remedy, no token."""
    try:
        yield
    except ApiError as error:
        raise LabelStudioError(f"Label Studio at {url}: {doing}: {_explain(error)}") from None
    except (ParsingError, ValueError, TypeError, AttributeError):  # the SDK takes any JSON for what it asked for
        raise LabelStudioError(f"Label Studio at {url}: {doing}: {STRANGER}") from None
    except httpx.HTTPError as error:
        raise LabelStudioError(
            f"Label Studio at {url}: {doing}: no answer ({reason(error)}); "
            "is it running, and is WINNOW_LABEL_STUDIO_URL right?"
        ) from None


def _explain(error: ApiError) -> str:
    """What a refusal means and what to do about it."""
    detail = _detail(error.body)
    if (error.status_code or 0) < 400:
        return STRANGER
    if error.status_code == 401:
        return "the token is refused; set WINNOW_LABEL_STUDIO_TOKEN to a personal access token (Account & Settings)"
    if error.status_code == 403 and re.search(r"\b(ssrf|urls?|ip|network)\b", detail, re.IGNORECASE):
        return (
            f"the address is blocked ({detail}); for an address of a local network start Label Studio with "
            "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"
        )
    if error.status_code == 404:
        return "not found; check the project's id, the account's access and WINNOW_LABEL_STUDIO_URL"
    return f"answered {error.status_code}: {detail}"


def _detail(body: Any) -> str:
    if isinstance(body, Mapping):
        problems = body.get("validation_errors")
        text = json.dumps(problems) if problems else str(body.get("detail", ""))
        return text[:300] or "no detail"
    text = str(body).strip()
    if text.lower().startswith(("<!doctype", "<html")):
        return "a web page; is WINNOW_LABEL_STUDIO_URL right?"
    return text.splitlines()[0][:300] if text else "no detail"


class LabelStudioClient:
    """What Winnow asks of Label Studio. Every method raises LabelStudioError when it is away or refuses."""

    def __init__(self, settings: Settings) -> None:
        if settings.label_studio_token is None:
            raise ConfigError(
                "WINNOW_LABEL_STUDIO_TOKEN is not set; copy a personal access token from Label Studio, "
                "Account & Settings"
            )
        self.url = settings.label_studio_url
        token = settings.label_studio_token.get_secret_value().strip()
        if not TOKEN.fullmatch(token):  # else the transport would quote it in an error
            raise ConfigError("WINNOW_LABEL_STUDIO_TOKEN holds characters that no token has; copy it anew")
        with self._errors("looking at the token"):
            self._sdk = LabelStudio(base_url=self.url, api_key=token, timeout=TIMEOUT)

    def _errors(self, doing: str) -> Any:
        return label_studio_errors(self.url, doing)

    def version(self) -> str:
        """Label Studio's release, as ``1.23.2``; also proves that the token is accepted."""
        with self._errors("asking who we are"):
            self._sdk.users.whoami()
            release = self._sdk.versions.get().release
            if not isinstance(release, str):
                raise TypeError("no release")
            return release

    # --- set-up -----------------------------------------------------------------------------------------------------

    def create_project(self, title: str, label_config: str, description: str = "") -> int:
        """Create a project and return its id."""
        with self._errors(f"creating project {title!r}"):
            project = self._sdk.projects.create(title=title, description=description, label_config=label_config)
        return int(project.id)

    def label_config(self, project_id: int) -> str:
        """The project's label config, XML."""
        with self._errors(f"reading project {project_id}"):
            return str(self._sdk.projects.get(project_id).label_config)

    def set_label_config(self, project_id: int, label_config: str) -> None:
        """Replace the project's label config."""
        with self._errors(f"writing the label config of project {project_id}"):
            self._sdk.projects.update(project_id, label_config=label_config)

    def connect_webhook(self, project_id: int, url: str, token: str) -> int:
        """Have the project's annotation events sent to ``url`` with a bearer token; twice is the same as once."""
        headers = {"Authorization": f"Bearer {token}"}
        with self._errors(f"connecting the webhook {url}"):
            for hook in self._sdk.webhooks.list(project=str(project_id)):
                if hook.url == url:
                    self._sdk.webhooks.update(
                        hook.id, url=url, headers=headers, is_active=True, send_for_all_actions=False,
                        actions=WEBHOOK_ACTIONS, send_payload=True,
                    )  # fmt: skip
                    return int(hook.id)
            made = self._sdk.webhooks.create(
                project=project_id, url=url, headers=headers, send_payload=True, send_for_all_actions=False,
                actions=WEBHOOK_ACTIONS,
            )  # fmt: skip
        return int(made.id)

    def connect_backend(self, project_id: int, url: str, username: str, password: str) -> int:
        """Connect the ML backend with basic authentication; twice is the same as once.

        To be called after ``connect_webhook``: Label Studio adds a webhook without a token where none has the URL yet.
        """
        login = {"auth_method": "BASIC_AUTH", "basic_auth_user": username, "basic_auth_pass": password}
        with self._errors(f"connecting the ML backend {url}"):
            for backend in self._sdk.ml.list(project=project_id):
                if str(backend.url).rstrip("/") == url.rstrip("/"):
                    self._sdk.ml.update(backend.id, url=url, project=str(project_id), **login)
                    return int(backend.id)
            return int(self._sdk.ml.create(url=url, project=project_id, title="Winnow", **login).id)

    def set_model_version(self, project_id: int, version: str) -> None:
        """Choose the prediction version that coders are shown."""
        with self._errors(f"setting the model version of project {project_id}"):
            self._sdk.projects.update(project_id, model_version=version)

    def model_version(self, project_id: int) -> str:
        """The prediction version that coders are shown; empty when none is chosen."""
        with self._errors(f"reading project {project_id}"):
            return str(self._sdk.projects.get(project_id).model_version or "")

    # --- tasks and predictions --------------------------------------------------------------------------------------

    def import_tasks(self, project_id: int, tasks: Sequence[JsonObject]) -> list[int]:
        """Import task data; ids of the new tasks in order."""
        with self._errors(f"importing {len(tasks)} tasks"):
            done = self._sdk.projects.import_tasks(project_id, request=list(tasks), return_task_ids=True)
        return [int(i) for i in done.task_ids or []]

    def tasks(self, project_id: int, task_ids: Sequence[int] | None = None) -> Iterator[JsonObject]:
        """Tasks with data, predictions and ``is_labeled``: all of the project, or those named that still exist."""
        if task_ids is not None and not task_ids:
            return
        query = json.dumps({"selectedItems": {"all": False, "included": list(task_ids)}}) if task_ids else None
        with self._errors(f"reading the tasks of project {project_id}"):
            for task in self._sdk.tasks.list(project=project_id, query=query, fields="all", page_size=PAGE):
                yield task.model_dump()

    def set_task_data(self, task_id: int, data: JsonObject) -> None:
        """Replace a task's data."""
        with self._errors(f"writing task {task_id}"):
            self._sdk.tasks.update(str(task_id), data=data)

    def import_predictions(self, project_id: int, predictions: Sequence[JsonObject]) -> None:
        """Import predictions, each with ``task``, ``result``, ``score``, ``model_version``."""
        for start in range(0, len(predictions), PREDICTIONS_PER_REQUEST):
            part = list(predictions[start : start + PREDICTIONS_PER_REQUEST])
            with self._errors(f"importing {len(part)} predictions"):
                self._sdk.projects.import_predictions(id=project_id, request=part)

    # --- annotations ------------------------------------------------------------------------------------------------

    def annotated_tasks(self, project_id: int) -> int:
        """Number of tasks with an annotation, skipped ones perhaps among them: an upper bound of what is verified."""
        with self._errors(f"reading project {project_id}"):
            return int(self._sdk.projects.get(project_id).num_tasks_with_annotations or 0)

    def export(self, project_id: int, *, annotated_only: bool = False) -> list[JsonObject]:
        """All tasks with annotations (skips, drafts, results) and predictions, by a snapshot that is deleted again.

        ``annotated_only``: those with an annotation that is no skip. They may be few among very many.
        """
        chosen = {"annotated": "only"} if annotated_only else {}
        with self._errors(f"exporting project {project_id}"):
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
