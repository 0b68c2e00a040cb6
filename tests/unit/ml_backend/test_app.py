"""The web process as Label Studio, and anybody else, sees it."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from redis import Redis
from rq.results import Result
from werkzeug.test import TestResponse

from label_configs import wire
from label_configs.forms import ReviewForm
from label_configs.records import Document
from label_configs.render import render_label_config
from ml_backend import changed_projects, queue
from ml_backend.app import MAX_BODY, create_app
from ml_backend.experiment import Project, Review
from ml_backend.prelabel_progress import TaskState, move_tasks, start_prelabel
from ml_backend.proposing import Plan
from ml_backend.pushing import candidates_of
from ml_backend.registered_projects import load_project, register
from ml_backend.round_queue import ROUND_JOB
from ml_backend.settings import Settings
from ml_backend.sources.fake import FakePool, FakeSource

POSTS = ("/setup", "/predict", "/webhook")


@pytest.fixture
def client(settings: Settings, redis: Redis) -> FlaskClient:
    return create_app(settings, redis).test_client()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def login(settings: Settings) -> dict[str, str]:
    assert settings.password
    return basic(settings.username, settings.password.get_secret_value())


@pytest.fixture
def bearer(settings: Settings) -> dict[str, str]:
    assert settings.webhook_token
    return {"Authorization": "Bearer " + settings.webhook_token.get_secret_value()}


def refused(answer: TestResponse, status: int, code: str) -> str:
    """Checks the one shape of every error and returns its message."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    body = answer.get_json()
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["code", "message"]
    assert body["error"]["code"] == code
    assert "Traceback" not in answer.text
    assert "\n" not in body["error"]["message"]
    return str(body["error"]["message"])


def task(number: int, text: str, project: Project, plan: Plan | None = None) -> dict[str, Any]:
    """A task as Label Studio sends it; with ``plan``, as it was served with its candidates."""
    document = Document(f"d{number}", text, number)
    data = wire.task_data(document, form=project.form)
    if plan is not None:
        made = FakeSource("words", plan.names[0][1], project.codebook).propose([document])
        data |= candidates_of(project, plan.candidates(document, made))
    return {"id": number, "project": project.id, "data": data, "predictions": [], "annotations": []}


def propose(redis: Redis, project: Project, *tasks: dict[str, Any]) -> None:
    documents = [wire.document(one) for one in tasks]
    plan = Plan.of(project)
    plan.propose(redis, documents, FakePool())


# --- who may ask ----------------------------------------------------------------------------------------------------


def test_health_needs_no_login_and_says_nothing_of_the_installation(client: FlaskClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.get_json() == {"status": "UP", "model_class": "Winnow"}


@pytest.mark.parametrize(("method", "path"), [*(("POST", p) for p in POSTS), ("GET", "/versions"), ("GET", "/metrics")])
def test_everything_else_does(client: FlaskClient, settings: Settings, method: str, path: str) -> None:
    assert settings.password
    password = settings.password.get_secret_value()
    for headers in (
        {},
        basic("winnow", "wrong"),
        basic("somebody", password),
        basic("", ""),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"no colon").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode()},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {password}"},
        {"Authorization": "Digest username=winnow"},
        {"Authorization": "nonsense"},
    ):
        answer = client.open(path, method=method, headers=headers)
        refused(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="Winnow"'


def test_the_bearer_token_opens_the_webhook_alone(
    client: FlaskClient, login: dict[str, str], bearer: dict[str, str]
) -> None:
    payload = {"action": "PROJECT_UPDATED", "project": {"id": 7}}
    assert client.post("/webhook", json=payload, headers=bearer).status_code == 200
    assert client.post("/webhook", json=payload, headers=login).status_code == 200
    for path in ("/setup", "/predict"):
        refused(client.post(path, json={"project": "7"}, headers=bearer), 401, "unauthorized")
    refused(client.get("/versions", headers=bearer), 401, "unauthorized")


def test_a_user_name_beyond_ascii_works(settings: Settings, redis: Redis) -> None:
    named = settings.model_copy(update={"username": "Zoë", "password": SecretStr("pä:ss")})
    client = create_app(named, redis).test_client()
    assert client.get("/versions", headers=basic("Zoë", "pä:ss")).status_code == 200


# --- what is wrong with a request -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"null", b"7", b"\xff\xfe", b'{"a": NaN', b"9" * 5000],
    ids=lambda body: repr(body[:10]),
)
def test_what_is_no_json_object_is_refused(client: FlaskClient, login: dict[str, str], path: str, body: bytes) -> None:
    refused(client.post(path, data=body, content_type="application/json", headers=login), 400, "bad-request")


