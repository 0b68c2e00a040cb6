"""The same proposals under label-studio-ml, 1.0.9 or 2.x, whichever is installed."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis

from label_configs import wire
from label_configs.errors import ConfigError
from label_configs.records import Document
from label_configs.render import render_label_config
from ml_backend import _wsgi, changed_projects, proposal_cache
from ml_backend.experiment import Project
from ml_backend.proposing import Plan
from ml_backend.pushing import candidates_of
from ml_backend.settings import Settings
from ml_backend.sources.fake import FakeSource

os.environ["MODEL_DIR"] = tempfile.mkdtemp(prefix="label-studio-ml-")  # 2.x opens its cache when it is imported

from label_studio_ml import api

from ml_backend.model import WinnowModel

IS_2X = "basic_auth_user" in inspect.signature(api.init_app).parameters
SCRIPT = Path(__file__).parents[3] / "ml_backend" / "_wsgi.py"


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """WinnowModel reads its settings itself: label-studio-ml builds it."""
    assert settings.redis_url
    monkeypatch.setenv("WINNOW_HOME", str(settings.home))
    monkeypatch.setenv("WINNOW_REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setenv("WINNOW_PREDICT_DEADLINE_SECONDS", "0.3")


@pytest.fixture
def tasks(project: Project, redis: Redis) -> list[dict[str, Any]]:
    """Two tasks with stored proposals, served with their candidates."""
    plan = Plan.of(project)
    made = []
    for number, text in enumerate(("ship ship", "grain"), 1):
        document = Document(f"d{number}", text, number)
        proposals = FakeSource("words", plan.names[0][1], project.codebook).propose([document])
        proposal_cache.put_proposals(redis, project.codebook.fingerprint, [(document, proposals[0])])
        shown = candidates_of(project, plan.candidates(document, proposals))
        made.append({"id": number, "project": 7, "data": wire.task_data(document, form=project.form) | shown})
    return made


@pytest.fixture
def config(project: Project) -> str:
    return render_label_config(project.codebook, project.form)


class Served:
    """label-studio-ml's application with WinnowModel, bare and as ``_wsgi`` dresses it."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        self._client = client
        self._headers = headers

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._client.post(path, json=body, headers=self._headers)
        assert answer.status_code in (200, 201), answer.text
        found = answer.get_json()
        assert isinstance(found, dict)
        return found


def bare(tmp_path: Path) -> Flask:
    """A fresh application: label-studio-ml keeps one per process, which the tests of ``_wsgi`` dress."""
    options = {} if IS_2X else {"model_dir": str(tmp_path / "models")}
    original: Flask = api.init_app(WinnowModel, **options)
    app = Flask("bare")
    for rule in original.url_map.iter_rules():
        if rule.endpoint != "static" and rule.endpoint in PRISTINE:
            app.add_url_rule(rule.rule, rule.endpoint, PRISTINE[rule.endpoint], methods=rule.methods)
    return app


PRISTINE = dict(api._server.view_functions)


@pytest.fixture
def plain(tmp_path: Path) -> Served:
    return Served(bare(tmp_path).test_client(), {})


@pytest.fixture
def dressed(settings: Settings) -> Iterator[FlaskClient]:
    with _wsgi.application(settings).test_client() as client:
        yield client


def login(settings: Settings) -> tuple[str, str]:
    assert settings.password
    return settings.username, settings.password.get_secret_value()


def test_the_class_is_what_label_studio_ml_serves() -> None:
    assert issubclass(WinnowModel, api.LabelStudioMLBase if IS_2X else WinnowModel.__mro__[1])
    assert WinnowModel.__mro__[1].__name__ == "LabelStudioMLBase"


def test_label_studio_mls_own_manager_predicts(
    plain: Served, project: Project, tasks: list[dict[str, Any]], config: str
) -> None:
    plan = Plan.of(project)
    setup = plain.post("/setup", {"project": "7.1", "schema": config, "hostname": "", "access_token": ""})
    if IS_2X:
        assert setup == {"model_version": plan.version}
    late = {"id": 3, "project": 7, "data": {"text": "nobody has seen this", "candidates": []}}
    body = {"tasks": [*tasks, late], "project": "7.1", "label_config": config, "params": {"context": None}}
    results = plain.post("/predict", body)["results"]
    assert [len(r) for r in results] == [1, 1, 0]
    for task, (prediction,) in zip(tasks, results, strict=False):
        assert prediction["model_version"] == plan.version
        wire.validate_prediction(project.codebook, prediction, project.form)
        assert prediction["result"], task


