"""What is secret stays so, and a call can be followed to its adapter: one installation's whole life, looked through."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from redis import Redis

from label_configs.forms import ReviewForm
from label_configs.render import render_label_config
from ml_backend import adapters, queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.queue import at_hand
from ml_backend.registered_projects import register
from ml_backend.request_ids import HEADER
from ml_backend.secrets_file import SECRETS_FILE
from ml_backend.set_up import set_up_project
from ml_backend.settings import Settings
from ml_backend.source_config import ChatApi, SourceConfig, SourceKind
from ml_backend.training_config import Gate, Training
from tests.integration.coded import CODEBOOK, coded_task
from tests.integration.running import until
from tests.integration.watched import Watched
from tests.unit.ml_backend.chat_server import ChatServer, Reply, Request
from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.walk import free_port
from trainer.rounds import RoundRecord, RoundState, list_rounds, rounds_folder
from trainer.up import Installation, environment, local_url

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(600)]

DOCUMENTS = 20
CALL = "from-label-studio-1"  # the id of the webhook that leads to the round
ENDED = (RoundState.PROMOTED, RoundState.KEPT, RoundState.FAILED)


def planted(what: str) -> str:
    return f"{what}-{secrets.token_hex(8)}"


@dataclass
class Life:
    """What was planted, and all that the installation gave away of itself."""

    home: Path
    secrets: dict[str, str]
    text: str  # stands in every document
    answers: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    commands: str = ""
    redis: bytes = b""
    project: Project | None = None
    record: RoundRecord | None = None

    @property
    def logs(self) -> dict[Path, str]:
        """Every log file of the installation."""
        return {path: path.read_text(encoding="utf-8") for path in self.home.rglob("*.log")}

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The events in the logs of Winnow's own processes."""
        return [json.loads(line) for path, text in self.logs.items() for line in _own_lines(path, text)]

    def hidden(self) -> list[bytes]:
        """What must not be found: the secrets, also as they stand in headers."""
        plain = list(self.secrets.values())
        basic = [f"winnow:{plain_one}" for plain_one in plain]
        encoded = [base64.b64encode(one.encode()).decode() for one in (*plain, *basic)]
        return [one.encode() for one in (*plain, *encoded)]

    def check(self, where: str, found: bytes, *, documents: bool) -> None:
        """The test fails where something hidden, or a document's text, is in what was ``found``."""
        names = {value.encode(): name for name, value in self.secrets.items()}
        for one in self.hidden():
            assert one not in found, f"{where} holds {names.get(one, one)}"
        assert documents or self.text.encode() not in found, f"{where} holds a document's text"


def _own_lines(path: Path, text: str) -> list[str]:
    """The lines of a log but Redis's, and but what libraries say in the training process while they are imported."""
    lines = text.splitlines() if path.name != "redis.log" else []
    return [line for line in lines if path.name != "fit.log" or line.startswith("{")]


def refusing(life: Life) -> ChatServer:
    """A chat API that echoes key and document in its refusal."""

    def answer(request: Request) -> Reply:
        key = life.secrets["api key"]
        told = f"wrong key {key} for {json.dumps(request)}"
        body = json.dumps({"error": {"message": told, "type": told, "code": told, "param": told}})
        return Reply(body.encode(), 401, {"X-Echo": key, "WWW-Authenticate": key})

    return ChatServer(answer)


@pytest.fixture(scope="module")
def life(
    label_studio: LabelStudioServer, redis_url: str, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Life]:
    """The life of an installation: predictions that fail, a round that succeeds, one that cannot begin, wrong calls."""
    with Redis.from_url(redis_url) as redis, pytest.MonkeyPatch.context() as patch:
        redis.flushall()
        names = ("password", "viewer", "operator", "webhook token", "api token", "api key", "s3 key", "s3 secret")
        life = Life(
            tmp_path_factory.mktemp("secrets") / "home",
            {name: planted(name.replace(" ", "-")) for name in (*names, "wrong password", "wrong token", "payload")},
            planted("text"),
        )
        life.secrets |= {"Label Studio": label_studio.token(), "Redis": str(urlsplit(redis_url).password)}
        for name, value in (("ACCESS_KEY_ID", "s3 key"), ("SECRET_ACCESS_KEY", "s3 secret")):
            patch.setenv(f"AWS_{name}", life.secrets[value])
        patch.setenv("HF_HUB_OFFLINE", "1")
        secret = {name: SecretStr(value) for name, value in life.secrets.items()}
        settings = Settings(
            home=life.home, label_studio_url=label_studio.url, label_studio_token=secret["Label Studio"],
            redis_url=SecretStr(redis_url), port=free_port(), web_workers=1, threads=1, reconcile_seconds=600,
            predict_deadline_seconds=1, log_level="DEBUG", log_format="json", password=secret["password"],
            viewer_password=secret["viewer"], operator_password=secret["operator"],
            webhook_token=secret["webhook token"], api_token=secret["api token"],
            api_keys={"refusing": secret["api key"]},
        )  # fmt: skip
        sdk = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())
        with refusing(life) as server, Watched(life.home, redis) as watched, Installation(settings):
            _live(life, settings, sdk, redis, server.url, tiny_llama)
        life.commands, life.redis = "\n".join(watched.commands), watched.in_redis
        yield life


