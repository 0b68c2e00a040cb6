"""The command line: every command explains itself, and every bad input ends in one line and exit code 2."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from label_configs.errors import EnvironmentFault
from ml_backend.experiment import load_experiment
from ml_backend.registered_projects import register
from ml_backend.settings import load_settings, with_secrets
from trainer.cli import cli, main
from trainer.demo.walk import free_port
from trainer.up import Installation

ROOT = Path(__file__).parent.parent.parent.parent
YAML = "codebook: reuters8\nsources:\n  - name: words\n    kind: fake\n"


Run = Callable[..., "Ended"]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


COMMANDS = sorted(commands(cli))


class Ended:
    """How a run of the command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a home and a port of its own, and a token."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINNOW_PORT", str(free_port()))
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_TOKEN", "a-token")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Ended(int(caught.value.code or 0), captured.out, captured.err)

    return run


def line_of(ended: Ended) -> str:
    """The line that a refused command ends with, below lines of the log; exit code and form checked."""
    assert ended.code == 2
    assert ended.out == ""
    assert re.fullmatch(r"(\d{4}-\d\d-\d\d [\d:,]+ (INFO|WARNING) [^\n]+\n)*winnow: [^\n]+\n", ended.err), ended.err
    assert "Traceback" not in ended.err
    return ended.err.splitlines()[-1].removeprefix("winnow: ")


def written(text: str, name: str = "winnow.yaml") -> Path:
    path = Path.cwd() / name
    path.write_text(text, encoding="utf-8")
    return path


def registered(text: str = YAML, project: int = 7) -> None:
    experiment, codebook = load_experiment(written(text))
    register(Path(os.environ["WINNOW_HOME"]), project, experiment, codebook)


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(run: Run, path: tuple[str, ...]) -> None:
    ended = run(*path, "--help")
    assert (ended.code, ended.err) == (0, "")
    example = re.search(r"Example:\n((?: {4}\S.*\n)+)", ended.out)
    assert example is not None
    last = example[1].strip().splitlines()[-1]
    assert f"winnow {' '.join(path)}".strip() in last


@pytest.mark.parametrize("path", [p for p in COMMANDS if p not in ((), ("adapters",))], ids=" ".join)
def test_every_example_is_a_command_line_that_can_be_read(path: tuple[str, ...]) -> None:
    group: click.Command = cli
    for name in path:
        assert isinstance(group, click.Group)
        group = group.commands[name]
    example = str(group.help).rpartition("Example:")[2].strip().splitlines()[-1]
    arguments = re.findall(r'"[^"]*"|\S+', example.partition(f"winnow {' '.join(path)}")[2])
    assert group.make_context(path[-1], [a.strip('"') for a in arguments]).params is not None


def test_all_commands_are_there() -> None:
    expected = (
        "up serve worker init import prelabel status candidates train review adapters evaluate demo doctor classify "
        "codebook pull agreement effort report curve password reproduce"
    )
    assert set(expected.split()) == set(cli.commands)
    below = {"list", "show", "promote", "rollback", "export", "gc", "serve", "from-data"}
    assert {p[1] for p in COMMANDS if len(p) == 2} == below


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    ended = run()
    assert ended.code == 2
    assert "Commands:" in ended.err


def test_the_version_is_the_packages(run: Run) -> None:
    ended = run("--version")
    assert ended.code == 0
    assert version("label-studio-winnow") in ended.out


