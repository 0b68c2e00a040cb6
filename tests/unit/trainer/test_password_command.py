"""`winnow password`, and what the first start shows."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from label_configs.errors import ConfigError
from ml_backend.access import Role, role_of
from ml_backend.secrets_file import read_secrets
from ml_backend.settings import Settings, load_settings, with_secrets
from trainer.first_passwords import first_passwords
from trainer.password_command import password


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    return (tmp_path / "home").resolve()


class Terminal(io.StringIO):
    """Looks on."""

    def isatty(self) -> bool:
        return True


def start(file: io.StringIO, settings: Settings | None = None) -> Settings:
    return first_passwords(settings or load_settings(), Console(file=file, width=60, force_terminal=True))


def shown(text: str) -> dict[str, str]:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return dict(re.findall(r"^  (\w+) +(\S+)$", plain, re.MULTILINE))


def test_the_first_start_shows_passwords_that_work_and_no_later_one_does(home: Path) -> None:
    first, second = Terminal(), Terminal()
    settings = start(first)
    told = shown(first.getvalue())
    assert list(told) == ["winnow", "viewer", "operator"]
    for name, role in (("winnow", Role.ACCOUNT), ("viewer", Role.VIEWER), ("operator", Role.OPERATOR)):
        assert role_of(settings, name, told[name]) is role
    assert start(second) == settings
    assert second.getvalue() == ""
    kept = (home / "secrets.json").read_text()
    assert told["viewer"] not in kept
    assert told["operator"] not in kept


def test_where_nobody_looks_none_is_made(home: Path) -> None:
    """Rich's own notion of a terminal does not count: FORCE_COLOR makes every log file one."""
    log = io.StringIO()
    settings = start(log)
    assert log.getvalue() == ""
    assert settings.viewer_password is None
    assert sorted(read_secrets(home)) == ["password", "webhook_token"]
    later = Terminal()
    start(later)
    assert list(shown(later.getvalue())) == ["viewer", "operator"], "an older installation's users get theirs"


def test_given_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_PASSWORD", "given-account")
    monkeypatch.setenv("WINNOW_VIEWER_PASSWORD", "given-viewer")
    terminal = Terminal()
    settings = start(terminal)
    assert list(shown(terminal.getvalue())) == ["operator"]
    assert "given-" not in terminal.getvalue()
    assert role_of(settings, "viewer", "given-viewer") is Role.VIEWER


def test_without_authentication_nobody_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_AUTHENTICATION", "false")
    terminal = Terminal()
    start(terminal)
    assert terminal.getvalue() == ""


def test_a_generated_password_is_shown_and_works(home: Path) -> None:
    done = CliRunner().invoke(password, ["viewer", "--generate"], catch_exceptions=False)
    assert done.exit_code == 0
    user, _, made = done.stdout.strip().partition(": ")
    assert user == "viewer"
    settings = with_secrets(load_settings())
    assert role_of(settings, "viewer", made) is Role.VIEWER
    assert made not in (home / "secrets.json").read_text()
    assert "counts after a new start" in done.stderr


@pytest.mark.parametrize(("user", "role"), [("operator", Role.OPERATOR), ("account", Role.ACCOUNT)])
def test_one_is_asked_for_without_being_shown(user: str, role: Role) -> None:
    given = "correct horse battery\ncorrect horse battery\n"
    done = CliRunner().invoke(password, [user], input=given, catch_exceptions=False)
    assert "horse" not in done.output
    settings = with_secrets(load_settings())
    assert role_of(settings, "winnow" if role is Role.ACCOUNT else user, "correct horse battery") is role
    assert ("winnow init" in done.stderr) is (role is Role.ACCOUNT)


def test_a_hash_for_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(password, ["viewer", "--generate", "--hash"], catch_exceptions=False)
    assert not home.exists()
    monkeypatch.setenv("WINNOW_VIEWER_PASSWORD", done.stdout.strip())
    made = done.stderr.strip().partition(": ")[2]
    assert role_of(load_settings(), "viewer", made) is Role.VIEWER


@pytest.mark.parametrize(
    ("arguments", "given", "variable", "told"),
    [
        (["viewer"], "short\nshort\n", "", r"password: has 5 characters; take 12 or more, or --generate"),
        (
            ["account", "--hash"],
            "",
            "",
            r"--hash: Label Studio is told the account's password itself; leave --hash out",
        ),
        (
            ["viewer"],
            "",
            "WINNOW_VIEWER_PASSWORD",
            r"WINNOW_VIEWER_PASSWORD: is set and comes before a stored password; ",
        ),
        (["account"], "", "WINNOW_PASSWORD", r"WINNOW_PASSWORD: is set and comes before .*; put the new one there, or"),
    ],
)
def test_what_cannot_be_is_told(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], given: str, variable: str, told: str
) -> None:
    if variable:
        monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigError, match=told):
        CliRunner().invoke(password, arguments, input=given, catch_exceptions=False)
