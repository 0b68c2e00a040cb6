"""A person's account in Label Studio, used as a browser would: log in, sign up, get a personal access token."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from http.cookiejar import CookieJar
from typing import Any

from label_configs.errors import LabelStudioError

TIMEOUT = 30.0
"""Seconds for one request."""


class Account:
    """One user's session with the Label Studio at ``url``. Nothing is sent before the first method is called.

    Every method raises LabelStudioError when Label Studio is away or refuses.
    """

    def __init__(self, url: str, email: str, password: str) -> None:
        self.url = url.rstrip("/")
        self.email = email
        self._password = password
        self._cookies = CookieJar()
        # A proxy for the outside world cannot reach a server on this machine.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._cookies)
        )

    def log_in(self) -> None:
        """Start a session with email and password."""
        self._post_form("/user/login/", {"email": self.email, "password": self._password, "persist_session": "on"})
        self._require_session("the email or the password is not right")

    def sign_up(self, invite: str) -> None:
        """Create this account with an ``invite`` that a member gave out, and start a session."""
        query = urllib.parse.urlencode({"token": invite})
        self._post_form(f"/user/signup/?{query}", {"email": self.email, "password": self._password})
        self._require_session("the invite is not valid, the email is taken, or the password is too simple")

    def invite(self) -> str:
        """The organisation's current invite, for ``sign_up``. Needs a session."""
        return str(self._json("GET", "/api/invite")["token"])

    def personal_access_token(self) -> str:
        """A new personal access token. Needs a session.

        Label Studio allows one per user and shows it in full only once, so an earlier one is revoked.
        """
        for listed in self._json("GET", "/api/token/"):
            self._json("POST", "/api/token/blacklist/", {"refresh": listed["token"]})
        return str(self._json("POST", "/api/token/")["token"])

    def _require_session(self, otherwise: str) -> None:
        # A refused form is an answer like any other, with a cookie too: only a session knows who is asking.
        try:
            self._json("GET", "/api/current-user/whoami")
        except LabelStudioError as error:
            if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == HTTPStatus.UNAUTHORIZED:
                raise LabelStudioError(f"{self.url}: Label Studio did not let {self.email} in: {otherwise}") from error
            raise

    def _post_form(self, path: str, fields: dict[str, str]) -> None:
        self._open("GET", path)
        token = next((cookie.value or "" for cookie in self._cookies if cookie.name == "csrftoken"), "")
        body = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token}).encode()
        self._open("POST", path, body, {"Referer": self.url + path})

    def _json(self, method: str, path: str, value: object = None) -> Any:
        body = None if value is None else json.dumps(value).encode()
        answer = self._open(method, path, body, {"Content-Type": "application/json"})
        try:
            return json.loads(answer) if answer else None
        except ValueError as error:
            raise LabelStudioError(f"{self.url}{path}: answered no JSON; is this Label Studio's URL?") from error

    def _open(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {}, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            bare = path.partition("?")[0]
            raise LabelStudioError(f"{self.url}{bare}: answered {error.code} to {self.email}; see its log") from error
        except (OSError, http.client.HTTPException) as error:
            raise LabelStudioError(f"{self.url}: Label Studio does not answer ({error}); is it running?") from error
