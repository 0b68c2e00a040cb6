"""How large and how deep a body may be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from redis import Redis

from ml_backend import app as web
from ml_backend import json_body
from ml_backend.app import create_app
from ml_backend.experiment import Project
from ml_backend.json_body import MAX_DEPTH, is_deeper
from ml_backend.settings import Settings

LOGIN = {"Authorization": "Basic d2lubm93OnA="}  # winnow:p


@pytest.fixture
def client(settings: Settings, redis: Redis) -> FlaskClient:
    return create_app(settings.model_copy(update={"password": SecretStr("p")}), redis).test_client()


def nested(depth: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value, "b": []}
    return value


@pytest.mark.parametrize("kind", [list, dict])
def test_depth_is_counted_exactly(kind: type) -> None:
    assert not is_deeper(nested(5, kind), 5 + (kind is dict))
    assert is_deeper(nested(5, kind), 4)
    assert not is_deeper("plain", 1)
    assert not is_deeper([], 1)
    assert is_deeper([[]], 1)


def test_a_body_may_be_as_deep_as_is_said(client: FlaskClient, project: Project) -> None:
    for depth, status in ((MAX_DEPTH - 1, 200), (MAX_DEPTH, 400)):
        body = {"action": "X", "project": 7, "more": nested(depth, list)}
        answer = client.post("/webhook", json=body, headers=LOGIN)
        assert answer.status_code == status
    assert "nested too deeply: more than 100 lists or objects" in answer.get_json()["error"]["message"]


@pytest.mark.parametrize("depth", [150, 250, 5000])
def test_classify_refuses_depth_as_well(client: FlaskClient, depth: int) -> None:
    body = b'{"documents": [{"id": "a", "text": "x"}], "codebook": ' + b"[" * depth + b"]" * depth + b"}"
    answer = client.post("/classify", data=body, content_type="application/json", headers=LOGIN)
    assert answer.status_code == 400


def test_each_route_takes_what_it_can_want(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(json_body.SMALLER, "/webhook", 1000)
    body = json.dumps({"action": "X", "project": 7, "more": "x" * 1000})
    for path, status in (("/webhook", 413), ("/setup", 404), ("/predict", 400)):
        answer = client.post(path, data=body, content_type="application/json", headers=LOGIN)
        assert answer.status_code == status, path


def test_too_many_tasks_are_refused(client: FlaskClient, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_TASKS", 3)
    for number, status in ((3, 200), (4, 400)):
        answer = client.post("/predict", json={"project": 7, "tasks": [{"id": 1}] * number}, headers=LOGIN)
        assert answer.status_code == status
    assert answer.get_json()["error"]["message"] == "predict: 4 tasks, more than 3; ask in several calls"