@pytest.mark.parametrize("path", POSTS)
def test_deep_json_is_refused(client: FlaskClient, login: dict[str, str], path: str) -> None:
    body = b"[" * 200_000 + b"]" * 200_000
    message = refused(client.post(path, data=body, content_type="application/json", headers=login), 400, "bad-request")
    assert "nested too deeply" in message


@pytest.mark.parametrize("path", POSTS)
def test_other_content_is_refused(client: FlaskClient, login: dict[str, str], path: str) -> None:
    answer = client.post(path, data="a=b", content_type="application/x-www-form-urlencoded", headers=login)
    refused(answer, 415, "unsupported-media-type")


def test_a_huge_body_is_refused_unread(client: FlaskClient, login: dict[str, str]) -> None:
    assert client.application.config["MAX_CONTENT_LENGTH"] == MAX_BODY
    client.application.config["MAX_CONTENT_LENGTH"] = 1000
    for path in POSTS:
        answer = client.post(path, json={"project": "7", "tasks": ["x" * 1000]}, headers=login)
        refused(answer, 413, "request-entity-too-large")


def test_unknown_paths_and_methods_have_the_same_shape(client: FlaskClient, login: dict[str, str]) -> None:
    refused(client.get("/nothing", headers=login), 404, "not-found")
    refused(client.get("/nothing"), 401, "unauthorized")
    refused(client.get("/predict", headers=login), 405, "method-not-allowed")


@pytest.mark.parametrize("path", ["/setup", "/predict"])
def test_an_unknown_project_is_told(client: FlaskClient, login: dict[str, str], path: str) -> None:
    message = refused(client.post(path, json={"project": "99.17", "tasks": []}, headers=login), 404, "not-found")
    assert message == "project 99: not known to Winnow; run `winnow init --project 99`"


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("project", [None, True, "", "seven", "../7", [7], 10**400, {"no": "id"}])
def test_what_is_no_project_is_refused(client: FlaskClient, login: dict[str, str], path: str, project: Any) -> None:
    body = {"action": "ANNOTATION_CREATED", "project": project, "tasks": []}
    refused(client.post(path, json=body, headers=login), 400, "wire")


@pytest.mark.parametrize("tasks", [None, {}, "x", [1], [[]], [None]])
def test_what_are_no_tasks_is_refused(client: FlaskClient, login: dict[str, str], project: Project, tasks: Any) -> None:
    refused(client.post("/predict", json={"project": "7", "tasks": tasks}, headers=login), 400, "wire")


def test_a_broken_project_is_our_fault_not_the_callers(
    client: FlaskClient, login: dict[str, str], project: Project
) -> None:
    (project.folder / "winnow.yaml").write_text("sorces: []")
    message = refused(client.post("/setup", json={"project": "7"}, headers=login), 500, "config")
    assert "nearest valid key: 'sources'" in message


def test_redis_away_is_told_without_its_password(settings: Settings, login: dict[str, str], project: Project) -> None:
    gone = settings.model_copy(update={"redis_url": SecretStr("redis://:hunter2@127.0.0.1:1/0")})
    client = create_app(gone, queue.client(gone)).test_client()
    body = {"action": "ANNOTATION_CREATED", "project": {"id": 7}}
    for answer in (
        client.post("/webhook", json=body, headers=login),
        client.post("/predict", json={"project": "7", "tasks": [task(1, "x", project)]}, headers=login),
        client.get("/metrics", headers=login),
    ):
        assert "hunter2" not in refused(answer, 503, "queue")
    assert client.get("/health").status_code == 200


