"""LabelStudioClient against the real server: what it does twice is done once, and every refusal says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from redis import Redis

from label_configs import wire
from label_configs.codebook import Codebook, load_codebook
from label_configs.errors import ConfigError, LabelStudioError, ModelError
from label_configs.forms import ReviewForm, forms_of
from label_configs.records import Candidate, CandidateSet, Document, Proposal, Proposer, ScoredLabel
from label_configs.render import render_label_config
from ml_backend import changed_projects, jobs, queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.labelstudio_projects import WEBHOOK_ACTIONS
from ml_backend.prelabel import enqueue_prelabel
from ml_backend.prelabel_progress import TaskState, move_tasks, prelabel_progress, tasks_in
from ml_backend.proposing import Plan
from ml_backend.pushing import Scope, candidates_of, finish, push, shows
from ml_backend.registered_projects import register
from ml_backend.set_up import connect
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.fake import FakePool
from tests.local_server import serving
from trainer.demo import label_studio as servers
from trainer.demo.label_studio import LabelStudioServer

pytestmark = pytest.mark.label_studio

CODEBOOK = load_codebook("reuters8")
EXPERIMENT = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),))
CONFIG = render_label_config(CODEBOOK, ReviewForm.REJECT).strip()


def imported(
    client: LabelStudioClient, project: int, texts: list[str], form: ReviewForm = ReviewForm.REJECT
) -> list[int]:
    documents = [Document(f"d{n}", text) for n, text in enumerate(texts, 1)]
    return client.import_tasks(project, [wire.task_data(document, form=form) for document in documents])


def candidate_set(version: str = "review-1") -> CandidateSet:
    candidates = tuple(Candidate(label, 0.5, (Proposer("words", "v", 0.5, 1),)) for label in ("earn", "acq"))
    return CandidateSet("d1", version, candidates)


# --- tasks, predictions, export -------------------------------------------------------------------------------------


def test_tasks_and_predictions_come_back_as_they_went(client: LabelStudioClient, sdk: LabelStudio) -> None:
    project = client.create_project("round trip", CONFIG, "Which code?")
    assert client.label_config(project) == CONFIG
    texts = ["Ünïcode — “quoted” 🌾", "<b>markup</b> & more", "third"]
    ids = imported(client, project, texts)
    tasks = list(client.tasks(project))
    assert [task["id"] for task in tasks] == ids
    assert [wire.document(task).text for task in tasks] == texts
    assert [wire.document(task).id for task in tasks] == ["d1", "d2", "d3"]
    assert not any(task["is_labeled"] for task in tasks)
    assert [task["id"] for task in client.tasks(project, ids[1:])] == ids[1:]
    assert list(client.tasks(project, [])) == []

    proposal = Proposal("d1", "words", "words/fake@base", (ScoredLabel("earn", 0.75), ScoredLabel("acq", 0.25)), 9, 0.5)
    own = wire.source_prediction(CODEBOOK, proposal, ReviewForm.REJECT)
    review = wire.review_prediction(CODEBOOK, candidate_set(), ReviewForm.REJECT)
    client.import_predictions(project, [{"task": ids[0], **own}, {"task": ids[0], **review}])
    client.import_predictions(project, [])
    (task,) = client.tasks(project, ids[:1])
    assert [p["model_version"] for p in task["predictions"]] == ["words/fake@base", "review-1"]
    drawn = wire.candidate_data(CODEBOOK, candidate_set(), ReviewForm.REJECT)
    client.set_task_data(ids[0], {**task["data"], **drawn})
    assert len(next(iter(client.tasks(project, ids[:1])))["data"]["candidates"]) == 2

    assert client.model_version(project) == ""
    client.set_model_version(project, "review-1")
    assert client.model_version(project) == "review-1"

    result = wire.coder_result(CODEBOOK, candidate_set(), ReviewForm.REJECT, rejected=["acq"])
    sdk.annotations.create(id=ids[0], result=result, lead_time=7.5)
    sdk.annotations.create(id=ids[1], result=[], was_cancelled=True)
    exported = {task["id"]: task for task in client.export(project)}
    (decision,) = wire.decisions(exported[ids[0]], CODEBOOK, ReviewForm.REJECT)
    assert (decision.document_id, decision.labels, decision.rejected) == ("d1", ("earn",), ("acq",))
    assert decision.seconds == 7.5
    assert wire.proposals(exported[ids[0]]) == [proposal]
    (skip,) = wire.decisions(exported[ids[1]], CODEBOOK, ReviewForm.REJECT)
    assert skip.skipped
    assert not sdk.projects.exports.list(project), "no snapshot is left behind"
    assert client.annotated_tasks(project) >= 1


def test_predictions_that_label_studio_leaves_out_are_told(client: LabelStudioClient) -> None:
    project = client.create_project("left out", CONFIG)
    ids = imported(client, project, ["one", "two"])
    review = wire.review_prediction(CODEBOOK, candidate_set(), ReviewForm.REJECT)
    strange = wire.review_prediction(CODEBOOK, candidate_set(), ReviewForm.WHOLE)  # of a form that is not the project's
    with pytest.raises(LabelStudioError, match=r"took 1 of 2 predictions, the others do not fit its label config"):
        client.import_predictions(project, [{"task": ids[0], **review}, {"task": ids[1], **strange}])


def test_more_tasks_than_a_page_are_all_read(client: LabelStudioClient) -> None:
    project = client.create_project("pages", CONFIG)
    ids = imported(client, project, [f"text {n}" for n in range(230)])
    assert [task["id"] for task in client.tasks(project)] == ids
    assert [task["id"] for task in client.tasks(project, ids[::2])] == ids[::2]


# --- connecting -----------------------------------------------------------------------------------------------------


def test_connecting_twice_is_the_same_as_once(
    client: LabelStudioClient, sdk: LabelStudio, served: Settings, redis: Redis
) -> None:
    project = client.create_project("connected", CONFIG)
    register(served.home, project, EXPERIMENT, CODEBOOK)
    for _ in range(2):
        connect(served, client, project)
    (hook,) = sdk.webhooks.list(project=str(project))
    assert served.webhook_token
    assert hook.url == f"{served.backend_url}/webhook"
    assert hook.headers == {"Authorization": f"Bearer {served.webhook_token.get_secret_value()}"}
    assert sorted(str(action) for action in hook.actions or []) == sorted(WEBHOOK_ACTIONS)
    assert hook.is_active
    (backend,) = sdk.ml.list(project=project)
    assert backend.url == served.backend_url
    (task,) = imported(client, project, ["shares rose"])
    changed_projects.wait_changed(redis, 0.1)
    sdk.annotations.create(id=task, result=wire.coder_result(CODEBOOK, candidate_set(), ReviewForm.REJECT))
    assert changed_projects.wait_changed(redis, 30) == {project}


def test_a_webhook_that_was_changed_is_mended(client: LabelStudioClient, sdk: LabelStudio, served: Settings) -> None:
    project = client.create_project("mended", CONFIG)
    url = f"{served.backend_url}/webhook"
    first = client.connect_webhook(project, url, "old")
    sdk.webhooks.update(first, url=url, is_active=False)
    assert client.connect_webhook(project, url, "new") == first
    (hook,) = sdk.webhooks.list(project=str(project))
    assert hook.is_active
    assert hook.headers == {"Authorization": "Bearer new"}


def test_a_backend_that_does_not_answer_is_told(client: LabelStudioClient) -> None:
    project = client.create_project("away", CONFIG)
    with pytest.raises(LabelStudioError, match=r"connecting the ML backend http://127\.0\.0\.1:1: answered 400: "):
        client.connect_backend(project, "http://127.0.0.1:1", "winnow", "secret-password")


def test_a_backend_with_another_password_is_told(client: LabelStudioClient, served: Settings) -> None:
    project = client.create_project("refused", CONFIG)
    with pytest.raises(LabelStudioError, match="connecting the ML backend") as caught:
        client.connect_backend(project, served.backend_url, "winnow", "wrong-password")
    assert "wrong-password" not in str(caught.value)


# --- pushing --------------------------------------------------------------------------------------------------------


def project_of(client: LabelStudioClient, settings: Settings, codebook: Codebook, form: ReviewForm) -> Project:
    experiment = Experiment(codebook.name, EXPERIMENT.sources, review=Review(form))
    made = client.create_project(f"push {form}", render_label_config(codebook, form))
    return register(settings.home, made, experiment, codebook)


@pytest.mark.parametrize("form", forms_of(CODEBOOK))
def test_a_push_shows_candidates_and_is_not_repeated(
    client: LabelStudioClient, sdk: LabelStudio, settings: Settings, redis: Redis, form: ReviewForm
) -> None:
    project = project_of(client, settings, CODEBOOK, form)
    ids = imported(client, project.id, ["net profit", "crude oil", "coded already"], form)
    plan = Plan.of(project)
    assert enqueue_prelabel(redis, client, project, chunk=2) == 3
    jobs = queue.queue(redis, queue.PROPOSE).jobs
    assert [list(job.args) for job in jobs] == [[project.id, ids[:2], "review"], [project.id, ids[2:], "review"]]
    sdk.annotations.create(id=ids[2], result=wire.coder_result(CODEBOOK, candidate_set(), form))

    for _ in range(2):  # the second time, nothing is missing
        pairs = [(task, wire.document(task)) for task in client.tasks(project.id, ids)]
        made = plan.propose(redis, [d for _, d in pairs], FakePool())
        push(client, plan, pairs, made, Scope.REVIEW)
    for task in client.tasks(project.id, ids):
        versions = [p["model_version"] for p in task["predictions"]]
        coded = task["id"] == ids[2]
        own = [] if form is ReviewForm.BLIND and not coded else [plan.names[0][1]]
        assert versions == [*own, *([] if coded else [plan.version])], "the review stands last"
        drawn = candidates_of(project, plan.candidates(wire.document(task), made[ids.index(task["id"])]))
        empty = wire.task_data(wire.document(task), form=form)
        assert shows(task, empty if coded else drawn)
    move_tasks(redis, project.id, TaskState.DONE, ids)
    finish(redis, client, plan)
    assert client.model_version(project.id) == plan.version
    assert enqueue_prelabel(redis, client, project, chunk=2) == 0


@pytest.fixture
def jobs_of(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a propose worker; its context is built anew."""
    assert settings.label_studio_token
    assert settings.redis_url
    monkeypatch.setenv("WINNOW_HOME", str(settings.home))
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_URL", settings.label_studio_url)
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_TOKEN", settings.label_studio_token.get_secret_value())
    monkeypatch.setenv("WINNOW_REDIS_URL", settings.redis_url.get_secret_value())
    jobs.context.cache_clear()
    yield
    jobs.context.cache_clear()


