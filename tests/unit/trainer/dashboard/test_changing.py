"""Promoting and rolling back: who is refused, and why. That it is done, the browser's tests see."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from itsdangerous import TimestampSigner
from werkzeug.test import TestResponse

from ml_backend import promotions
from ml_backend.experiment import Project
from ml_backend.settings import Settings
from tests.unit.trainer.dashboard.conftest import login
from trainer.dashboard import csrf

CURRENT, BEFORE = "aaaabbbbccccdddd", "0000111122223333"
PAGE = f"/dashboard/projects/7/adapters/{BEFORE}/rollback"
SITE = "http://localhost"


@pytest.fixture(autouse=True)
def history(project: Project) -> Path:
    path = project.folder / "current.json"
    path.write_text(json.dumps({"adapters": [BEFORE, CURRENT]}), encoding="utf-8")
    return path


def form_of(page: TestResponse) -> dict[str, str]:
    assert page.status_code == 200, page.text
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))


def post(client: FlaskClient, form: dict[str, str], user: str = "operator", **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(PAGE, data=form, headers={**login(user), **named})


def refused(answer: TestResponse, project: Project, words: str, status: int = 403) -> None:
    assert answer.status_code == status, answer.text
    assert words in answer.get_json()["error"]["message"]
    assert promotions.history(project.folder) == [BEFORE, CURRENT]


def test_the_form_alone_gets_as_far_as_label_studio(client: FlaskClient, project: Project) -> None:
    """Which does not answer here: nothing is changed then, and the answer says so in one line."""
    form = form_of(client.get(PAGE, headers=login("operator")))
    refused(post(client, form, Origin=SITE, Sec_Fetch_Site="same-origin"), project, "Label Studio", 502)


@pytest.mark.parametrize("token", [None, "", "nonsense", "a.b.c"])
def test_a_form_without_a_true_token_is_refused(client: FlaskClient, project: Project, token: str | None) -> None:
    form = form_of(client.get(PAGE, headers=login("operator")))
    changed = {name: value for name, value in form.items() if name != "token"} | ({"token": token} if token else {})
    refused(post(client, changed), project, "token is missing, wrong")


def test_a_token_is_its_users_alone(client: FlaskClient, project: Project) -> None:
    form = form_of(client.get(PAGE, headers=login("winnow")))
    refused(post(client, form, "operator"), project, "another user's or browser's")


def test_a_token_is_its_browsers_alone(client: FlaskClient, project: Project) -> None:
    form = form_of(client.get(PAGE, headers=login("operator")))
    client.delete_cookie(csrf.COOKIE, path="/dashboard/")
    refused(post(client, form), project, "another user's or browser's")


def test_a_token_of_another_installation_is_none(client: FlaskClient, project: Project) -> None:
    form = form_of(client.get(PAGE, headers=login("operator")))
    head, _, signature = form["token"].rpartition(".")
    refused(post(client, {**form, "token": f"{head}.{signature[::-1]}"}), project, "token is missing, wrong")


class Before(TimestampSigner):
    """Signs as an hour ago."""

    def get_timestamp(self) -> int:
        return super().get_timestamp() - csrf.AGE - 2


def test_a_token_is_good_for_an_hour(client: FlaskClient, project: Project, settings: Settings) -> None:
    form = form_of(client.get(PAGE, headers=login("operator")))
    serializer, old = csrf._serializer(settings), csrf._serializer(settings)
    old.signer = Before
    refused(post(client, {**form, "token": str(old.dumps(serializer.loads(form["token"])))}), project, "older than an")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": SITE, "Sec_Fetch_Site": "cross-site"},
    ],
)
def test_another_site_is_refused(client: FlaskClient, project: Project, headers: dict[str, str]) -> None:
    form = form_of(client.get(PAGE, headers=login("operator")))
    refused(post(client, form, **headers), project, "another site")


def test_a_viewer_is_refused_whatever_the_form(client: FlaskClient, project: Project) -> None:
    form = form_of(client.get(PAGE, headers=login("operator")))
    refused(post(client, form, "viewer"), project, "viewer may read the dashboard")


def test_a_page_of_before_another_change_is_refused(client: FlaskClient, project: Project, history: Path) -> None:
    form = form_of(client.get(PAGE, headers=login("operator")))
    assert form["current"] == CURRENT
    answer = post(client, {**form, "current": BEFORE})
    refused(answer, project, f"{CURRENT} proposes by now", 409)


def test_the_cookie_stays_on_the_site(client: FlaskClient) -> None:
    cookie = client.get(PAGE, headers=login("operator")).headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/dashboard/"):
        assert part in cookie


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/projects/7/adapters/base/promote",
        "/dashboard/projects/7/adapters/../promote",
        "/dashboard/projects/7/adapters/ABC/promote",
        f"/dashboard/projects/7/adapters/{BEFORE}/remove",
        f"/dashboard/projects/99/adapters/{BEFORE}/promote",
    ],
)
def test_what_is_no_adapter_or_no_change_is_not_found(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers=login("operator")).status_code == 404
    assert client.post(path, headers=login("operator")).status_code == 404
