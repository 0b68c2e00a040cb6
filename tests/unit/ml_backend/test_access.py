"""Who may ask for what."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from ml_backend.access import Role, role_of
from ml_backend.settings import Settings

SETTINGS = Settings(
    username="team", password=SecretStr("p"), viewer_password=SecretStr("v"), operator_password=SecretStr("ö")
)


@pytest.mark.parametrize(
    ("name", "password", "role"),
    [
        ("team", "p", Role.ACCOUNT),
        ("viewer", "v", Role.VIEWER),
        ("operator", "ö", Role.OPERATOR),
        ("team", "v", None),
        ("viewer", "p", None),
        ("viewer", "ö", None),
        ("operator", "v", None),
        ("Viewer", "v", None),
        ("viewer", "", None),
        ("viewer", None, None),
        (None, None, None),
        ("", "", None),
    ],
)
def test_a_name_goes_with_its_own_password(name: str | None, password: str | None, role: Role | None) -> None:
    assert role_of(SETTINGS, name, password) is role


@pytest.mark.parametrize("password", ["", None, "None"])
def test_without_a_password_of_their_own_nobody_is_viewer_or_operator(password: str | None) -> None:
    settings = Settings(password=SecretStr("p"))
    assert role_of(settings, "viewer", password) is None
    assert role_of(settings, "operator", password) is None


def test_an_account_may_be_called_viewer() -> None:
    settings = SETTINGS.model_copy(update={"username": "viewer"})
    assert role_of(settings, "viewer", "p") is Role.ACCOUNT
    assert role_of(settings, "viewer", "v") is Role.VIEWER


@pytest.mark.parametrize(
    ("role", "method", "path", "may"),
    [
        (Role.ACCOUNT, "DELETE", "/anything", True),
        (Role.VIEWER, "GET", "/dashboard/", True),
        (Role.VIEWER, "HEAD", "/dashboard/projects/7", True),
        (Role.VIEWER, "GET", "/dashboard", True),
        (Role.VIEWER, "POST", "/dashboard/projects/7", False),
        (Role.VIEWER, "GET", "/dashboardx", False),
        (Role.VIEWER, "GET", "/predict", False),
        (Role.OPERATOR, "POST", "/dashboard/projects/7", True),
        (Role.OPERATOR, "DELETE", "/dashboard/projects/7", False),
        (Role.OPERATOR, "POST", "/predict", False),
        (Role.OPERATOR, "GET", "/metrics", False),
    ],
)
def test_what_a_role_may_ask_for(role: Role, method: str, path: str, may: bool) -> None:
    assert role.may(method, path) is may
