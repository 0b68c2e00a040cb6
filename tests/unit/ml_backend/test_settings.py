"""Settings: nonsense is refused by name, secrets are made once and shown to nobody."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from label_configs.errors import ConfigError, EnvironmentFault
from ml_backend.settings import SOCKET_PATH_LIMIT, Settings, load_settings, with_secrets


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WINNOW_LABEL_STUDIO_URL", "localhost:8080", "is no URL; write http://host:port"),
        ("WINNOW_LABEL_STUDIO_URL", "ftp://host", "is no URL"),
        ("WINNOW_LABEL_STUDIO_URL", "http://", "is no URL"),
        ("WINNOW_LABEL_STUDIO_URL", "http://host:99999", "is no URL"),
        ("WINNOW_LABEL_STUDIO_URL", "http://[::1", "is no URL"),
        ("WINNOW_PUBLIC_URL", "winnow.example", "is no URL"),
        ("WINNOW_PORT", "0", "greater than or equal to 1"),
        ("WINNOW_PORT", "70000", "less than or equal to 65535"),
        ("WINNOW_PORT", "web", "valid integer"),
        ("WINNOW_PREDICT_DEADLINE_SECONDS", "100", "less than 100"),
        ("WINNOW_CHUNK_DOCUMENTS", "0", "greater than or equal to 1"),
        ("WINNOW_LOG_LEVEL", "LOUD", "use DEBUG, INFO, WARNING or ERROR"),
    ],
)
def test_nonsense_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"environment: {name}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_PORT", "0")
    monkeypatch.setenv("WINNOW_LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigError, match=r"WINNOW_PORT: .*; WINNOW_LOG_LEVEL: "):
        load_settings()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", "here")
    monkeypatch.setenv("WINNOW_LABEL_STUDIO_URL", "https://labels.example/ls/")
    monkeypatch.setenv("WINNOW_PASSWORD", "")
    monkeypatch.setenv("WINNOW_LOG_LEVEL", "debug")
    settings = load_settings()
    assert settings.home == tmp_path / "here"
    assert settings.label_studio_url == "https://labels.example/ls"
    assert settings.password is None, "an empty variable is as good as none"
    assert settings.log_level == "DEBUG"
    assert settings.backend_url == "http://127.0.0.1:9090"


def test_the_backends_address_can_be_given(tmp_path: Path) -> None:
    assert Settings(public_url="https://winnow.example/").backend_url == "https://winnow.example"
    assert Settings(host="::1", port=91).backend_url == "http://[::1]:91"


def test_secrets_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first = with_secrets(Settings(home=tmp_path / "home"))
    path = tmp_path / "home" / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert with_secrets(Settings(home=tmp_path / "home")) == first
    assert first.password
    assert first.webhook_token
    assert first.password != first.webhook_token
    assert len(first.password.get_secret_value()) >= 24
    assert [p.name for p in path.parent.iterdir()] == ["secrets.json"]


def test_processes_that_start_together_have_the_same_secrets(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: with_secrets(Settings(home=tmp_path)), range(8)))
    assert len({m.password.get_secret_value() for m in made if m.password}) == 1


def test_given_secrets_are_not_replaced(tmp_path: Path) -> None:
    given = with_secrets(Settings(home=tmp_path, password="hunter2"))
    assert given.password
    assert given.password.get_secret_value() == "hunter2"
    assert "hunter2" not in (tmp_path / "secrets.json").read_text()
    both = with_secrets(Settings(home=tmp_path / "other", password="a", webhook_token="b"))
    assert both.webhook_token
    assert not (tmp_path / "other").exists()


def test_no_secret_is_in_what_is_printed(tmp_path: Path) -> None:
    settings = with_secrets(
        Settings(home=tmp_path, label_studio_token="tok-1", redis_url="redis://:hunter2@host/0", password="pass-1")
    )
    assert settings.webhook_token
    shown = repr(settings) + str(settings) + json.dumps(settings.model_dump(mode="json"))
    for secret in ("tok-1", "hunter2", "pass-1", settings.webhook_token.get_secret_value()):
        assert secret not in shown


@pytest.mark.parametrize("text", ["", "[]", '{"password": 7}', "{"])
def test_a_damaged_secrets_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets.json").write_text(text)
    with pytest.raises(EnvironmentFault, match=r"secrets\.json: cannot be read .*; mend or delete it"):
        with_secrets(Settings(home=tmp_path))


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="set WINNOW_HOME to a folder of yours"):
        with_secrets(Settings(home=tmp_path / "file" / "home"))


def test_the_socket_fits_the_kernel(tmp_path: Path) -> None:
    short = Settings(home=Path("/w"))
    assert short.socket_path == Path("/w/redis/redis.sock")
    assert short.effective_redis_url() == "unix:///w/redis/redis.sock"
    long = Settings(home=tmp_path / ("x" * 100))
    assert len(str(long.socket_path)) <= SOCKET_PATH_LIMIT
    assert long.socket_path != Settings(home=tmp_path / ("y" * 100)).socket_path
    assert Settings(home=Path("/a b")).effective_redis_url() == "unix:///a%20b/redis/redis.sock"


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_api_keys_are_read_and_shown_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().api_keys == {}
    monkeypatch.setenv("WINNOW_API_KEYS", '{"openai": "sk-secret", "house": "k2"}')
    settings = load_settings()
    assert settings.api_keys["openai"].get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(settings)
    assert "sk-secret" not in str(settings.api_keys)


@pytest.mark.parametrize("value", ["sk-secret", '["sk-secret"]', '{"openai": ["sk-secret"]}', '{"sk-secret": ""}', "{"])
def test_api_keys_that_are_none_are_told_without_them(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("WINNOW_API_KEYS", value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value) == 'environment: WINNOW_API_KEYS: is no JSON object of texts; write {"name": "key"}'


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "winnow_password").write_text("from a file\n")
    (tmp_path / "winnow_webhook_token").write_text("from another\n")
    monkeypatch.setenv("WINNOW_SECRETS_FOLDER", str(tmp_path))
    monkeypatch.setenv("WINNOW_WEBHOOK_TOKEN", "from the environment")
    settings = load_settings()
    assert settings.password
    assert settings.password.get_secret_value() == "from a file"
    assert settings.webhook_token
    assert settings.webhook_token.get_secret_value() == "from the environment"


def test_a_secrets_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WINNOW_SECRETS_FOLDER", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"WINNOW_SECRETS_FOLDER: .* is no folder"):
        load_settings()