# --- what is typed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bogus"], "No such command 'bogus'; see `winnow --help`"),
        (["adapters", "bogus"], "No such command 'bogus'; see `winnow adapters --help`"),
        (["init"], "Missing argument 'CONFIG'; see `winnow init --help`"),
        (["prelabel"], "Missing option '--project'; see `winnow prelabel --help`"),
        (["train", "--project", "seven"], "'seven' is not a valid integer; see `winnow train --help`"),
        (["up", "--fast"], "No such option"),
        (["worker", "sleep"], "'sleep' is not one of 'propose', 'train', 'scheduler'; see `winnow worker --help`"),
        (["worker"], "Choose from: propose, train, scheduler; see `winnow worker --help`"),
    ],
)
def test_a_slip_of_the_keyboard(run: Run, arguments: list[str], told: str) -> None:
    assert told in line_of(run(*arguments))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WINNOW_PORT", "ninety", "WINNOW_PORT"),
        ("WINNOW_PORT", "70000", "WINNOW_PORT"),
        ("WINNOW_LABEL_STUDIO_URL", "localhost:8080", "WINNOW_LABEL_STUDIO_URL: is no URL; write http://host:port"),
        ("WINNOW_PUBLIC_URL", "ftp://host", "WINNOW_PUBLIC_URL: is no URL"),
        ("WINNOW_LOG_LEVEL", "LOUD", "use DEBUG, INFO, WARNING or ERROR"),
        ("WINNOW_PREDICT_DEADLINE_SECONDS", "100", "WINNOW_PREDICT_DEADLINE_SECONDS"),
        ("WINNOW_WEB_WORKERS", "0", "WINNOW_WEB_WORKERS"),
    ],
)
@pytest.mark.parametrize("arguments", [["up"], ["adapters", "list", "--project", "1"]], ids=" ".join)
def test_a_setting_that_cannot_be(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    line = line_of(run(*arguments))
    assert line.startswith("environment: WINNOW_")
    assert told in line


def test_several_settings_at_once_are_told_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_PORT", "0")
    monkeypatch.setenv("WINNOW_THREADS", "none")
    line = line_of(run("serve"))
    assert "WINNOW_PORT" in line
    assert "WINNOW_THREADS" in line


# --- what is in the files --------------------------------------------------------------------------------------------


def test_a_missing_winnow_yaml(run: Run) -> None:
    assert line_of(run("init", "none.yaml")) == (
        "none.yaml: cannot be read (No such file or directory); check the path and its permissions"
    )


def test_an_unknown_key_in_winnow_yaml_is_named_with_line_and_nearest(run: Run) -> None:
    path = written(YAML + "candidats:\n  max: 3\n")
    assert line_of(run("init", path)) == (
        f"{path}:5: candidats: unknown key, remove or rename it (nearest valid key: 'candidates')"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("codebook: nowhere.yaml\nsources: [{name: w, kind: fake}]\n", "nowhere.yaml: cannot be read"),
        ("codebook: reuters9\nsources: [{name: w, kind: fake}]\n", "reuters8"),
        ("codebook: [\n", ":"),
        ("", "codebook: is missing"),
        (YAML + "training:\n  base: owner/base\n  recipe: cpu-large\n", "recipe 'cpu-large'; use one of cpu-small"),
        (YAML + "training:\n  base: owner/base\n  overrides: {rnk: 3}\n", "nearest valid key: 'rank'"),
        (YAML + "review:\n  form: kep\n", "form"),
    ],
)
def test_a_winnow_yaml_that_cannot_be(run: Run, text: str, told: str) -> None:
    assert told in line_of(run("init", written(text)))


def test_a_codebook_that_cannot_be(run: Run) -> None:
    codebook = written("name: c\nkind: exclusive\ncodes:\n  - {key: a, name: A, definition: ''}\n", "codes.yaml")
    line = line_of(run("init", written("codebook: codes.yaml\nsources: [{name: w, kind: fake}]\n")))
    assert f"{codebook}:4" in line


def test_model_files_that_are_missing(run: Run) -> None:
    path = written("codebook: reuters8\nsources:\n  - {name: plain, kind: causal, model: ./models/none}\n")
    assert line_of(run("init", path)) == (
        f"model {path.parent}/models/none: no such folder; check the path in winnow.yaml, or give a hub name"
    )
    (path.parent / "models" / "none").mkdir(parents=True)
    assert line_of(run("init", path)).endswith("has no config.json; download the model whole")
    path = written(YAML + "training:\n  base: models/none\n")
    assert line_of(run("init", path)).endswith("is a folder, but is written as a hub name; write ./models/none")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("none.csv", None, "none.csv: cannot be read (No such file or directory)"),
        ("a.docx", "", "a.docx: unknown kind of file; use .csv, .tsv, .json, .jsonl or .parquet"),
        ("a.csv", "id,body\n1,x\n", "a.csv:1: no column"),
        ("a.jsonl", '{"id": 1, "text": "x"}\n{\n', "a.jsonl:2: no JSON"),
        ("a.csv", "id,text\n1,x\n1,y\n", "a.csv:3: id '1' stands already at"),
    ],
)
def test_documents_that_cannot_be_imported(run: Run, name: str, text: str | None, told: str) -> None:
    registered()
    if text is not None:
        written(text, name)
    assert told in line_of(run("import", name, "--project", "7"))


# --- what is known of a project --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["prelabel", "train", "evaluate", "adapters list", "adapters rollback", "adapters promote ab"]
)
def test_an_unknown_project(run: Run, command: str) -> None:
    line = line_of(run(*command.split(), "--project", "7"))
    assert line.startswith("project 7: not known to Winnow; run `winnow init")


def test_an_unknown_project_to_import_into(run: Run) -> None:
    written("id,text\n1,x\n", "a.csv")
    assert line_of(run("import", "a.csv", "--project", "7")).startswith("project 7: not known to Winnow")


@pytest.mark.parametrize("identifier", ["3f2a9c41d07be865", "../secrets"])
def test_an_unknown_adapter(run: Run, identifier: str) -> None:
    line = line_of(run("adapters", "show", identifier))
    assert identifier in line
    assert "see `winnow adapters" in line


def test_a_project_that_trains_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, redis_db: str) -> None:
    registered()
    monkeypatch.setenv("WINNOW_REDIS_URL", redis_db)
    line = line_of(run("train", "--project", "7"))
    assert line == "project 7: winnow.yaml has no `training`; add it and run `winnow init` again"


