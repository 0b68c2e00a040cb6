"""How Label Studio's projects are connected to their surroundings, as it sees that itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from ml_backend.labelstudio_access import LabelStudioAccess

CONNECTED = "CO"


@dataclass(frozen=True, slots=True)
class ConnectedBackend:
    """An ML backend of a project. ``state`` is CONNECTED where it answered Label Studio; ``error`` is what it said."""

    url: str
    state: str
    error: str
    user: str
    has_password: bool


@dataclass(frozen=True, slots=True)
class ConnectedWebhook:
    """A webhook of a project, with the events it is sent for and the Authorization header that it has."""

    id: int
    url: str
    active: bool
    authorization: str
    actions: frozenset[str]


class ConnectionCalls(LabelStudioAccess):
    """Read connections, and whether they work. Methods raise LabelStudioError as ``LabelStudioAccess`` does."""

    def connected_backends(self, project_id: int) -> list[ConnectedBackend]:
        """The project's ML backends. Label Studio calls each of them to answer, so their states are those of now."""
        with self._errors(f"reading the ML backends of project {project_id}"):
            return [
                ConnectedBackend(
                    str(b.url), str(b.state or ""), " ".join(str(b.error_message or "").split()),
                    str(b.basic_auth_user or ""), bool(b.basic_auth_pass_is_set),
                )
                for b in self._sdk.ml.list(project=project_id)
            ]  # fmt: skip

    def connected_webhooks(self, project_id: int) -> list[ConnectedWebhook]:
        """The project's webhooks."""
        with self._errors(f"reading the webhooks of project {project_id}"):
            return [
                ConnectedWebhook(
                    int(hook.id), str(hook.url), bool(hook.is_active),
                    str((hook.headers or {}).get("Authorization", "")),
                    frozenset(str(action) for action in hook.actions or []),
                )
                for hook in self._sdk.webhooks.list(project=str(project_id))
            ]  # fmt: skip

    def write_again(self, hook: ConnectedWebhook) -> None:
        """Write a webhook's address as it is: Label Studio refuses one that it blocks only when it is written.

        Its events are written along, or Label Studio would take them away.
        """
        with self._errors(f"writing the address {hook.url} of webhook {hook.id}"):
            body = {"url": hook.url, "actions": sorted(hook.actions)}
            self._request("PATCH", f"api/webhooks/{hook.id}/", body)

    def server_time(self) -> datetime:
        """The time by Label Studio's clock, in whole seconds."""
        with self._errors("asking for its time"):
            answer = self._sdk._client_wrapper.httpx_client.request("api/version/", method="GET")
            return parsedate_to_datetime(answer.headers["Date"])
