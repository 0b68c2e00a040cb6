"""Thousands of requests that nobody would send in earnest: no 5xx, no traceback, each refusal in the one shape."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import SecretStr
from redis import Redis
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from werkzeug.test import TestResponse

from label_configs.codebook import Code, Codebook, Kind
from label_configs.render import default_form, render_label_config
from ml_backend import queue
from ml_backend.app import create_app
from ml_backend.experiment import Experiment
from ml_backend.openapi import description
from ml_backend.registered_projects import register
from ml_backend.settings import Settings, with_secrets
from ml_backend.source_config import SourceConfig, SourceKind
from trainer.dashboard.blueprint import DASHBOARD_PAGES
from trainer.dashboard.project_metrics import ProjectCollector

CODES = (Code("ship", "Ships", "Vessels.", "ship"), Code("grain", "Grain", "Wheat.", "grain"))
CODEBOOK = Codebook("small", Kind.EXCLUSIVE, CODES)
LOGIN = {"Authorization": "Basic d2lubm93OnA="}  # winnow:p
SCHEMA = schemathesis.openapi.from_dict(
    description(),
    config=SchemathesisConfig(
        projects=ProjectsConfig(default=ProjectConfig(generation=GenerationConfig(with_security_parameters=False)))
    ),
)
# What is valid by the description may still name no project; that logins are asked for is tested elsewhere.
NOT_ASKED = [positive_data_acceptance, ignored_auth]
HEALTH = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def app(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The web process's application with project 7, whose proposals are never ready in time."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    settings = with_secrets(
        Settings(
            home=tmp_path_factory.mktemp("fuzzed"), redis_url=SecretStr(redis_url), password=SecretStr("p"),
            predict_deadline_seconds=0.001,
        )
    )  # fmt: skip
    register(settings.home, 7, Experiment("small", (SourceConfig("words", SourceKind.FAKE),)), CODEBOOK)
    with queue.client(settings) as redis:
        yield create_app(settings, redis, [DASHBOARD_PAGES], [ProjectCollector(settings.home)])


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    """Sends requests to it."""
    return app.test_client()


@pytest.fixture(autouse=True)
def nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No error is logged with a traceback, whatever the answer said."""
    yield
    assert [one for one in caplog.get_records("call") if one.exc_info or one.levelno >= logging.ERROR] == []


@SCHEMA.parametrize()
@hypothesis.settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=HEALTH)
def test_every_answer_is_as_described(app: Flask, case: Any) -> None:
    if case.path_parameters and len(str(case.path_parameters.get("project_id", ""))) % 2:
        case.path_parameters["project_id"] = 7
    answer = case.call(app=app, headers=LOGIN)
    case.validate_response(answer, transport_kwargs={"app": app}, excluded_checks=NOT_ASKED)
    if answer.status_code >= 400:
        is_refusal(answer.status_code, answer.headers["content-type"][0], answer.json())


def is_refusal(status: int, content_type: str, body: Any) -> None:
    """Checks the one shape."""
    assert 400 <= status < 500, body
    assert content_type == "application/json"
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["code", "message"]
    assert all(body["error"].values())
    told = body["error"]["message"]
    assert "Traceback" not in told
    assert "\n" not in told
    assert len(told) < 2000


# --- bodies that are almost right -----------------------------------------------------------------------------------

TEXTS = st.text(max_size=30) | st.sampled_from(["", "\x00", "\ud800", "../7", "7", "-1", "1e9", "🚢", "a" * 5000, "id"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 7, 2**63, 10**18, 10**400])
PLAIN = st.none() | st.booleans() | NUMBERS | TEXTS
ANYTHING = st.recursive(
    PLAIN, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXTS, inside, max_size=4), max_leaves=12
)
DEEP = st.builds(
    lambda depth, kind: json.loads('{"a":' * depth + "1" + "}" * depth if kind else "[" * depth + "]" * depth),
    st.sampled_from([90, 99, 100, 101, 300]),
    st.booleans(),
)
ODD = ANYTHING | DEEP