def test_an_unexpected_error_is_logged_and_not_shown(
    client: FlaskClient,
    login: dict[str, str],
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(project: Project) -> Plan:
        raise RuntimeError("the inside of it")

    monkeypatch.setattr(Plan, "of", broken)
    with caplog.at_level(logging.ERROR):
        answer = client.post("/setup", json={"project": "7"}, headers=login)
    message = refused(answer, 500, "internal")
    assert "inside" not in message
    assert "the inside of it" in caplog.text


# --- what it answers ------------------------------------------------------------------------------------------------


def test_setup_gives_the_version_that_predictions_have(
    client: FlaskClient, login: dict[str, str], project: Project
) -> None:
    body = {"project": "7.1717171717", "schema": "<View/>", "hostname": "", "access_token": "x", "extra_params": None}
    answer = client.post("/setup", json=body, headers=login)
    assert answer.get_json() == {"model_version": Plan.of(project).version}


def predicted(client: FlaskClient, login: dict[str, str], *tasks: dict[str, Any]) -> list[list[dict[str, Any]]]:
    settings, _ = client.application.extensions["winnow"]
    project = load_project(settings.home, 7)
    xml = render_label_config(project.codebook, project.form)
    body = {"tasks": list(tasks), "project": "7.1", "label_config": xml, "params": {"context": None}}
    answer = client.post("/predict", json=body, headers=login)
    assert answer.status_code == 200, answer.text
    results = answer.get_json()["results"]
    assert isinstance(results, list)
    assert len(results) == len(tasks)
    return results


def test_nothing_is_answered_to_a_label_config_that_no_longer_fits(
    client: FlaskClient, login: dict[str, str], project: Project
) -> None:
    key = project.codebook.codes[0].key
    xml = render_label_config(project.codebook, project.form).replace(f'alias="{key}"', 'alias="renamed"')
    body = {"tasks": [], "project": "7", "label_config": xml, "params": {}}
    message = refused(client.post("/predict", json=body, headers=login), 409, "label-config")
    assert f"lacks the codes {key} and has the codes renamed" in message


def test_stored_proposals_are_answered_at_once(
    client: FlaskClient, login: dict[str, str], redis: Redis, project: Project
) -> None:
    plan = Plan.of(project)
    tasks = [task(1, "ship ship", project, plan), task(2, "grain", project, plan)]
    propose(redis, project, *tasks)
    started = time.monotonic()
    results = predicted(client, login, *tasks)
    assert time.monotonic() - started < 0.3
    for one, (prediction,) in zip(tasks, results, strict=True):
        assert prediction["model_version"] == plan.version
        (made,) = plan.ready(redis, [wire.document(one)])
        assert made is not None
        shown = plan.candidates(wire.document(one), made)
        wire.validate_prediction(project.codebook, prediction, project.form, shown)
    assert queue.queue(redis, queue.PROPOSE).count == 0


def test_what_is_not_ready_is_an_empty_list_and_will_be_pushed(
    client: FlaskClient, login: dict[str, str], redis: Redis, project: Project
) -> None:
    plan = Plan.of(project)
    ready, late = task(1, "ship", project, plan), task(2, "a late tanker", project, plan)
    broken: dict[str, Any] = {"id": 3, "data": {"title": "no text"}}
    half: dict[str, Any] = {"id": 4, "data": {"text": "half \ud800 of a pair"}}
    propose(redis, project, ready)
    results = predicted(client, login, late, ready, broken, half)
    assert [len(r) for r in results] == [0, 1, 0, 0]
    jobs = queue.queue(redis, queue.PROPOSE).jobs
    assert [(job.func_name, list(job.args)) for job in jobs] == [
        ("ml_backend.jobs.propose_tasks", [7, [2]]),
        ("ml_backend.jobs.prelabel_chunk", [7, [2], "review"]),
    ]
    predicted(client, login, late)
    assert len(queue.queue(redis, queue.PROPOSE).job_ids) == 2, "asking again enqueues nothing twice"


def test_waiting_ends_when_the_worker_is_done(
    settings: Settings, login: dict[str, str], redis: Redis, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = settings.model_copy(update={"predict_deadline_seconds": 30.0})
    client = create_app(patient, redis).test_client()
    asked = task(1, "ship and grain", project, Plan.of(project))
    worker = threading.Thread(target=work_once, args=(patient, project, asked))
    worker.start()
    started = time.monotonic()
    (prediction,) = predicted(client, login, asked)
    assert prediction
    assert time.monotonic() - started < 15
    worker.join(timeout=10)


def work_once(settings: Settings, project: Project, asked: dict[str, Any]) -> None:
    """Stands in for a propose worker: waits for the job, stores the proposals and the job's result."""
    redis = queue.connect(settings)
    line = queue.queue(redis, queue.PROPOSE)
    while line.count == 0:
        threading.Event().wait(0.02)
    propose(redis, project, asked)
    job = line.jobs[0]
    Result.create(job, Result.Type.SUCCESSFUL, ttl=60, return_value=1)


def test_candidates_that_the_page_does_not_show_are_not_ticked(
    client: FlaskClient, login: dict[str, str], redis: Redis, project: Project
) -> None:
    stale = task(1, "ship", project)
    propose(redis, project, stale)
    assert predicted(client, login, stale) == [[]]
    (job,) = queue.queue(redis, queue.PROPOSE).jobs
    assert (job.func_name, list(job.args)) == ("ml_backend.jobs.prelabel_chunk", [7, [1], "review"])


def test_a_coded_task_is_left_alone(client: FlaskClient, login: dict[str, str], redis: Redis, project: Project) -> None:
    coded = {**task(1, "ship", project), "is_labeled": True}
    propose(redis, project, coded)
    assert predicted(client, login, coded) == [[]]
    assert queue.queue(redis, queue.PROPOSE).count == 0


def test_the_whole_form_needs_no_candidates_in_the_task(
    client: FlaskClient, login: dict[str, str], redis: Redis, project: Project
) -> None:
    experiment = project.experiment.__class__("small", project.experiment.sources, review=Review(ReviewForm.WHOLE))
    whole = register(project.home, 7, experiment, project.codebook)
    asked = {"id": 1, "data": {"text": "ship"}}
    propose(redis, whole, asked)
    ((prediction,),) = predicted(client, login, asked)
    assert prediction["result"][0]["value"]["choices"] == ["ship"]


def test_no_tasks_have_no_predictions(client: FlaskClient, login: dict[str, str], project: Project) -> None:
    assert predicted(client, login) == []


def test_no_text_of_a_document_reaches_redis(
    client: FlaskClient, login: dict[str, str], redis: Redis, project: Project
) -> None:
    predicted(client, login, task(1, "confidential cargo of the Aurora", project))
    kept = b"".join(redis.dump(key) or b"" for key in redis.scan_iter())
    assert b"job" in kept or kept
    for word in (b"confidential", b"Aurora"):
        assert word not in kept


@pytest.mark.parametrize("action", ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED"])
def test_a_webhook_about_annotations_is_noted(
    client: FlaskClient, bearer: dict[str, str], redis: Redis, project: Project, action: str
) -> None:
    payload = {"action": action, "project": {"id": 7, "token": "secret"}, "annotation": {"id": 1}}
    started = time.monotonic()
    answer = client.post("/webhook", json=payload, headers=bearer)
    assert time.monotonic() - started < 0.2
    assert answer.get_json() == {"status": "noted"}
    assert changed_projects.wait_changed(redis, 1) == {7}


def test_start_training_enqueues_a_round_once(
    client: FlaskClient, bearer: dict[str, str], redis: Redis, project: Project
) -> None:
    for _ in range(2):
        assert (
            client.post("/webhook", json={"action": "START_TRAINING", "project": 7}, headers=bearer).status_code == 200
        )
    (job,) = queue.queue(redis, queue.TRAIN).jobs
    assert (job.func_name, list(job.args), job.timeout) == (ROUND_JOB, [7, False], 25 * 3600)


def test_webhooks_of_other_projects_and_other_matters_leave_no_trace(
    client: FlaskClient, bearer: dict[str, str], redis: Redis, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for payload in (
        {"action": "ANNOTATION_CREATED", "project": {"id": 99, "token": "secret-token"}},
        {"action": "START_TRAINING", "project": 99},
        {"action": "PROJECT_UPDATED", "project": {"id": 7, "task_data_password": "secret-token"}},
    ):
        assert client.post("/webhook", json=payload, headers=bearer).status_code == 200
    assert [key for key in redis.scan_iter() if not key.startswith(b"winnow:logins:known:")] == []
    assert "secret-token" not in caplog.text


def test_versions_and_metrics_tell_what_is_in_force(
    client: FlaskClient, login: dict[str, str], redis: Redis, project: Project
) -> None:
    plan = Plan.of(project)
    start_prelabel(redis, 7, plan.version, range(20))
    move_tasks(redis, 7, TaskState.DONE, range(16))
    move_tasks(redis, 7, TaskState.FAILED, [16])
    queue.enqueue(redis, queue.PROPOSE, "builtins.abs", [1], job_id="one", timeout=9)
    found = client.get("/versions", headers=login).get_json()
    assert found == {
        "versions": [plan.version],
        "projects": {"7": {"review": plan.version, "sources": {"words": "words/fake@base"}}},
    }
    text = client.get("/metrics", headers=login).text
    assert 'winnow_jobs{queue="winnow-propose",state="queued"} 1.0' in text
    assert 'winnow_prelabel_tasks{project="7",state="done"} 16.0' in text
    assert 'winnow_prelabel_tasks{project="7",state="failed"} 1.0' in text


@pytest.mark.parametrize("module", ["ml_backend.app", "trainer.worker", "trainer.jobs", "trainer.scheduler"])
def test_torch_is_not_loaded(module: str) -> None:
    program = f"import sys, {module}; print(*(m for m in ('torch', 'transformers', 'peft') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_answers_are_plain_json(client: FlaskClient) -> None:
    assert json.loads(client.get("/health").data)["status"] == "UP"
