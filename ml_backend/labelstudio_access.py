"""Reaching Label Studio: the address, the token, and what its refusals mean."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from typing import Any

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.parse_error import ParsingError

from label_configs.errors import ConfigError, LabelStudioAway, LabelStudioBusy, LabelStudioError, reason
from ml_backend.labelstudio_away import AWAY, BUSY, SHORT_PATIENCE, PatientClient
from ml_backend.settings import Settings

TOKEN = re.compile(r"[!-~]+")  # printable ASCII without spaces
STRANGER = "its answer is not Label Studio's; is WINNOW_LABEL_STUDIO_URL right?"


@contextmanager
def label_studio_errors(url: str, doing: str) -> Iterator[None]:
    """Turn the SDK's and the transport's errors into LabelStudioError: one line with the remedy, no token."""
    try:
        yield
    except ApiError as error:
        kinds = {**dict.fromkeys(AWAY, LabelStudioAway), **dict.fromkeys(BUSY, LabelStudioBusy)}
        kind = kinds.get(error.status_code or 0, LabelStudioError)
        raise kind(f"Label Studio at {url}: {doing}: {_explain(error)}") from None
    except (ParsingError, ValueError, TypeError, AttributeError):  # the SDK takes any JSON for what it asked for
        raise LabelStudioError(f"Label Studio at {url}: {doing}: {STRANGER}") from None
    except httpx.HTTPError as error:
        kind = LabelStudioAway if isinstance(error, httpx.TransportError) else LabelStudioError
        raise kind(
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


def _told(answer: httpx.Response) -> Any:
    if answer.is_error:
        raise ApiError(status_code=answer.status_code, body=_json_or_text(answer))
    return answer.json()


def _json_or_text(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text


class LabelStudioAccess:
    """A connection to Label Studio, by a personal access token or a legacy one.

    ``patient``: once it has answered, a Label Studio that goes away is waited for (``label_studio_wait_seconds``).
    Every method raises LabelStudioAway when Label Studio is away, LabelStudioError when it refuses.
    """

    def __init__(self, settings: Settings, *, patient: bool = False) -> None:
        if settings.label_studio_token is None:
            raise ConfigError(
                "WINNOW_LABEL_STUDIO_TOKEN is not set; copy a personal access token from Label Studio, "
                "Account & Settings"
            )
        self.url = settings.label_studio_url
        token = settings.label_studio_token.get_secret_value().strip()
        if not TOKEN.fullmatch(token):  # else the transport would quote it in an error
            raise ConfigError("WINNOW_LABEL_STUDIO_TOKEN holds characters that no token has; copy it anew")
        self.stopped = Event()
        self._patience = settings.label_studio_wait_seconds if patient else SHORT_PATIENCE
        timeout = settings.label_studio_timeout_seconds
        post_timeout = max(timeout, settings.label_studio_wait_seconds)
        client = PatientClient(timeout, post_timeout, self._patience, self.stopped)
        with self._errors("looking at the token"):
            # The SDK would send again what was posted, too.
            self._sdk = LabelStudio(
                base_url=self.url, api_key=token, timeout=timeout, max_retries=0, httpx_client=client
            )

    def stop_waiting(self) -> None:
        """Have every wait for a Label Studio that is away end now, in all threads: no answer will be used any more."""
        self.stopped.set()

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

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        """A request that the SDK has no method for; its answer, None where Label Studio has no such thing."""
        answer = self._sdk._client_wrapper.httpx_client.request(path, method=method, json=body)
        return None if answer.status_code == 404 else _told(answer)

    def _get(self, path: str) -> Any:
        """The answer to a request for what must be there."""
        answer = self._request("GET", path)
        if answer is None:
            raise ApiError(status_code=404)
        return answer

    def _post_once(self, path: str, body: Any) -> Any:
        """Post JSON as it is; the answer.

        The SDK's own way looks at every value three times, which for a large body takes longer than writing it.
        """
        content = json.dumps(body, ensure_ascii=False).encode()
        return _told(
            self._sdk._client_wrapper.httpx_client.request(
                path, method="POST", content=content, headers={"content-type": "application/json"}
            )
        )  # fmt: skip
