"""That a change was asked for on a page of ours, by who is logged in: browsers send a password wherever they are led.

A page with a form holds a token, signed with the installation's secrets for its user and for the browser that has the
page's cookie. The cookie is never sent from another site, and neither is a request taken that says it comes from one.
"""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from flask import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.exceptions import Forbidden

from ml_backend.settings import Settings

COOKIE, FIELD = "winnow-dashboard", "token"
AGE = 3600  # seconds that a page with a form may stay open
ANEW = "open the page anew and confirm there"


def token_for(settings: Settings, request: Request, user: str) -> tuple[str, str]:
    """A token for a form, and the cookie's value that goes with it: to be set by ``keep``."""
    session = request.cookies.get(COOKIE) or secrets.token_urlsafe(16)
    return str(_serializer(settings).dumps([user, session])), session


def keep(response: Response, request: Request, session: str) -> None:
    """Set the cookie that the token on this page belongs to."""
    response.set_cookie(
        COOKIE, session, max_age=AGE, path="/dashboard/", secure=request.is_secure, httponly=True, samesite="Strict"
    )


def check(settings: Settings, request: Request, user: str) -> None:
    """Raise Forbidden unless the request comes from a page of ours that this user opened within the hour."""
    _check_origin(settings, request)
    try:
        found = _serializer(settings).loads(request.form.get(FIELD, ""), max_age=AGE)
    except BadData:
        raise Forbidden(f"the form's token is missing, wrong or older than an hour; {ANEW}") from None
    if found != [user, request.cookies.get(COOKIE)]:
        raise Forbidden(f"the form's token is another user's or browser's; {ANEW}")


def _check_origin(settings: Settings, request: Request) -> None:
    """Browsers say where a request comes from; a program that does not say it is no browser that could be led."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = {request.host, urlsplit(settings.backend_url).netloc}
    if site not in (None, "same-origin") or (origin is not None and urlsplit(origin).netloc not in own):
        raise Forbidden(f"the request comes from another site; {ANEW}")


def _serializer(settings: Settings) -> URLSafeTimedSerializer:
    """All web processes have these secrets, on every host; no user of the dashboard has both."""
    assert settings.password
    assert settings.webhook_token
    return URLSafeTimedSerializer(
        [settings.password.get_secret_value() + settings.webhook_token.get_secret_value()], salt="winnow-dashboard"
    )
