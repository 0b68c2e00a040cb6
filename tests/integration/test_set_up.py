"""Setting up a project in a real Label Studio: what is shown, what is agreed to, and that twice is the same as once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from label_studio_sdk import LabelStudio
from pydantic import SecretStr

from label_configs import wire
from label_configs.codebook import dump_codebook, load_codebook
from label_configs.errors import LabelConfigError, LabelStudioError
from label_configs.forms import ReviewForm
from label_configs.records import Document
from label_configs.render import render_label_config
from ml_backend.experiment import Experiment, Order, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import load_project
from ml_backend.set_up import carry_out, connect, plan_set_up, set_up_project
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from trainer.cli import main
from trainer.demo import label_studio as servers
from trainer.demo.label_studio import LabelStudioServer
from trainer.doctor.label_studio import check_backend, check_webhook

pytestmark = pytest.mark.label_studio

CODEBOOK = load_codebook("reuters8")
EXPERIMENT = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),))
CONFIG = render_label_config(CODEBOOK, ReviewForm.REJECT).strip()
OTHER = (
    '<View><Text name="text" value="$text"/><Choices name="x" toName="text"><Choice value="y"/><Choice value="z"/>'
    "</Choices></View>"
)
YAML = "codebook: book.yaml\nsources:\n  - name: words\n    kind: fake\n"
OVERLAP = ("maximum_annotations", "overlap_cohort_percentage", "show_overlap_first", "sampling")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return int(str(caught.value.code))


@pytest.fixture
def at_hand(served: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings in the environment, as the command line reads them, and a winnow.yaml in the working folder."""
    assert served.label_studio_token
    assert served.redis_url
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "HOME": served.home, "PORT": served.port, "LABEL_STUDIO_URL": served.label_studio_url,
        "LABEL_STUDIO_TOKEN": served.label_studio_token.get_secret_value(),
        "REDIS_URL": served.redis_url.get_secret_value(),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"WINNOW_{name}", str(value))
    Path("winnow.yaml").write_text(YAML, encoding="utf-8")
    Path("book.yaml").write_text(dump_codebook(CODEBOOK), encoding="utf-8")
    return served


def counts(sdk: LabelStudio) -> dict[str, int]:
    """How much of everything that set-up makes there is in all of Label Studio."""
    projects = [int(p.id) for p in sdk.projects.list()]
    return {
        "projects": len(projects),
        "webhooks": sum(len(list(sdk.webhooks.list(project=str(p)))) for p in projects),
        "backends": sum(len(list(sdk.ml.list(project=p))) for p in projects),
        "views": sum(len(list(sdk.views.list(project=p))) for p in projects),
    }


def test_run_twice_nothing_doubles(at_hand: Settings, sdk: LabelStudio, capsys: pytest.CaptureFixture[str]) -> None:
    empty = counts(sdk)
    assert run("init", "winnow.yaml", "--title", "twice", "--dry-run") == 0
    assert "is created" in capsys.readouterr().out
    assert counts(sdk) == empty, "a dry run makes nothing"

    assert run("init", "winnow.yaml", "--title", "twice") == 0
    once = counts(sdk)
    assert once == {**empty, **{name: empty[name] + 1 for name in ("projects", "webhooks", "backends")}}
    assert run("init", "winnow.yaml", "--title", "twice") == 0
    told = capsys.readouterr().out
    assert "was created from this file before" in told
    assert "Nothing changes." in told
    assert counts(sdk) == once

    assert run("init", "winnow.yaml", "--title", "another wave") == 0
    assert counts(sdk)["projects"] == once["projects"] + 1


def test_overlap_and_order_are_set_and_read_back(
    at_hand: Settings, client: LabelStudioClient, sdk: LabelStudio
) -> None:
    review = Review(overlap=3, order=Order.UNCERTAINTY)
    project = set_up_project(at_hand, client, replace(EXPERIMENT, review=review), CODEBOOK, title="overlap")
    state = client.project_state(project.id)
    assert [state.settings[name] for name in OVERLAP] == [3, 100, False, "Uncertainty sampling"]
    client.import_tasks(
        project.id,
        [wire.task_data(Document(f"d{n}", "text"), form=project.form) for n in range(40)],
    )
    assert {task.overlap for task in sdk.tasks.list(project=project.id, fields="all")} == {3}

    plan = plan_set_up(at_hand, client, EXPERIMENT, CODEBOOK, project_id=project.id)
    assert not plan.own, "what winnow.yaml said before is Winnow's own"
    carry_out(at_hand, client, plan)
    state = client.project_state(project.id)
    assert [state.settings[name] for name in OVERLAP] == [1, 100, False, "Uniform sampling"]
    client.set_settings(project.id, {"maximum_annotations": 2})
    plan = plan_set_up(at_hand, client, EXPERIMENT, CODEBOOK, project_id=project.id)
    assert [(c.what, c.before, c.after) for c in plan.own] == [("maximum_annotations", "2", "1")], "set by hand"


