"""What Winnow asks of Label Studio about a project itself: label config, settings, webhook, ML backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from label_configs.errors import LabelStudioError
from ml_backend.labelstudio_access import LabelStudioAccess

WEBHOOK_ACTIONS = ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED",
                   "TASKS_CREATED", "TASKS_DELETED"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProjectState:
    """A project as Label Studio has it now; ``settings`` holds what Winnow may change, by Label Studio's names."""

    id: int
    title: str
    label_config: str
    model_version: str
    settings: dict[str, Any]
    tasks: int
    annotations: int


SETTINGS = {
    "maximum_annotations": 1,
    "overlap_cohort_percentage": 100,
    "show_overlap_first": False,
    "sampling": "Sequential sampling",
    "show_collab_predictions": True,
}
"""The settings that ``ProjectState`` tells, with Label Studio's defaults."""


class ProjectCalls(LabelStudioAccess):
    """Create a project, read and change what it is. Methods raise LabelStudioError as ``LabelStudioAccess`` does."""

    def create_project(self, title: str, label_config: str, description: str = "") -> int:
        """Create a project and return its id."""
        with self._errors(f"creating project {title!r}"):
            project = self._sdk.projects.create(title=title, description=description, label_config=label_config)
        return int(project.id)

    def project_state(self, project_id: int) -> ProjectState:
        """All that set-up compares, in one request."""
        with self._errors(f"reading project {project_id}"):
            found = self._sdk.projects.get(project_id)
            return ProjectState(
                int(found.id), str(found.title or ""), str(found.label_config or ""), str(found.model_version or ""),
                {name: getattr(found, name) for name in SETTINGS},
                int(found.task_number or 0), int(found.total_annotations_number or 0),
            )  # fmt: skip

    def project_title(self, project_id: int) -> str:
        """The project's name."""
        with self._errors(f"reading project {project_id}"):
            return str(self._sdk.projects.get(project_id).title or "")

    def coder_names(self) -> dict[str, str]:
        """Names of all users that the account sees by their ids: first and last name, else the e-mail address."""
        with self._errors("reading the users"):
            return {
                str(user.id): f"{user.first_name or ''} {user.last_name or ''}".strip() or str(user.email or user.id)
                for user in self._sdk.users.list()
            }

    def exists(self, project_id: int) -> bool:
        """Whether the account can see the project."""
        with self._errors(f"looking for project {project_id}"):
            return self._request("GET", f"api/projects/{project_id}/") is not None

    def label_config(self, project_id: int) -> str:
        """The project's label config, XML."""
        with self._errors(f"reading project {project_id}"):
            return str(self._sdk.projects.get(project_id).label_config)

    def set_label_config(self, project_id: int, label_config: str) -> None:
        """Replace the project's label config."""
        with self._errors(f"writing the label config of project {project_id}"):
            self._sdk.projects.update(project_id, label_config=label_config)

    def set_settings(self, project_id: int, settings: dict[str, Any]) -> None:
        """Change settings of a project and read them back. Raises LabelStudioError for one that was not taken."""
        with self._errors(f"writing the settings of project {project_id}"):
            self._sdk.projects.update(project_id, **settings)
            found = self._sdk.projects.get(project_id)
        if refused := [f"{name} is {getattr(found, name)!r} where {wanted!r} was written"
                       for name, wanted in settings.items() if getattr(found, name) != wanted]:  # fmt: skip
            raise LabelStudioError(
                f"Label Studio at {self.url}: project {project_id}: did not take all settings ({', '.join(refused)}); "
                "see whether another program rules them, or change `review` in winnow.yaml"
            )

    def webhook(self, project_id: int, url: str, token: str) -> bool:
        """Whether the project's webhook is as ``connect_webhook`` makes it."""
        with self._errors(f"reading the webhooks of project {project_id}"):
            return any(
                hook.url == url
                and hook.is_active
                and hook.headers == {"Authorization": f"Bearer {token}"}
                and {str(action) for action in hook.actions or []} == set(WEBHOOK_ACTIONS)
                for hook in self._sdk.webhooks.list(project=str(project_id))
            )

    def connect_webhook(self, project_id: int, url: str, token: str) -> int:
        """Have the project's annotation events sent to ``url`` with a bearer token; twice is the same as once.

        Of several webhooks with this URL one is left: each of them would send every event.
        """
        headers = {"Authorization": f"Bearer {token}"}
        with self._errors(f"connecting the webhook {url}"):
            hooks = [hook for hook in self._sdk.webhooks.list(project=str(project_id)) if hook.url == url]
            for double in hooks[1:]:
                self._sdk.webhooks.delete(double.id)
            if hooks:
                self._sdk.webhooks.update(
                    hooks[0].id, url=url, headers=headers, is_active=True, send_for_all_actions=False,
                    actions=WEBHOOK_ACTIONS, send_payload=True,
                )  # fmt: skip
                return int(hooks[0].id)
            made = self._sdk.webhooks.create(
                project=project_id, url=url, headers=headers, send_payload=True, send_for_all_actions=False,
                actions=WEBHOOK_ACTIONS,
            )  # fmt: skip
        return int(made.id)

    def backends(self, project_id: int, url: str) -> list[int]:
        """Ids of the project's ML backends under ``url``."""
        with self._errors(f"reading the ML backends of project {project_id}"):
            return [int(b.id) for b in self._sdk.ml.list(project=project_id) if _same(str(b.url), url)]

    def connect_backend(self, project_id: int, url: str, username: str, password: str) -> int:
        """Connect the ML backend with basic authentication; twice is the same as once.

        To be called after ``connect_webhook``: Label Studio adds a webhook without a token where none has the URL yet,
        and where that is blocked it refuses with a half-made backend left behind, which the next call completes.
        """
        login = {"auth_method": "BASIC_AUTH", "basic_auth_user": username, "basic_auth_pass": password}
        with self._errors(f"connecting the ML backend {url}"):
            known = self.backends(project_id, url)
            for double in known[1:]:
                self._sdk.ml.delete(double)
            if known:
                self._sdk.ml.update(known[0], url=url, project=str(project_id), **login)
                return known[0]
            return int(self._sdk.ml.create(url=url, project=project_id, title="Winnow", **login).id)

    def set_model_version(self, project_id: int, version: str) -> None:
        """Choose the prediction version that coders are shown."""
        with self._errors(f"setting the model version of project {project_id}"):
            self._sdk.projects.update(project_id, model_version=version)

    def model_version(self, project_id: int) -> str:
        """The prediction version that coders are shown; empty when none is chosen."""
        with self._errors(f"reading project {project_id}"):
            return str(self._sdk.projects.get(project_id).model_version or "")


def _same(url: str, other: str) -> bool:
    return url.rstrip("/") == other.rstrip("/")
