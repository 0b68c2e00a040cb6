"""openapi.yaml describes the application: its routes, its examples, its answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from redis import Redis

from ml_backend.app import create_app
from ml_backend.experiment import Project
from ml_backend.openapi import description
from ml_backend.proposing import Plan
from ml_backend.settings import Settings
from tests.unit.ml_backend.described import conforms, validator
from trainer.dashboard.blueprint import DASHBOARD_PAGES

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def client(settings: Settings, redis: Redis) -> FlaskClient:
    return create_app(settings, redis, [DASHBOARD_PAGES]).test_client()


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in description()["paths"].items():
        yield from ((path, method, item[method]) for method in METHODS if method in item)


def examples() -> Iterator[Any]:
    """Each example's value with the place of its schema."""
    for path, method, operation in operations():
        bodies = {("requestBody",): operation.get("requestBody", {})}
        bodies |= {("responses", status): answer for status, answer in operation["responses"].items()}
        for steps, body in bodies.items():
            for kind, content in body.get("content", {}).items():
                for name, example in content.get("examples", {}).items():
                    place = ("paths", path, method, *steps, "content", kind, "schema")
                    yield pytest.param(place, example["value"], id=f"{method} {path} {'-'.join(steps)} {name}")


def test_it_has_the_routes_of_the_application(client: FlaskClient) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.rule.startswith("/dashboard/") or rule.rule.startswith("/dashboard/api/")  # others are pages
    }
    assert {(path, method) for path, method, _ in operations()} == routes


def test_it_is_served_without_a_login(client: FlaskClient) -> None:
    answer = client.get("/openapi.json")
    conforms(answer)
    assert answer.get_json() == description()
    assert answer.get_json()["openapi"].startswith("3.1.")


def test_its_version_is_the_packages() -> None:
    assert description()["info"]["version"] == version("label-studio-winnow")


@pytest.mark.parametrize(("place", "value"), [*examples()])
def test_the_examples_are_valid(place: tuple[str, ...], value: Any) -> None:
    validator(*place).validate(value)


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    found = 0
    for part in parts(description()):
        if "$ref" in part:
            target: Any = description()
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            found += 1
        if isinstance(part.get("schema"), dict):
            Draft202012Validator.check_schema(part["schema"])
    assert found > 20
    for schema in description()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in it."""
    if isinstance(value, dict):
        yield value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(below)


def test_operations_have_names_of_their_own_and_say_who_may_ask() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    schemes = description()["components"]["securitySchemes"]
    for path, _, operation in operations():
        security = operation.get("security", description()["security"])
        assert {name for one in security for name in one} <= set(schemes)
        assert (security == []) == (path in ("/health", "/openapi.json"))
        assert security == [] or "401" in operation["responses"]


def test_the_applications_answers_are_as_described(client: FlaskClient, settings: Settings, project: Project) -> None:
    assert settings.password
    login = (settings.username, settings.password.get_secret_value())
    task = {"id": 1, "data": {"text": "ship", "candidates": []}}
    seen = {}
    for method, path, body in (
        ("GET", "/health", None),
        ("GET", "/versions", None),
        ("GET", "/metrics", None),
        ("GET", "/projects/7/prelabel", None),
        ("GET", "/projects/7/prelabel?state=none-such", None),
        ("GET", "/projects/99/prelabel", None),
        ("GET", "/dashboard/api/projects", None),
        ("GET", "/dashboard/api/projects/7", None),
        ("GET", "/dashboard/api/projects/99", None),
        ("POST", "/setup", {"project": "7.1"}),
        ("POST", "/setup", {"project": "99"}),
        ("POST", "/setup", {}),
        ("POST", "/predict", {"project": "7.1", "tasks": [task]}),
        ("POST", "/predict", {"project": "7.1", "tasks": 3}),
        ("POST", "/webhook", {"action": "PROJECT_UPDATED", "project": {"id": 7}}),
        ("POST", "/webhook", {}),
    ):
        answer = client.open(path, method=method, json=body, auth=login)
        conforms(answer)
        seen[path, answer.status_code] = answer
    assert sorted(seen) == [
        ("/dashboard/api/projects", 200), ("/dashboard/api/projects/7", 200), ("/dashboard/api/projects/99", 404),
        ("/health", 200), ("/metrics", 200), ("/predict", 200), ("/predict", 400), ("/projects/7/prelabel", 200),
        ("/projects/7/prelabel?state=none-such", 400), ("/projects/99/prelabel", 404), ("/setup", 200),
        ("/setup", 400), ("/setup", 404), ("/versions", 200), ("/webhook", 200), ("/webhook", 400),
    ]  # fmt: skip
    assert seen["/setup", 200].get_json()["model_version"] == Plan.of(project).version


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", "/versions", "/metrics", "/projects/7/prelabel",
                                  "/dashboard/api/projects", "/dashboard/api/projects/7"])  # fmt: skip
def test_refusals_are_as_described(client: FlaskClient, path: str) -> None:
    method = "POST" if path in ("/setup", "/predict", "/webhook") else "GET"
    conforms(client.open(path, method=method))


def test_what_is_not_described_is_noticed() -> None:
    schema = validator("components", "schemas", "Job")
    job = {"job": "x", "status_url": "/classify/x", "state": "queued", "documents": 1, "done": 0, "workers": 0}
    assert schema.is_valid(job)
    for wrong in ({**job, "state": "done"}, {**job, "state": "failed"}, {**job, "results": []}, {**job, "x": 1}):
        assert not schema.is_valid(wrong)
