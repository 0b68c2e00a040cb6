"""Bad input that only a real Label Studio can bring about: one line, exit code 2, and what the doctor says of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from label_studio_sdk import LabelStudio

from label_configs.codebook import Codebook, dump_codebook, load_codebook
from label_configs.render import default_form, render_label_config
from ml_backend.experiment import load_experiment
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.settings import load_settings
from tests.local_server import serving
from trainer.cli import main
from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.walk import free_port
from trainer.doctor.finding import look
from trainer.doctor.label_studio import check_label_studio
from trainer.doctor.project import check_project

pytestmark = pytest.mark.label_studio

REUTERS = load_codebook("reuters8")
YAML = "codebook: reuters8\nsources:\n  - name: words\n    kind: fake\n"
IMAGES = '<View><Image name="i" value="$i"/><Choices name="c" toName="i"><Choice value="a"/></Choices></View>'
SPANS = '<View><Text name="t" value="$text"/><Labels name="l" toName="t"><Label value="a"/></Labels></View>'
Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def somewhere(label_studio: LabelStudioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of the test's own, and the session's Label Studio."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINNOW_PORT", str(free_port()))
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_TOKEN", label_studio.token())
    Path("winnow.yaml").write_text(YAML, encoding="utf-8")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must be refused, and gives its one line."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert caught.value.code == 2
        assert captured.out == ""
        assert re.fullmatch(r"winnow: [^\n]+\n", captured.err), captured.err
        return captured.err.removeprefix("winnow: ").rstrip("\n")

    return run


class Silent(SimpleHTTPRequestHandler):
    """Serves files, and nothing that Label Studio would."""

    def log_message(self, *arguments: object) -> None:
        del arguments  # standard error is the command's


def project(server: LabelStudioServer, label_config: str) -> int:
    sdk = LabelStudio(base_url=server.url, api_key=server.token())
    return int(sdk.projects.create(title="bad input", label_config=label_config).id)


def doctors_line(project_id: int, expected: Codebook | None = None) -> str:
    """What the doctor finds wrong with a project's label config."""
    client = LabelStudioClient(load_settings())
    both = (load_experiment(Path("winnow.yaml"))[0], expected) if expected else None
    finding = look("project", lambda: check_project(client, project_id, both))
    assert not finding.ok
    assert finding.remedy
    return f"{finding.what}; {finding.remedy}"


@pytest.mark.parametrize(
    "token",
    ["0123456789abcdef0123456789abcdef01234567", "no.token.atall", "two words", "tøken"],
    ids=["legacy", "malformed", "spaces", "not ASCII"],
)
@pytest.mark.parametrize("command", ["init winnow.yaml", "evaluate --project 1"])
def test_a_refused_token(refused: Refused, monkeypatch: pytest.MonkeyPatch, command: str, token: str) -> None:
    register(load_settings().home, 1, *load_experiment(Path("winnow.yaml")))
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_TOKEN", token)
    line = refused(*command.split())
    assert "WINNOW_LABEL_STUDIO_TOKEN" in line
    assert token not in line


