"""Who sends a request, looked at before anything else of it: passwords, tokens, and how often they were wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from flask import Flask, current_app, g, request
from redis import Redis
from werkzeug.exceptions import Forbidden, Unauthorized

from ml_backend.access import Role, role_of
from ml_backend.login_limit import LoginLimit
from ml_backend.passwords import Remembered, same
from ml_backend.settings import Settings, is_loopback

OPEN = ("/health", "/openapi.json")  # need no login; they are the same in every installation
Found = TypeVar("Found")


class Logins:
    """Finds out whose a password or a token is. ``settings`` must hold the secrets (``with_secrets``).

    Every method raises TooManyRequests where too many were wrong, and QueueError where Redis, which counts them, is
    away: without it only those are let in who were lately.
    """

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._limit = LoginLimit(redis)
        self._roles: Remembered[Role] = Remembered()
        self._tokens: Remembered[bool] = Remembered()

    def role(self, address: str | None, name: str, password: str) -> Role | None:
        """Who has this name and password, None for nobody we know."""
        return self._found(self._roles, lambda: role_of(self._settings, name, password), address, name, password)

    def opens(self, address: str | None, room: str, token: str) -> bool:
        """Whether this is the bearer token of ``/<room>``."""
        known = {"webhook": self._settings.webhook_token, "classify": self._settings.api_token}.get(room)

        def right() -> bool | None:
            return True if known is not None and same(token, known.get_secret_value()) else None

        found: bool | None = self._found(self._tokens, right, address, f"bearer {room}", token)
        return found is True

    def _found(
        self, lately: Remembered[Found], find: Callable[[], Found | None], address: str | None, name: str, secret: str
    ) -> Found | None:
        if (known := lately.get(address, name, secret)) is not None:
            return known
        self._limit.check(address, name)
        if (found := find()) is None:
            self._limit.failed(address, name)
        else:
            self._limit.succeeded(address, name)
            lately.put(found, address, name, secret)
        return found


def ask_for_logins(app: Flask, settings: Settings, redis: Redis) -> None:
    """Have the application authenticate every request, as the settings say."""
    app.extensions["winnow-logins"] = Logins(settings, redis)
    app.before_request(authenticate)


def authenticate() -> None:
    """Basic authentication, or the bearer token of /webhook or /classify on these.

    ``g.role`` is who asks, as far as they sent a password. Raises Unauthorized, Forbidden for a viewer or an operator
    outside of what is theirs, and as ``Logins`` does.
    """
    if request.path in OPEN:
        return
    settings: Settings = current_app.extensions["winnow"][0]
    if not settings.authentication:
        _check_host(settings)
        g.role = Role.ACCOUNT
        return
    logins: Logins = current_app.extensions["winnow-logins"]
    sent = request.authorization
    if sent is not None and sent.type == "bearer" and sent.token:
        if logins.opens(request.remote_addr, request.path.split("/")[1], sent.token):
            return
    elif sent is not None and sent.type == "basic":
        role = logins.role(request.remote_addr, sent.username or "", sent.password or "")
        if role is not None:
            g.role = role
            _permit(role)
            return
    raise Unauthorized("user name and password, or on /webhook and /classify the bearer token, are missing or wrong")


def _permit(role: Role) -> None:
    if not role.may(request.method, request.path):
        what = "read the dashboard" if role is Role.VIEWER else "use the dashboard"
        raise Forbidden(f"user {role.value} may {what} and nothing else; use the installation's own user name")


def _check_host(settings: Settings) -> None:
    """Only whom the browser knows as this machine: a page elsewhere may have its own name lead to 127.0.0.1."""
    named = urlsplit(f"//{request.host}").hostname or ""
    if not is_loopback(named) and named != urlsplit(settings.backend_url).hostname:
        raise Forbidden(f"host {named[:80]!r} is not this machine; ask 127.0.0.1, or set WINNOW_PUBLIC_URL")