def _live(life: Life, settings: Settings, sdk: LabelStudio, redis: Redis, api: str, base: Path) -> None:
    client, url = LabelStudioClient(settings), local_url(settings)
    source = SourceConfig("api", SourceKind.CHAT_API, "m", api=ChatApi(api, key="refusing", retries=0))
    experiment = Experiment("things", (source,), review=Review(ReviewForm.WHOLE))
    failing = set_up_project(settings, client, experiment, CODEBOOK, title="fails")
    sdk.projects.import_tasks(
        id=failing.id, request=[{"data": {"document_id": str(n), "text": f"{life.text} {n}"}} for n in range(3)]
    )
    with ThreadPoolExecutor(2) as pool:  # these wait for processes, and would do so one after the other
        prelabelled = pool.submit(_run, life, settings, "prelabel", "--project", str(failing.id))
        _run_round(life, settings, sdk, client, redis, base)
        prelabelled.result()
        assert life.project is not None
        commands = [
            ("doctor", "--project", str(failing.id)),
            ("status", "--json", "--project", str(failing.id)),
            ("report", "--samples", "100", "--project", str(life.project.id)),
        ]
        ran = [pool.submit(_run, life, settings, *command) for command in commands]
        _webhook(life, settings, failing.id, "START_TRAINING", "another-call")
        until(lambda: queue.queue(redis, queue.TRAIN).failed_job_registry.count, 120)  # it has no training
        for one in ran:
            one.result()
    _call_wrongly(life, settings, url, failing.id)


def _run_round(
    life: Life, settings: Settings, sdk: LabelStudio, client: LabelStudioClient, redis: Redis, base: Path
) -> None:
    """A webhook that leads to an adapter."""
    made = client.create_project("trains", render_label_config(CODEBOOK, ReviewForm.WHOLE))
    overrides = {"batch_size": 4, "micro_batch_size": 4, "max_document_tokens": 32, "rank": 8, "precision": "fp32",
                 "prompt": "zero_shot", "epochs": 1}  # fmt: skip
    training = Training(
        str(base), overrides=overrides, thresholds=(DOCUMENTS,), every=1, holdout_share=0.3, gate=Gate(minimum=1)
    )
    sources = (SourceConfig("words", SourceKind.FAKE),)
    experiment = Experiment("things", sources, training=training, review=Review(ReviewForm.WHOLE))
    life.project = register(settings.home, made, experiment, CODEBOOK)
    sdk.projects.import_tasks(id=made, request=[_coded(life, n) for n in range(DOCUMENTS)])

    def ended() -> bool:
        records = list_rounds(rounds_folder(settings.home, made))
        return bool(records) and records[-1].state in ENDED and not at_hand(redis, f"round-{made}")

    _webhook(life, settings, made, "ANNOTATION_CREATED", CALL)
    until(ended, 300)
    (life.record,) = list_rounds(rounds_folder(settings.home, made))


def _coded(life: Life, number: int) -> dict[str, Any]:
    task = coded_task(number)
    task["data"]["text"] += f" {life.text}"
    return task


def _webhook(life: Life, settings: Settings, project_id: int, action: str, call: str) -> None:
    payload = {
        "action": action, "project": {"id": project_id, "title": life.secrets["payload"]},
        "task": {"data": {"text": life.text}}, "annotation": {"result": [{"value": {"text": life.secrets["payload"]}}]},
    }  # fmt: skip
    answer = httpx.post(
        f"{local_url(settings)}/webhook", json=payload,
        headers={"Authorization": f"Bearer {life.secrets['webhook token']}", HEADER: call},
    )  # fmt: skip
    assert (answer.status_code, answer.headers[HEADER]) == (200, call)