def test_a_token_that_was_revoked(
    refused: Refused, label_studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = label_studio.token().split(".")
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_TOKEN", ".".join([other[0], other[1], "A" * len(other[2])]))
    line = refused("init", "winnow.yaml")
    assert "the token is refused" in line
    finding = look("label studio", lambda: check_label_studio(load_settings()))
    assert not finding.ok
    assert "the token is refused" in finding.what


def test_the_address_of_another_server(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Silent) as url:
        monkeypatch.setenv("WINNOW_LABEL_STUDIO_URL", url)
        line = refused("init", "winnow.yaml")
    assert line.startswith(f"Label Studio at {url}: ")
    assert "WINNOW_LABEL_STUDIO_URL" in line


def test_a_path_that_is_no_label_studio(
    refused: Refused, label_studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_URL", f"{label_studio.url}/somewhere")
    assert f"{label_studio.url}/somewhere" in refused("init", "winnow.yaml")


def test_a_project_that_does_not_exist(refused: Refused) -> None:
    line = refused("init", "winnow.yaml", "--project", "999999")
    assert "project 999999" in line
    assert "check the project's id" in line


def test_a_project_without_a_text_field(refused: Refused, label_studio: LabelStudioServer) -> None:
    identifier = project(label_studio, IMAGES)
    line = refused("init", "winnow.yaml", "--project", identifier)
    assert line.startswith(
        f"project {identifier}: would change what is not Winnow's (label config: has no Text field -> "
    )
    assert "--dry-run" in line
    assert "--yes" in line
    assert "has no Text field; add <Text" in doctors_line(identifier)


def test_a_label_config_that_winnow_cannot_read(refused: Refused, label_studio: LabelStudioServer) -> None:
    identifier = project(label_studio, SPANS)
    line = refused("init", "winnow.yaml", "--project", identifier)
    assert line.startswith(f"project {identifier}: would change what is not Winnow's (label config: has no Choices for")
    assert "has no Choices for the text" in doctors_line(identifier)


def test_a_codebook_that_does_not_match_the_project(refused: Refused, label_studio: LabelStudioServer) -> None:
    right = render_label_config(REUTERS, default_form(REUTERS))
    identifier = project(label_studio, right.replace('alias="earn"', 'alias="profit"'))
    line = refused("init", "winnow.yaml", "--project", identifier)
    assert line.startswith(f"project {identifier}: would change what is not Winnow's (label config: ")
    assert "lacks the codes earn and has the codes profit" in line
    assert "lacks the codes earn" in doctors_line(identifier, REUTERS)
    assert not (load_settings().home / "projects").exists(), "nothing was registered"


def test_a_new_project_is_not_begun_while_winnow_is_down(refused: Refused, label_studio: LabelStudioServer) -> None:
    sdk = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())
    line = refused("init", "winnow.yaml", "--title", "never made")
    assert line.startswith("no Winnow answers at http://127.0.0.1:")
    assert line.endswith("start it with `winnow up` first")
    assert "never made" not in {p.title for p in sdk.projects.list()}


def test_redis_is_away_though_label_studio_is_there(refused: Refused) -> None:
    register(load_settings().home, 1, *load_experiment(Path("winnow.yaml")))
    assert refused("prelabel", "--project", "1").endswith("start it with `winnow up`")


def test_a_registered_project_that_label_studio_has_no_longer(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, redis_db: str
) -> None:
    monkeypatch.setenv("WINNOW_REDIS_URL", redis_db)
    register(load_settings().home, 999999, *load_experiment(Path("winnow.yaml")))
    for command in ("prelabel", "evaluate"):
        assert "project 999999" in refused(command, "--project", "999999")


def test_the_doctor_finds_a_real_label_studio_in_order() -> None:
    assert re.search(r"release 1\.2\d", check_label_studio(load_settings()))


def test_a_codebook_that_loses_a_code_in_use(refused: Refused, label_studio: LabelStudioServer) -> None:
    identifier = project(label_studio, render_label_config(REUTERS, default_form(REUTERS)))
    register(load_settings().home, identifier, *load_experiment(Path("winnow.yaml")))
    sdk = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())
    done = sdk.projects.import_tasks(identifier, request=[{"text": "t", "candidates": []}], return_task_ids=True)
    (task,) = done.task_ids or []
    chosen = {"from_name": "replacement", "to_name": "text", "type": "choices", "value": {"choices": ["earn"]}}
    sdk.annotations.create(id=task, result=[chosen])
    codes = tuple(code for code in REUTERS.codes if code.key != "earn")
    Path("book.yaml").write_text(dump_codebook(replace(REUTERS, codes=codes)), encoding="utf-8")

    def init(*arguments: str) -> str:
        return refused("init", "winnow.yaml", "--codebook", "book.yaml", "--project", identifier, *arguments)

    assert f"earn in 1 (1 say it holds; tasks {task}); keep the codes, or say with `--map earn=NEW`" in init()
    assert "lacks codes that decisions name" in init("--yes")
    assert "did you mean earn?" in init("--map", "eran=acq")
    assert "has no acqu; its codes are acq, crude" in init("--map", "earn=acqu")
    assert "drops a code that holds in decisions" in init("--map", "earn=")
    assert "is no OLD=NEW" in init("--map", "earn")
    assert "(code: earn -> acq (" in init("--map", "earn=acq"), "what was coded is changed only when agreed"


def test_a_label_config_that_was_edited_by_hand(
    refused: Refused, label_studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch, redis_db: str
) -> None:
    monkeypatch.setenv("WINNOW_REDIS_URL", redis_db)
    right = render_label_config(REUTERS, default_form(REUTERS))
    identifier = project(label_studio, right.replace('alias="earn"', 'alias="profit"'))
    register(load_settings().home, identifier, *load_experiment(Path("winnow.yaml")))
    Path("docs.csv").write_text("id,text\n1,a text\n", encoding="utf-8")
    for command in ("prelabel", "import docs.csv"):
        line = refused(*command.split(), "--project", identifier)
        assert line.startswith(f"project {identifier}: label config: does not match codebook reuters8: lacks the codes")
        assert f"`winnow init winnow.yaml --project {identifier}`" in line