def test_a_setting_that_is_not_taken_is_told(
    client: LabelStudioClient, sdk: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = client.create_project("not taken", CONFIG)
    monkeypatch.setattr(type(client._sdk.projects), "update", lambda *_, **__: None)
    with pytest.raises(LabelStudioError, match="maximum_annotations is 1 where 4 was written") as told:
        client.set_settings(project, {"maximum_annotations": 4})
    assert "\n" not in str(told.value)


def test_a_teams_own_is_shown_and_changed_only_when_agreed(
    at_hand: Settings, client: LabelStudioClient, sdk: LabelStudio, capsys: pytest.CaptureFixture[str]
) -> None:
    project = client.create_project("theirs", OTHER)
    (task,) = client.import_tasks(project, [{"text": "a text"}])
    client.import_predictions(project, [{"task": task, "result": [], "score": 0.5, "model_version": "theirs-1"}])
    sdk.projects.update(project, maximum_annotations=2, show_collab_predictions=False, model_version="theirs-1")
    before = client.project_state(project)
    assert run("init", "winnow.yaml", "--project", project) == 2
    line = capsys.readouterr().err
    for told in (
        "label config: ",
        "maximum_annotations: 2 -> 1",
        "show_collab_predictions: ",
        "model version: theirs-1",
    ):
        assert told in line
    assert "--dry-run" in line
    assert "--yes" in line
    assert run("init", "winnow.yaml", "--project", project, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert '-<View><Text name="text" value="$text"/>' in shown
    assert '+      <Choices name="reject"' in shown.replace("+    <Choices", "+      <Choices")
    assert client.project_state(project) == before
    assert not (at_hand.home / "projects").exists()

    assert run("init", "winnow.yaml", "--project", project, "--yes") == 0
    assert client.label_config(project) == CONFIG
    assert client.project_state(project).settings["maximum_annotations"] == 1
    assert plan_set_up(at_hand, client, EXPERIMENT, CODEBOOK, project_id=project).changes == ()


def test_a_layout_of_the_teams_own_is_kept(at_hand: Settings, client: LabelStudioClient) -> None:
    laid_out = CONFIG.replace("I am unsure", "Not sure at all").replace("<Style", '<Header value="Wave 2"/><Style', 1)
    project = client.create_project("laid out", laid_out)
    made = set_up_project(at_hand, client, EXPERIMENT, CODEBOOK, project_id=project)
    assert client.label_config(project) == laid_out
    assert made == load_project(at_hand.home, project)


def test_a_label_config_with_annotations_is_never_replaced(
    client: LabelStudioClient, sdk: LabelStudio, served: Settings
) -> None:
    project = client.create_project("annotated", OTHER)
    (task,) = client.import_tasks(project, [{"text": "a text"}])
    result = [{"from_name": "x", "to_name": "text", "type": "choices", "value": {"choices": ["y"]}}]
    sdk.annotations.create(id=task, result=result)
    with pytest.raises(
        LabelConfigError, match=r"has 1 annotations under a label config .* lacks the codes .* new project"
    ):
        set_up_project(served, client, EXPERIMENT, CODEBOOK, project_id=project, agreed=True)
    keep = replace(EXPERIMENT, review=Review(ReviewForm.KEEP))
    with pytest.raises(LabelConfigError, match=r"team's own, which stays in the forms whole, choose, blind only"):
        set_up_project(served, client, keep, CODEBOOK, project_id=project, agreed=True)
    assert client.label_config(project) == OTHER


def test_a_project_with_another_text_key_is_told(client: LabelStudioClient, served: Settings) -> None:
    config = render_label_config(CODEBOOK, ReviewForm.REJECT, text_key="body")
    project = client.create_project("body", config)
    client.import_tasks(project, [{"body": "a text", "candidates": []}])
    with pytest.raises(LabelConfigError, match=r"its text is \$body, winnow\.yaml says `text: text`"):
        set_up_project(served, client, EXPERIMENT, CODEBOOK, project_id=project)


def test_the_codebook_of_the_project_is_taken_where_no_other_is_named(
    at_hand: Settings, client: LabelStudioClient
) -> None:
    project = client.create_project("its own codes", OTHER)
    Path("winnow.yaml").write_text("sources:\n  - name: words\n    kind: fake\n", encoding="utf-8")
    assert run("init", "winnow.yaml", "--project", project, "--yes") == 0
    assert load_project(at_hand.home, project).codebook.label_keys == ("y", "z")
    other = client.create_project("other codes", OTHER)
    assert run("init", "winnow.yaml", "--project", other, "--codebook", "book.yaml", "--yes") == 0
    assert load_project(at_hand.home, other).codebook == CODEBOOK


def test_a_legacy_token_is_as_good(at_hand: Settings, sdk: LabelStudio) -> None:
    http = sdk._client_wrapper.httpx_client

    def allow(legacy: bool) -> None:
        tokens = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": legacy}
        assert http.request("api/jwt/settings", method="POST", json=tokens).is_success

    allow(True)
    try:
        token = http.request("api/current-user/token", method="GET").json()["token"]
        legacy = at_hand.model_copy(update={"label_studio_token": SecretStr(token)})
        client = LabelStudioClient(legacy)
        project = set_up_project(legacy, client, EXPERIMENT, CODEBOOK, title="by a legacy token")
        assert plan_set_up(legacy, client, EXPERIMENT, CODEBOOK, project_id=project.id).changes == ()
    finally:
        allow(False)
    with pytest.raises(LabelStudioError, match="the token is refused"):
        client.version()


@contextmanager
def guarded(
    label_studio_executable: Path, template: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **names: str
) -> Iterator[LabelStudioServer]:
    """A Label Studio that guards against local addresses, as it does by default."""
    for name, value in names.items():
        monkeypatch.setitem(servers._SETTINGS, name, value)
    with LabelStudioServer(label_studio_executable, folder, template=template, password="Pass-word-12") as server:
        yield server


def test_both_guards_against_local_addresses_are_explained(
    served: Settings, label_studio_executable: Path, label_studio_template: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With only one of them off Label Studio keeps a half-made backend; the next run with both off completes it."""
    folder = tmp_path / "label-studio"
    both = "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"
    half = {"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "true"}
    with guarded(label_studio_executable, label_studio_template, folder, monkeypatch, **half) as server:
        settings = _at(served, server)
        client = LabelStudioClient(settings)
        assert served.password
        with pytest.raises(LabelStudioError, match="the address is blocked") as told:
            set_up_project(settings, client, EXPERIMENT, CODEBOOK, title="guarded")
        assert both in str(told.value)
        assert "it goes on with project 1" in str(told.value)
        with pytest.raises(LabelStudioError, match="the address is blocked"):
            client.connect_backend(1, served.backend_url, settings.username, served.password.get_secret_value())
        assert len(client.backends(1, served.backend_url)) == 1, "the half-made one"
    with guarded(
        label_studio_executable, label_studio_template, folder, monkeypatch, SSRF_PROTECTION_ENABLED="false"
    ) as server:
        settings = _at(served, server)
        client = LabelStudioClient(settings)
        connect(settings, client, 1)
        sdk = client._sdk
        (backend,) = sdk.ml.list(project=1)
        (hook,) = sdk.webhooks.list(project="1")
        assert backend.auth_method == "BASIC_AUTH"
        assert str(hook.headers["Authorization"]).startswith("Bearer ")
        assert "reaches" in check_backend(settings, client, 1)
        for _ in range(2):
            assert "is active" in check_webhook(settings, client, 1), "looking changes nothing"
    on = {"ML_BLOCK_LOCAL_IP": "true", "SSRF_PROTECTION_ENABLED": "true"}
    with guarded(label_studio_executable, label_studio_template, folder, monkeypatch, **on) as server:
        settings = _at(served, server)
        for check in (check_backend, check_webhook):
            with pytest.raises(LabelStudioError) as told:  # what the doctor says of guards that came on since
                check(settings, LabelStudioClient(settings), 1)
            assert both in str(told.value)


def _at(served: Settings, server: LabelStudioServer) -> Settings:
    token = SecretStr(server.token())
    return served.model_copy(update={"label_studio_url": server.url, "label_studio_token": token})