def almost(right: dict[str, SearchStrategy[Any]]) -> SearchStrategy[Any]:
    """Objects with these keys, most with a right value, some with another, some without it, some with more keys."""
    mixed = {key: st.one_of(value, value, value, ODD) for key, value in right.items()}
    whole, others = st.fixed_dictionaries(mixed), st.dictionaries(TEXTS, ODD, max_size=2)
    return st.one_of(
        st.fixed_dictionaries({}, optional=mixed),
        whole,
        st.builds(lambda one, more: {**more, **one}, whole, others),
    )


PROJECT_IDS = st.sampled_from([7, "7", "7.1717171717", 99, "99.1"])
EVENTS = almost(
    {
        "action": st.sampled_from(
            ["ANNOTATION_CREATED", "ANNOTATIONS_DELETED", "TASKS_CREATED", "START_TRAINING", "X"]
        ),
        "project": PROJECT_IDS | almost({"id": PROJECT_IDS, "title": TEXTS}),
        "annotation": almost({"id": NUMBERS, "result": st.lists(ODD, max_size=2)}),
        "task": ODD,
    }
)
CANDIDATES = st.lists(almost({"value": TEXTS, "html": TEXTS}), max_size=3)
TASKS = almost(
    {
        "id": st.integers(1, 50),
        "data": almost(
            {"text": TEXTS, "candidates": CANDIDATES, "document_id": TEXTS, "arm": TEXTS, "shown": ODD, "random": ODD}
        ),
        "predictions": st.lists(ODD, max_size=2),
        "annotations": st.lists(ODD, max_size=2),
        "is_labeled": st.booleans(),
        "drafts": ODD,
    }
)
PREDICTS = almost(
    {
        "project": st.just("7.1717171717"),
        "tasks": st.lists(TASKS, max_size=4),
        "label_config": st.sampled_from(
            [render_label_config(CODEBOOK, default_form(CODEBOOK)), "<View/>", "<View", "", None]
        )
        | TEXTS,
        "params": almost({"context": ODD, "login": TEXTS}),
    }
)
fuzzed = hypothesis.settings(max_examples=1000, derandomize=True, deadline=None, suppress_health_check=HEALTH)


def sent(client: FlaskClient, path: str, body: bytes) -> TestResponse:
    """The answer, which is 200 or a refusal."""
    answer = client.post(path, data=body, content_type="application/json", headers=LOGIN)
    if answer.status_code != 200:
        is_refusal(answer.status_code, answer.content_type, answer.get_json())
    return answer


@fuzzed
@hypothesis.given(body=EVENTS | ODD)
def test_webhooks_of_all_kinds(client: FlaskClient, body: Any) -> None:
    answer = sent(client, "/webhook", json.dumps(body).encode())
    assert answer.status_code != 200 or answer.get_json() == {"status": "noted"}


@fuzzed
@hypothesis.given(body=PREDICTS | ODD)
def test_predicts_of_all_kinds(client: FlaskClient, body: Any) -> None:
    answer = sent(client, "/predict", json.dumps(body).encode())
    if answer.status_code == 200:
        results = answer.get_json()["results"]
        assert [type(one) for one in results] == [list] * len(body["tasks"])


@fuzzed
@hypothesis.given(path=st.sampled_from(["/webhook", "/predict", "/setup", "/classify"]), body=st.data())
def test_bodies_that_are_cut_or_mangled(client: FlaskClient, path: str, body: st.DataObject) -> None:
    whole = json.dumps(
        {"action": "ANNOTATION_CREATED", "project": {"id": 7}, "tasks": [{"id": 1, "data": {"text": "ö"}}]}
    )
    at = body.draw(st.integers(0, len(whole)))
    put = body.draw(st.binary(max_size=4) | st.sampled_from([b"NaN", b"1e999", b'"\\ud800"', b"\xff\xfe", b"[" * 2000]))
    sent(client, path, whole[:at].encode() + put + body.draw(st.sampled_from([b"", whole[at:].encode()])))