def test_a_promotion_of_what_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch, redis_db: str) -> None:
    registered()
    monkeypatch.setenv("WINNOW_REDIS_URL", redis_db)
    line = line_of(run("adapters", "promote", "3f2a9c41d07be865", "--project", "7"))
    assert "adapter 3f2a9c41d07be865: not in the store" in line


# --- what is away ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["up"], ["init", "winnow.yaml"], ["evaluate", "--project", "7"]], ids=" ".join)
def test_a_missing_token(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    registered()
    monkeypatch.delenv("WINNOW_LABEL_STUDIO_TOKEN")
    assert line_of(run(*arguments)).startswith("WINNOW_LABEL_STUDIO_TOKEN is not set; copy a personal access token")


@pytest.mark.parametrize("arguments", [["init", "winnow.yaml"], ["evaluate", "--project", "7"]], ids=" ".join)
def test_nothing_listens_at_label_studios_address(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    registered()
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_URL", url)
    line = line_of(run(*arguments))
    assert url in line
    assert "is it running, and is WINNOW_LABEL_STUDIO_URL right?" in line


@pytest.mark.parametrize(
    "arguments",
    [["serve"], ["worker", "propose"], ["worker", "train"], ["worker", "scheduler"], ["prelabel", "--project", "7"]],
    ids=" ".join,
)
def test_redis_is_away(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    registered()
    assert line_of(run(*arguments)).endswith("start it with `winnow up`")
    monkeypatch.setenv("WINNOW_REDIS_URL", f"redis://user:hidden@127.0.0.1:{free_port()}/0")
    line = line_of(run(*arguments))
    assert line.endswith("set WINNOW_REDIS_URL to a running Redis")
    assert "hidden" not in line
    monkeypatch.setenv("WINNOW_REDIS_URL", "127.0.0.1:6379")
    assert line_of(run(*arguments)).startswith("WINNOW_REDIS_URL is no address of a Redis; write redis://")


def test_redis_of_the_team_is_away_when_all_is_started(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    ended = run("up")
    assert ended.code == 2
    assert "set WINNOW_REDIS_URL to a running Redis" in ended.err.splitlines()[-1]


@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_port_in_use(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("WINNOW_PORT", str(port))
        line = line_of(run(command))
    assert line == f"127.0.0.1:{port}: Address already in use; stop what uses it or set WINNOW_PORT"
    assert not (Path.cwd() / "home").exists(), "nothing was begun"


def test_an_address_of_another_machine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_HOST", "192.0.2.1")
    assert "set WINNOW_" in line_of(run("serve"))


def test_a_home_that_cannot_be_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    written("", "file")
    monkeypatch.setenv("WINNOW_HOME", "file/home")
    assert "set WINNOW_HOME" in line_of(run("up"))
    monkeypatch.setenv("WINNOW_PASSWORD", "p")
    monkeypatch.setenv("WINNOW_WEBHOOK_TOKEN", "t")
    assert "set WINNOW_HOME" in line_of(run("up"))


def test_the_demo_without_label_studio(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("demo", "--folder", ROOT / ".demo", "--label-studio", "no/label-studio", "--oneshot")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("winnow: ")
    assert "run `make label-studio`" in done.err


# --- the doctor ------------------------------------------------------------------------------------------------------


def test_the_doctor_ends_with_what_is_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_PORT", "ninety")
    ended = run("doctor", "--config", "none.yaml")
    assert ended.code == 2
    assert ended.err == "winnow: 2 of 6 checks failed (winnow.yaml, settings); do what the table says\n"
    assert "none.yaml: cannot be read" in ended.out


# --- as a program ----------------------------------------------------------------------------------------------------


def program(*arguments: str) -> Ended:
    command = [sys.executable, "-m", "trainer.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_as_a_program_it_says_one_line_and_ends_with_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "none.yaml: cannot be read" in line_of(program("init", "none.yaml"))
    assert line_of(program("serve")).endswith("start it with `winnow up`")
    monkeypatch.setenv("WINNOW_PORT", "ninety")
    assert "WINNOW_PORT" in line_of(program("up"))


def test_a_command_that_works_ends_with_zero() -> None:
    registered()
    ended = program("adapters", "list", "--project", "7")
    assert (ended.code, ended.err) == (0, "")
    assert "Adapters of project 7" in ended.out


def test_up_says_which_process_ended_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    settings = with_secrets(load_settings())
    with Installation(settings) as installation:
        assert installation is not None
        assert "another `winnow up` uses this folder; stop it or set WINNOW_HOME" in line_of(program("up"))
        monkeypatch.setenv("WINNOW_HOME", "elsewhere")
        assert "Address already in use; stop what uses it" in line_of(program("up"))
        scheduler = installation._processes["scheduler"]
        scheduler.kill()
        scheduler.wait()
        with pytest.raises(EnvironmentFault, match=r"scheduler ended with code -9: .*; see .*scheduler\.log"):
            installation.check()
