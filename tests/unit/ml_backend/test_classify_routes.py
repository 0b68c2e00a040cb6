"""POST /classify as another program sees it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from redis import Redis
from werkzeug.test import TestResponse

from label_configs.codebook import Kind, codebook_data
from label_configs.errors import ModelError
from label_configs.records import Document
from ml_backend import adapters, classify_routes, queue
from ml_backend.app import create_app
from ml_backend.classify_queue import ClassifyQueue
from ml_backend.classifying import propose_all, resolve
from ml_backend.experiment import Project
from ml_backend.heartbeat import beat
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from tests.unit.ml_backend.classifying_parts import NotingPool, ThreadWorker
from tests.unit.ml_backend.described import conforms

TEXTS = ["ship ship", "grain", "confidential cargo of a ship"]
TWO = [{"id": "a", "text": "ship ship"}, {"id": "b", "text": "grain"}]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"chunk_documents": 2, "api_token": SecretStr("token-of-programs")})


@pytest.fixture
def client(settings: Settings, redis: Redis) -> FlaskClient:
    return create_app(settings, redis).test_client()


@pytest.fixture
def line(client: FlaskClient) -> ClassifyQueue:
    found: ClassifyQueue = client.application.extensions["winnow-classify"]
    return found


@pytest.fixture
def worker(redis: Redis, line: ClassifyQueue) -> Iterator[ThreadWorker]:
    with ThreadWorker(redis, line) as running:
        yield running


BEARER = {"Authorization": "Bearer token-of-programs"}


def ask(client: FlaskClient, method: str, path: str = "/classify", **given: Any) -> TestResponse:
    answer = client.open(path, method=method, headers=BEARER, **given)
    conforms(answer)
    return answer


def post(client: FlaskClient, body: Any = None, **fields: Any) -> TestResponse:
    return ask(client, "POST", json=body if body is not None else {"project": 7, "documents": TWO, **fields})


def message(answer: TestResponse, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert "\n" not in answer.get_json()["error"]["message"]
    return str(answer.get_json()["error"]["message"])


def everything(redis: Redis) -> bytes:
    return b"".join(redis.dump(key) or b"" for key in redis.scan_iter())


# --- results --------------------------------------------------------------------------------------------------------


def test_results_are_answered_in_order(
    client: FlaskClient, project: Project, worker: ThreadWorker, line: ClassifyQueue
) -> None:
    documents = [{"id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)]
    answer = post(client, documents=documents)
    assert answer.status_code == 200
    spec = resolve(project.home, project=project)
    made = propose_all(NotingPool(), spec, [Document(d["id"], d["text"]) for d in documents])
    results = answer.get_json()["results"]
    assert [r["id"] for r in results] == ["d0", "d1", "d2"]
    for result, (proposal,) in zip(results, made, strict=True):
        assert (result["source"], result["version"]) == ("words", "words/fake@base")
        assert [(c["code"], c["probability"]) for c in result["codes"]] == [
            (s.label, s.probability) for s in proposal.labels
        ]
        assert result["chosen"] == [proposal.labels[0].label]
        assert (result["tokens"], result["truncated"]) == (proposal.tokens, 0)
    assert answer.get_json()["manifest"] == {
        "codebook": {"name": "small", "fingerprint": project.codebook.fingerprint},
        "sources": [{"name": "words", "version": "words/fake@base"}],
        "digest": spec.digest,
    }
    assert sorted(worker.pool.asked) == [("words", ["d0", "d1"]), ("words", ["d2"])], "by chunks of two"
    assert list(Path(line.exchange.url).iterdir()) == [], "what was answered is not kept"


def test_what_was_proposed_before_needs_no_worker(client: FlaskClient, project: Project, redis: Redis) -> None:
    with ThreadWorker(redis, client.application.extensions["winnow-classify"]):
        first = post(client)
    assert first.status_code == 200
    assert post(client, wait=0).get_json() == first.get_json()
    assert queue.queue(redis, queue.PROPOSE).count == 0


def test_a_codebook_and_an_adapter_need_no_project(client: FlaskClient, project: Project, worker: ThreadWorker) -> None:
    folder = project.home / "trained"
    folder.mkdir()
    for name in adapters.FILES:
        (folder / name).write_text("{}")
    manifest = {
        "base": "org/m",
        "prompt": "zero_shot",
        "max_document_tokens": 512,
        "codebook": project.codebook.fingerprint,
    }
    adapter = adapters.store_of(project.home).publish(folder, manifest)
    body = {
        "codebook": codebook_data(project.codebook),
        "sources": [f"adapter:{adapter.id}"],
        "documents": TWO,
    }
    answer = post(client, body)
    assert answer.status_code == 200
    assert {r["version"] for r in answer.get_json()["results"]} == {f"org/m/zero_shot@{adapter.id}"}
    told = message(post(client, {**body, "codebook": "reuters8"}), 400)
    assert "was trained for another codebook than reuters8" in told


def test_what_is_not_ready_leaves_a_job(client: FlaskClient, project: Project, redis: Redis) -> None:
    started = time.monotonic()
    answer = post(client, wait=30)
    assert time.monotonic() - started < 2, "nobody waits for workers that are not there"
    assert answer.status_code == 202
    job = answer.get_json()
    assert job["status_url"] == f"/classify/{job['job']}" == answer.headers["Location"]
    assert (job["state"], job["documents"], job["done"], job["workers"]) == ("queued", 2, 0, 0)
    assert ask(client, "GET", job["status_url"]).get_json() == job
    with ThreadWorker(redis, client.application.extensions["winnow-classify"]):
        done = ask(client, "GET", f"{job['status_url']}?wait=20").get_json()
    assert (done["state"], done["done"]) == ("done", 2)
    assert [r["id"] for r in done["results"]] == ["a", "b"]
    redis.flushall()
    again = ask(client, "GET", job["status_url"]).get_json()
    assert again["results"] == done["results"], "results do not lie in Redis"
    assert ask(client, "DELETE", job["status_url"]).status_code == 204
    assert "unknown, deleted or expired" in message(ask(client, "GET", job["status_url"]), 404)
    assert list((project.home / "exchange").iterdir()) == []


def test_a_job_half_done_says_so(client: FlaskClient, project: Project, line: ClassifyQueue, redis: Redis) -> None:
    documents = [{"id": f"d{i}", "text": f"ship {i}"} for i in range(5)]
    url = post(client, documents=documents, wait=0).get_json()["status_url"]
    ids = queue.queue(redis, queue.PROPOSE).job_ids
    assert len(ids) == 3
    line.work(NotingPool(), ids[0])
    job = ask(client, "GET", url).get_json()
    assert (job["state"], job["done"], job["documents"]) == ("working", 2, 5)


def test_a_call_that_waits_goes_before_what_has_time(client: FlaskClient, project: Project, redis: Redis) -> None:
    beat(redis, "busy")
    documents = [{"id": f"d{i}", "text": f"ship {i}"} for i in range(4)]
    later = post(client, documents=documents, wait=0).get_json()["job"]
    sooner = post(client, documents=[{**d, "text": d["text"] + "!"} for d in documents], wait=0.1).get_json()["job"]
    assert queue.queue(redis, queue.PROPOSE).job_ids == [f"{sooner}-0", f"{sooner}-1", f"{later}-0", f"{later}-1"]


def test_a_failure_is_told_with_its_reason(
    client: FlaskClient, project: Project, line: ClassifyQueue, redis: Redis
) -> None:
    url = post(client, wait=0).get_json()["status_url"]
    (job_id,) = queue.queue(redis, queue.PROPOSE).job_ids
    line.fail(job_id, ModelError("model org/absent: cannot be loaded"))
    job = ask(client, "GET", url).get_json()
    assert (job["state"], job["error"]) == (
        "failed",
        {"code": "model", "message": "model org/absent: cannot be loaded"},
    )


def test_a_failure_while_it_waits_is_an_error(
    client: FlaskClient, project: Project, redis: Redis, line: ClassifyQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(job_id: str, seconds: float) -> None:
        line.fail(job_id, ModelError("model org/absent: cannot be loaded"))

    beat(redis, "alive")
    monkeypatch.setattr(ClassifyQueue, "wait", lambda _, job_id, seconds: failing(job_id, seconds))
    answer = post(client)
    assert message(answer, 500) == "model org/absent: cannot be loaded"
    assert answer.get_json()["error"]["code"] == "model"
    assert list(Path(line.exchange.url).iterdir()) == []


def test_so_many_wait_that_others_find_a_thread(
    client: FlaskClient, project: Project, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify_routes, "WAITING", threading.BoundedSemaphore(1))
    beat(redis, "busy")
    with classify_routes.WAITING:
        started = time.monotonic()
        assert post(client, wait=30).status_code == 202
        assert time.monotonic() - started < 5


def test_no_text_reaches_redis_or_a_log(
    client: FlaskClient, project: Project, redis: Redis, line: ClassifyQueue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    secret = [{"id": "a", "text": "confidential cargo"}]
    url = post(client, documents=secret, wait=0).get_json()["status_url"]
    for job_id in queue.queue(redis, queue.PROPOSE).job_ids:
        line.work(NotingPool(), job_id)
    assert ask(client, "GET", url).get_json()["state"] == "done"
    assert b"confidential" not in everything(redis)
    assert "confidential" not in caplog.text
    assert not [path for path in Path(line.exchange.url).iterdir() if "confidential" in path.read_text()]


# --- who may ask ----------------------------------------------------------------------------------------------------


def test_who_may_ask(client: FlaskClient, settings: Settings, redis: Redis, project: Project) -> None:
    assert settings.password
    assert settings.webhook_token
    right = base64.b64encode(f"winnow:{settings.password.get_secret_value()}".encode()).decode()
    for path, method in (("/classify", "POST"), ("/classify/x", "GET"), ("/classify/x", "DELETE")):
        assert client.open(path, method=method, headers={"Authorization": f"Basic {right}"}).status_code != 401
        assert client.open(path, method=method, headers=BEARER).status_code != 401
        for wrong in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer "},
            {"Authorization": f"Bearer {settings.webhook_token.get_secret_value()}"},
        ):
            answer = client.open(path, method=method, headers=wrong)
            assert answer.status_code == 401
            conforms(answer)
    for path in ("/versions", "/metrics"):
        assert client.get(path, headers=BEARER).status_code == 401, "the token opens /classify alone"
    without = create_app(settings.model_copy(update={"api_token": None}), redis).test_client()
    for token in ("", "None", "token-of-programs"):
        assert without.get("/classify/x", headers={"Authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.parametrize(
    "job", ["x", "../../etc", "..%2f..%2fsecrets", "A" * 24, "A" * 24 + "-0", "%00", "é" * 24, "." * 24]
)
def test_no_job_leads_elsewhere(client: FlaskClient, project: Project, job: str) -> None:
    (project.home / "secrets.json").touch()
    for method in ("GET", "DELETE"):
        answer = client.open(f"/classify/{job}", method=method, headers=BEARER)
        assert "\n" not in message(answer, 404)
    assert (project.home / "secrets.json").exists()


def test_ids_of_jobs_cannot_be_guessed(client: FlaskClient, project: Project) -> None:
    ids = {post(client, wait=0).get_json()["job"] for _ in range(5)}
    assert len(ids) == 5
    assert all(len(job) == 24 for job in ids)


def test_redis_away_is_told(settings: Settings, project: Project, home: Path) -> None:
    gone = settings.model_copy(update={"redis_url": SecretStr("redis://:hunter2@127.0.0.1:1/0")})
    client = create_app(gone, queue.client(gone)).test_client()
    assert "hunter2" not in message(post(client), 503)
    assert not (home / "exchange").exists() or not list((home / "exchange").iterdir())


# --- what is wrong with a request -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ([], "documents: "),
        ({}, "documents: "),
        ("text", "documents: "),
        (None, "documents: "),
        (["text"], "documents[0]: must be a JSON object"),
        ([{"id": "a", "text": "x"}, {"id": "b"}], "documents[1].text: is missing"),
        ([*TWO, {"id": "c", "text": 3}], "documents[2].text: "),
        ([*TWO, {"id": "c", "text": None}], "documents[2].text: "),
        ([*TWO, {"id": "c", "text": ""}], "documents[2].text: is empty"),
        ([*TWO, {"id": "c", "text": " \n\t"}], "documents[2].text: is empty"),
        ([*TWO, {"id": 7, "text": "x"}], "documents[2].id: "),
        ([*TWO, {"id": "", "text": "x"}], "documents[2].id: "),
        ([*TWO, {"id": "x" * 501, "text": "x"}], "documents[2].id: "),
        ([*TWO, {"id": "a", "text": "x"}], "documents[0].id: occurs 2 times, give each document its own; documents[2]"),
        ([*TWO, {"id": "c", "txt": "x"}], "documents[2].txt: unknown key, remove or rename it (nearest valid"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_wrong_documents_are_told_with_their_place(
    client: FlaskClient, project: Project, redis: Redis, documents: Any, told: str
) -> None:
    assert told in message(post(client, documents=documents), 400)
    assert [key for key in redis.scan_iter() if not key.startswith(b"winnow:logins:known:")] == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"wait": -1}, "wait: "),
        ({"wait": 61}, "wait: "),
        ({"wait": "5"}, "wait: "),
        ({"wait": True}, "wait: "),
        ({"project": "7"}, "project: "),
        ({"project": True}, "project: "),
        ({"sources": "words"}, "sources: "),
        ({"sources": ["wrds"]}, "source 'wrds': not one of project 7"),
        ({"sources": ["adapter"]}, "project 7 has no current adapter"),
        ({"sources": ["adapter:../../x"]}, "no adapter id"),
        ({"source": ["words"]}, "source: unknown key, remove or rename it (nearest valid key: 'sources')"),
        ({"project": None}, "no codebook to classify by"),
        ({"project": None, "codebook": "reuters"}, "codebook: is not the name of one that comes with Winnow (nearest"),
        ({"project": None, "codebook": "/etc/passwd"}, "is not the name of one that comes with Winnow"),
        ({"project": None, "codebook": "../codebook.yaml"}, "is not the name of one that comes with Winnow"),
        ({"project": None, "codebook": 7}, "codebook: file: "),
        ({"project": None, "codebook": {"codes": [{"key": "a"}]}}, "codebook: codes: has only one code"),
        ({"project": None, "codebook": "reuters8"}, "no source to classify with"),
        ({"codebook": "reuters8"}, "project 7 has a codebook of its own"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_wrong_fields_are_told(client: FlaskClient, project: Project, fields: dict[str, Any], told: str) -> None:
    assert told in message(post(client, **fields), 400)


def test_an_unknown_project_is_told(client: FlaskClient, project: Project) -> None:
    assert message(post(client, project=99), 404) == "project 99: not known to Winnow; run `winnow init --project 99`"


def test_many_problems_are_told_in_short(client: FlaskClient, project: Project) -> None:
    told = message(post(client, documents=[{"id": str(i), "text": ""} for i in range(900)]), 400)
    assert told.startswith("documents[0].text: is empty; documents[1].text")
    assert told.endswith("; and 895 more")


def test_too_many_documents_are_refused(client: FlaskClient, project: Project) -> None:
    documents = [{"id": str(i), "text": "x"} for i in range(1001)]
    assert "documents: more than 1000" in message(post(client, documents=documents), 413)
    assert post(client, documents=documents[:1000], wait=0).status_code == 202


def test_a_huge_body_is_refused_unread(client: FlaskClient, project: Project) -> None:
    client.application.config["MAX_CONTENT_LENGTH"] = 1000
    message(post(client, documents=[{"id": "a", "text": "x" * 1000}]), 413)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"documents": ' * 50_000,
             b'{"wait": NaN, "documents": []}', b'{"documents": [{"id": "a", "text": "\\ud800"}]}', b"9" * 5000],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
def test_what_is_no_request_is_refused(client: FlaskClient, body: bytes) -> None:
    message(ask(client, "POST", data=body, content_type="application/json"), 400)


def test_other_content_is_refused(client: FlaskClient) -> None:
    message(ask(client, "POST", data="a=b", content_type="application/x-www-form-urlencoded"), 415)


def test_a_deep_codebook_is_refused(client: FlaskClient, project: Project) -> None:
    for depth in (50, 150, 190, 250, 900):
        deep = '{"codebook": ' + '{"codes": [' * (depth // 2) + "]}" * (depth // 2)
        body = deep + ', "documents": [{"id": "a", "text": "x"}]}'
        message(ask(client, "POST", data=body, content_type="application/json"), 400)


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "inf", "x", ""])
def test_a_wrong_wait_is_told(client: FlaskClient, project: Project, wait: str) -> None:
    url = post(client, wait=0).get_json()["status_url"]
    assert message(ask(client, "GET", f"{url}?wait={wait}"), 400).startswith("wait: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=10), below, max_size=4),
    max_leaves=12,
)
CODEBOOK = st.fixed_dictionaries(
    {"codes": st.lists(st.dictionaries(st.sampled_from(["key", "name", "definition", "word"]), JSON), max_size=3)},
    optional={"kind": st.sampled_from(["exclusive", "graded", "x"]), "levels": JSON, "max_codes": JSON, "name": JSON},
)
DOCUMENT = st.fixed_dictionaries({}, optional={"id": st.text(max_size=5) | JSON, "text": st.text(max_size=20) | JSON})
BODY = st.fixed_dictionaries(
    {},
    optional={
        "project": st.just(7) | JSON,
        "codebook": st.sampled_from(["reuters8", "x"]) | CODEBOOK | JSON,
        "sources": st.lists(st.sampled_from(["words", "adapter", "adapter:0123456789abcdef"]) | st.text()) | JSON,
        "documents": st.lists(DOCUMENT, max_size=4) | JSON,
        "wait": st.just(0) | JSON,
    },
)


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODY | JSON)
def test_whatever_is_sent_the_answer_is_described(client: FlaskClient, project: Project, body: Any) -> None:
    # No worker is alive, so no call waits.
    answer = ask(client, "POST", data=json.dumps(body), content_type="application/json")
    assert answer.status_code in (200, 202, 400, 404)
    if answer.status_code != 202:
        assert "Traceback" not in answer.text


def test_a_graded_codebook_has_levels(client: FlaskClient, project: Project, worker: ThreadWorker) -> None:
    graded = replace(project.codebook, kind=Kind.GRADED, levels=("low", "high"))
    register(project.home, 9, project.experiment, graded)
    answer = post(client, project=9)
    assert answer.status_code == 200
    first = answer.get_json()["results"][0]
    assert sorted(c["code"] for c in first["codes"]) == sorted(graded.label_keys)