@pytest.mark.usefixtures("jobs_of")
def test_a_chunk_counts_what_it_did(client: LabelStudioClient, settings: Settings, redis: Redis) -> None:
    project = project_of(client, settings, CODEBOOK, ReviewForm.REJECT)
    ids = imported(client, project.id, ["net profit", "crude oil"])
    assert enqueue_prelabel(redis, client, project, chunk=16) == 2
    assert jobs.propose_tasks(project.id, ids) == 2
    assert Plan.of(project).ready(redis, [wire.document(t) for t in client.tasks(project.id)]) != [None, None]
    assert jobs.prelabel_chunk(project.id, [*ids, 987654], "review") == 2
    progress = prelabel_progress(redis, project.id)
    assert (progress[TaskState.DONE], progress.total) == (2, 2), "a task that was not asked for counts nowhere"
    assert client.model_version(project.id) == Plan.of(project).version


@pytest.mark.usefixtures("jobs_of")
def test_a_chunk_that_fails_counts_all_the_same(
    client: LabelStudioClient, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    project = project_of(client, settings, CODEBOOK, ReviewForm.REJECT)
    absent = SourceConfig("absent", SourceKind.CAUSAL, str(tmp_path / "absent"))
    project = register(settings.home, project.id, Experiment("reuters8", (*EXPERIMENT.sources, absent)), CODEBOOK)
    ids = imported(client, project.id, ["net profit", "crude oil"])
    enqueue_prelabel(redis, client, project, chunk=16)
    with pytest.raises(ModelError, match="cannot be loaded"):
        jobs.prelabel_chunk(project.id, ids, "review")
    failed = tasks_in(redis, project.id, TaskState.FAILED)
    assert [one.task_id for one in failed] == ids
    assert all("cannot be loaded" in one.reason for one in failed)
    assert client.model_version(project.id) == "", "what no task has is not shown"


# --- refusals -------------------------------------------------------------------------------------------------------


def refusal(settings: Settings, **changes: Any) -> str:
    with pytest.raises((LabelStudioError, ConfigError)) as caught:
        LabelStudioClient(settings.model_copy(update=changes)).version()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_version_proves_the_token(client: LabelStudioClient) -> None:
    assert client.version().startswith("1.")


def test_a_refused_token_is_told_and_not_shown(settings: Settings) -> None:
    assert settings.label_studio_token
    token = settings.label_studio_token.get_secret_value()
    for wrong in ("0123456789abcdef", token[:-4] + "AAAA", EXPIRED):
        message = refusal(settings, label_studio_token=SecretStr(wrong))
        assert "the token is refused; set WINNOW_LABEL_STUDIO_TOKEN" in message
        assert wrong not in message
    for unsendable in ("two words", "tokenä", "new\nline"):
        message = refusal(settings, label_studio_token=SecretStr(unsendable))
        assert "WINNOW_LABEL_STUDIO_TOKEN" in message
        assert unsendable not in message
    assert "is not set" in refusal(settings, label_studio_token=None)
    spaced = settings.model_copy(update={"label_studio_token": SecretStr(f" {token}\n")})
    assert LabelStudioClient(spaced).version(), "what a copy and paste adds does no harm"


# A refresh token that ran out in 2020; signed by nobody, since nobody gets to see it.
EXPIRED = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTU4MDAwMDAwMH0.c2ln"


def test_nobody_at_the_address_is_told(settings: Settings) -> None:
    for url in ("http://127.0.0.1:1", "http://nowhere.invalid"):
        message = refusal(settings, label_studio_url=url)
        assert message.startswith(f"Label Studio at {url}: ")
        assert "is it running, and is WINNOW_LABEL_STUDIO_URL right?" in message


class Stranger(BaseHTTPRequestHandler):
    """Some other web server: answers everything alike."""

    status, kind, body = 200, "text/html", b"<!doctype html><title>Shop</title>"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, *arguments: Any) -> None:
        del arguments


