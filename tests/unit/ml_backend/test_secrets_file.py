"""The file of secrets: private, whole, and completed where a release wants more than an older one wrote."""

from __future__ import annotations

import json
import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ml_backend.secrets_file import complete_secrets, put_secret, read_secrets
from ml_backend.settings import Settings, with_secrets


def test_what_others_could_read_is_made_private(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "secrets.json"
    path.write_text('{"password": "p"}')
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert read_secrets(tmp_path) == {"password": "p"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"secrets exposed: file={path}" in caplog.text
    assert '"p"' not in caplog.text


def test_one_value_is_replaced(tmp_path: Path) -> None:
    put_secret(tmp_path / "home", "a", "1")
    put_secret(tmp_path / "home", "b", "2")
    put_secret(tmp_path / "home", "a", "3")
    assert read_secrets(tmp_path / "home") == {"a": "3", "b": "2"}
    assert stat.S_IMODE((tmp_path / "home" / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_only_what_lacks_is_made_and_by_one_process(tmp_path: Path) -> None:
    put_secret(tmp_path, "a", "old")
    with ThreadPoolExecutor(8) as pool:
        numbers = [str(number) for number in range(8)]
        found = list(
            pool.map(lambda number: complete_secrets(tmp_path, {"a": lambda: "new", "b": lambda: number}), numbers)
        )
    assert all(values == found[0][0] for values, _ in found)
    assert found[0][0]["a"] == "old"
    assert sorted(made for _, made in found) == [[]] * 7 + [["b"]]


def test_a_file_of_an_older_release_goes_on_working(tmp_path: Path) -> None:
    """Releases before this one knew the account's password and the webhook's token alone."""
    (tmp_path / "secrets.json").write_text(json.dumps({"password": "old-p", "webhook_token": "old-t"}, indent=2))
    settings = with_secrets(Settings(home=tmp_path))
    assert settings.password
    assert settings.webhook_token
    assert (settings.password.get_secret_value(), settings.webhook_token.get_secret_value()) == ("old-p", "old-t")
    assert settings.viewer_password is None


def test_hashes_are_found_where_the_rest_is_given(tmp_path: Path) -> None:
    put_secret(tmp_path, "viewer_password", "scrypt:hash")
    given: dict[str, Any] = {"home": tmp_path, "password": "a", "webhook_token": "b", "operator_password": "o"}
    settings = with_secrets(Settings(**given))
    assert settings.viewer_password
    assert settings.viewer_password.get_secret_value() == "scrypt:hash"
    assert settings.operator_password
    assert settings.operator_password.get_secret_value() == "o"
    assert read_secrets(tmp_path) == {"viewer_password": "scrypt:hash"}, "nothing is made that is not wanted"