def _call_wrongly(life: Life, settings: Settings, url: str, project_id: int) -> None:
    """Calls that are refused, and those whose proposals fail; the last ones, since the limit of log-ins holds then."""
    user, told = ("winnow", life.secrets["password"]), life.secrets["payload"]
    token = {"Authorization": f"Bearer {life.secrets['webhook token']}"}
    tasks = [{"id": 10**9, "data": {"text": life.text}}]
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/webhook", {"headers": token, "json": {"action": told, "project": {"text": life.text}}}),
        ("POST", "/webhook", {"headers": token, "json": {"text": life.text, "token": told}}),
        ("POST", "/webhook", {"headers": token, "content": f'{{"text": "{life.text}", {told}'.encode()}),
        ("POST", "/webhook", {"headers": token, "json": {"action": "START_TRAINING", "project": told}}),
        ("POST", "/predict", {"auth": user, "json": {"tasks": tasks, "project": str(project_id)}}),
        ("POST", "/predict", {"auth": user, "json": {"tasks": life.text, "project": told}}),
        ("POST", "/setup", {"auth": user, "json": {"project": told, "label_config": life.text}}),
        ("POST", "/classify", {"auth": user, "json": {
            "project": project_id, "documents": [{"id": "d", "text": life.text}], "seconds": 0}}),
        ("POST", "/classify", {"auth": user, "json": {"documents": life.text, "key": told}}),
        ("POST", "/classify", {"auth": user, "json": {
            "codebook": told, "documents": [{"id": "d", "text": life.text}]}}),
        ("GET", "/dashboard/", {"auth": ("viewer", life.secrets["wrong password"])}),
        ("GET", "/versions", {"auth": (life.secrets["password"], life.secrets["wrong password"])}),
        ("POST", "/webhook", {"headers": {"Authorization": f"Bearer {life.secrets['wrong token']}"}, "json": {}}),
    ]  # fmt: skip
    for method, path, options in calls:
        answer = httpx.request(method, url + path, timeout=60, **options)
        life.answers.append(f"{answer.status_code} {answer.headers} {answer.text}")
    with socket.create_connection((settings.host, settings.port), timeout=60) as line:
        broken = f"GET /versions HTTP/1.1\r\nHost: x\r\nAuthorization {life.secrets['wrong token']}\r\n\r\n"
        line.sendall(broken.encode())
        life.answers.append(line.recv(65536).decode("latin-1"))


def _run(life: Life, settings: Settings, *arguments: str) -> None:
    """A command as an operator runs it; what it says is kept."""
    done = subprocess.run(
        [sys.executable, "-m", "trainer.cli", *arguments], env=environment(settings), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    life.outputs.append(f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}")


def test_the_life_was_full(life: Life) -> None:
    """Else the others would look through nothing."""
    events = {line["event"] for line in life.lines}
    assert {
        "webhook-received",
        "tasks-failed",
        "round-due",
        "round-started",
        "round-ended",
        "training-started",
    } <= events
    assert {"login-refused", "job-failed"} <= events
    assert any("401: it refuses the key" in output for output in life.outputs), life.outputs
    assert {answer[:3] for answer in life.answers} >= {"400", "401"}
    assert life.record is not None
    assert life.record.state in (RoundState.PROMOTED, RoundState.KEPT), life.record.reason
    assert "trainer.fit" in life.commands
    assert b"rq:job:" in life.redis
    assert b"winnow:" in life.redis


def test_nothing_secret_is_in_logs(life: Life) -> None:
    names = {path.name for path in life.logs}
    assert {"web.log", "propose.log", "train.log", "scheduler.log", "fit.log"} <= names
    for path, text in life.logs.items():
        life.check(path.name, text.encode(), documents=False)


def test_nothing_secret_is_on_a_command_line(life: Life) -> None:
    life.check("a command line", life.commands.encode(), documents=False)


def test_nothing_secret_is_in_redis(life: Life) -> None:
    life.check("Redis", life.redis, documents=False)


def test_nothing_secret_is_in_answers_and_output(life: Life) -> None:
    for text in (*life.answers, *life.outputs):
        life.check(text[:300], text.encode(), documents=False)


def test_nothing_secret_is_in_a_file(life: Life) -> None:
    paths = [path for path in life.home.rglob("*") if path.is_file()]
    assert any(path.name == "manifest.json" for path in paths)
    for path in paths:
        if path.name != SECRETS_FILE:
            life.check(str(path.relative_to(life.home)), path.read_bytes(), documents=path.name != "manifest.json")


def test_every_log_line_is_one_event(life: Life) -> None:
    for path, text in life.logs.items():
        for line in _own_lines(path, text):
            told = json.loads(line)
            assert {"time", "level", "logger", "event"} <= told.keys(), path
            assert told["event"] is None or "fields" in told


def test_a_call_can_be_followed_to_the_adapter(life: Life) -> None:
    led = {line["event"]: line for line in life.lines if line.get("request") == CALL}
    assert {"webhook-received", "round-due", "round-started", "round-ended"} <= led.keys()
    assert led["round-due"]["fields"]["requests"] == [CALL]
    assert life.record is not None
    assert life.project is not None
    assert life.record.requests == (CALL,)
    adapter = adapters.store_of(life.home).get(life.record.adapter_id)
    assert adapter.manifest["requests"] == [CALL]
    log = next(text for path, text in life.logs.items() if path.parent.name == life.record.id)
    assert f'"request": "{CALL}"' in log
    assert CALL in log.splitlines()[0]