@pytest.mark.parametrize("token", ["0123456789abcdef", ""], ids=["legacy", "personal"])
@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", b"<!doctype html><title>Shop</title>"),
        (404, "text/html", b"<html>Not here</html>"),
        (200, "application/json", b"{}"),
        (200, "application/json", b"[1]"),
        (200, "application/json", b'"up"'),
        (200, "application/json", b"null"),
        (500, "text/plain", b""),
    ],
)
def test_another_server_at_the_address_is_told(
    settings: Settings, token: str, status: int, kind: str, body: bytes
) -> None:
    handler = type("Handler", (Stranger,), {"status": status, "kind": kind, "body": body})
    changes = {"label_studio_token": SecretStr(token)} if token else {}
    with serving(handler) as url:
        message = refusal(settings, label_studio_url=url, **changes)
    assert "WINNOW_LABEL_STUDIO_URL" in message or "answered 500" in message


def test_a_missing_project_is_told(client: LabelStudioClient) -> None:
    for call in (
        lambda: client.label_config(987654),
        lambda: list(client.tasks(987654)),
        lambda: client.export(987654),
        lambda: client.set_model_version(987654, "v"),
        lambda: client.import_tasks(987654, [{"text": "x"}]),
        lambda: client.annotated_tasks(987654),
    ):
        with pytest.raises(LabelStudioError, match=r"not found; check the project's id|answered 40"):
            call()


