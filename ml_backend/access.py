"""Who may ask for what: the installation's account everything, two more users the dashboard alone.

A viewer reads it, an operator also promotes adapters and rolls them back. Both exist only where they have a password.
"""

from __future__ import annotations

from enum import StrEnum

from ml_backend.passwords import is_password, same
from ml_backend.settings import Settings

DASHBOARD = "dashboard"  # the first part of its addresses
READING = ("GET", "HEAD", "OPTIONS")


class Role(StrEnum):
    """What a user is; the values of viewer and operator are their user names."""

    ACCOUNT = "account"
    OPERATOR = "operator"
    VIEWER = "viewer"

    def may(self, method: str, path: str) -> bool:
        """Whether a request of this method and path is theirs to make."""
        if self is Role.ACCOUNT:
            return True
        inside = path == f"/{DASHBOARD}" or path.startswith(f"/{DASHBOARD}/")
        return inside and (method in READING or (self.operates and method == "POST"))

    @property
    def operates(self) -> bool:
        """Whether they may change which adapter proposes."""
        return self is not Role.VIEWER


def role_of(settings: Settings, name: str | None, password: str | None) -> Role | None:
    """Who sent this name and password, None for nobody we know. Where the two differ from the right ones is not told.

    The names of viewer and operator are no secrets: only with these a hash is computed.
    """
    known = (
        (Role.ACCOUNT, settings.username, settings.password),
        (Role.OPERATOR, Role.OPERATOR.value, settings.operator_password),
        (Role.VIEWER, Role.VIEWER.value, settings.viewer_password),
    )
    right = [
        role
        for role, user, secret in known
        if (expected := secret.get_secret_value() if secret else "")
        and same(name, user)
        and is_password(password, expected)
    ]
    return right[0] if right else None