def test_label_studio_mls_own_webhook_notes_the_change(
    plain: Served, project: Project, redis: Redis, config: str
) -> None:
    plain.post("/setup", {"project": "7.1", "schema": config})
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 7, "label_config": config}, "annotation": {"id": 1}}
    plain.post("/webhook", event)
    # 1.0.9 runs fit in a process of its own, which imports torch first.
    assert changed_projects.wait_changed(redis, 60) == {7}


def test_fit_takes_both_interfaces_and_ignores_the_rest(project: Project, redis: Redis, config: str) -> None:
    model = WinnowModel(project_id="7", label_config=config) if IS_2X else WinnowModel(label_config=config)
    data = {"project": {"id": 7}}
    assert model.fit("ANNOTATION_CREATED", data) == {}
    assert changed_projects.wait_changed(redis, 1) == {7}
    assert model.fit((), event="START_TRAINING", data={"project": 7}, job_id="1", workdir="x") == {}
    assert changed_projects.wait_changed(redis, 1) == {7}
    for arguments, keywords in (((), {}), (((), "workdir"), {}), (("PROJECT_UPDATED", data), {})):
        assert model.fit(*arguments, **keywords) == {}
    assert changed_projects.wait_changed(redis, 0.1) == set()


def test_predict_without_a_project_is_told(project: Project, config: str) -> None:
    model = WinnowModel(project_id="7", label_config=config) if IS_2X else WinnowModel(label_config=config)
    assert model.predict([]) == []
    model.project_id = None
    with pytest.raises(ConfigError, match="neither model nor task names the project"):
        model.predict([{"id": 1, "data": {"text": "x"}}])


def test_winnows_own_views_answer_for_setup_and_webhook(
    dressed: FlaskClient, settings: Settings, project: Project, redis: Redis, config: str
) -> None:
    answer = dressed.post("/setup", json={"project": "7.1", "schema": config}, auth=login(settings))
    assert answer.get_json() == {"model_version": Plan.of(project).version}
    assert settings.webhook_token
    headers = {"Authorization": f"Bearer {settings.webhook_token.get_secret_value()}"}
    event = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}], "project": {"id": 7, "token": "secret-token"}}
    assert dressed.post("/webhook", json=event, headers=headers).status_code == 200
    assert changed_projects.wait_changed(redis, 1) == {7}
    files = [path for path in settings.home.rglob("*") if path.is_file()]
    assert not any(b"secret-token" in path.read_bytes() for path in files)


def test_predictions_need_the_login(
    dressed: FlaskClient, settings: Settings, project: Project, tasks: list[dict[str, Any]], config: str
) -> None:
    body = {"tasks": tasks, "project": "7.1", "label_config": config, "params": {}}
    dressed.post("/setup", json={"project": "7.1", "schema": config}, auth=login(settings))
    refused = dressed.post("/predict", json=body)
    assert refused.status_code == 401
    assert refused.get_json()["error"]["code"] == "unauthorized"
    if not IS_2X:  # predicts with the model that /setup of its own manager made
        api._manager.fetch("7.1", config)
    answer = dressed.post("/predict", json=body, auth=login(settings))
    assert [len(r) for r in answer.get_json()["results"]] == [1, 1]
    assert dressed.get("/health").status_code == 200


def test_it_starts_as_label_studio_ml_starts_it(settings: Settings, project: Project, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(SCRIPT), "--port", str(port), "--log-level", "INFO"]
    environment = {name: value for name, value in os.environ.items() if name != "MODEL_DIR"}
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            assert _health(port, process) == b"UP", log.seek(0) or log.read()
        finally:
            process.terminate()
            process.wait(timeout=10)
    assert not list(tmp_path.glob("*.db")), "2.x keeps its cache in the home folder"
    assert (settings.home / "label-studio-ml" / "cache.db").exists() == IS_2X


def _health(port: int, process: subprocess.Popen[bytes]) -> bytes:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                return b"UP" if b"UP" in answer.read() else b""
        except urllib.error.URLError:
            try:
                process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            break
    return b""


def test_a_wrong_setting_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_PORT", "0")
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("environment: WINNOW_PORT: ")
    assert done.stderr.count("\n") == 1