def test_a_label_config_that_label_studio_refuses_is_told(client: LabelStudioClient) -> None:
    with pytest.raises(LabelStudioError, match=r"creating project 'broken': answered 400: .*label_config") as caught:
        client.create_project("broken", "<View><Choices/></View>")
    assert "\n" not in str(caught.value)


def test_a_task_without_the_text_is_told(client: LabelStudioClient) -> None:
    project = client.create_project("no text", CONFIG)
    with pytest.raises(LabelStudioError, match=r"importing 1 tasks: answered 400: ") as caught:
        client.import_tasks(project, [{"title": "x"}])
    assert "text" in str(caught.value)


def test_a_blocked_address_names_the_settings_that_open_it(
    label_studio_executable: Path, label_studio_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The one server whose guard is up, as everybody's is at first.
    monkeypatch.setitem(servers._SETTINGS, "ML_BLOCK_LOCAL_IP", "true")
    monkeypatch.setitem(servers._SETTINGS, "SSRF_PROTECTION_ENABLED", "true")
    with LabelStudioServer(label_studio_executable, tmp_path / "ls", template=label_studio_template) as guarded:
        settings = Settings(label_studio_url=guarded.url, label_studio_token=SecretStr(guarded.token()))
        client = LabelStudioClient(settings)
        project = client.create_project("guarded", CONFIG)
        for call in (
            lambda: client.connect_webhook(project, "http://127.0.0.1:9090/webhook", "token"),
            lambda: client.connect_backend(project, "http://127.0.0.1:9090", "winnow", "password"),
        ):
            with pytest.raises(LabelStudioError) as caught:
                call()
            message = str(caught.value)
            assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in message, message
            assert "\n" not in message


def test_the_settings_file_of_a_project_holds_no_secret(settings: Settings) -> None:
    made = register(settings.home, 1, EXPERIMENT, CODEBOOK)
    text = (made.folder / "winnow.yaml").read_text()
    assert settings.password
    assert settings.password.get_secret_value() not in text
    assert json.dumps("reuters8") not in text
