"""Without authentication: this machine alone, whatever a browser was led to; and what every answer tells browsers."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from redis import Redis

from label_configs.errors import ConfigError
from ml_backend.app import create_app
from ml_backend.experiment import Project
from ml_backend.settings import Settings, is_loopback, load_settings


@pytest.fixture
def trusting(settings: Settings, redis: Redis) -> FlaskClient:
    """Of a web process that asks nobody."""
    return create_app(settings.model_copy(update={"authentication": False}), redis).test_client()


def test_nobody_is_asked_on_the_machine_itself(trusting: FlaskClient, project: Project) -> None:
    for host in ("127.0.0.1:9090", "localhost:9090", "[::1]:9090"):
        assert trusting.get("/versions", headers={"Host": host}).status_code == 200
    assert trusting.post("/setup", json={"project": "7"}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090", "127.0.0.1.evil.example", "192.0.2.1"])
def test_a_page_elsewhere_leads_nobody_here(trusting: FlaskClient, host: str) -> None:
    """Its name may lead a browser to 127.0.0.1, but the browser says which name that was."""
    answer = trusting.get("/versions", headers={"Host": host})
    assert answer.status_code == 403
    assert "is not this machine" in answer.get_json()["error"]["message"]


def test_the_public_name_is_ours(settings: Settings, redis: Redis) -> None:
    named = settings.model_copy(update={"authentication": False, "public_url": "http://winnow.internal:80"})
    client = create_app(named, redis).test_client()
    assert client.get("/versions", headers={"Host": "winnow.internal"}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "winnow.example", ""])
def test_it_is_refused_where_others_could_come(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("WINNOW_AUTHENTICATION", "false")
    assert load_settings().authentication is False
    if host:
        monkeypatch.setenv("WINNOW_HOST", host)
        with pytest.raises(ConfigError, match=f"WINNOW_AUTHENTICATION: cannot be false while WINNOW_HOST is {host}; "):
            load_settings()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_these_are_the_machine_itself(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/versions", 401), ("/none", 401), ("/health/x", 401)])
def test_every_answer_has_the_headers(settings: Settings, redis: Redis, path: str, status: int) -> None:
    answer = create_app(settings, redis).test_client().get(path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_refusals_keep_what_http_wants_of_them(trusting: FlaskClient) -> None:
    assert set(trusting.get("/setup").headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
