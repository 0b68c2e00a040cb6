"""SIGTERM while Label Studio or Redis takes connections and answers nothing: every process ends within 10 seconds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from ml_backend import embedded_redis, queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.locks import LOCK_KEY
from ml_backend.prelabel import enqueue_chunk
from ml_backend.proposing import Plan
from ml_backend.pushing import Scope
from ml_backend.registered_projects import register
from ml_backend.settings import Settings, with_secrets
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.running import until
from trainer.demo.walk import free_port
from trainer.tether import tethered
from trainer.up import embedded_redis_answers, environment, local_url, web_answers

LONG = 120  # seconds to start, on a machine with other work
END_SECONDS = 10

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's parent-death signal"),
]


class Silent:
    """A server that takes connections and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._kept: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while True:
            try:
                self._kept.append(self._socket.accept()[0])
            except OSError:
                return
            if self._kept[-1].recv(1):
                self.asked.set()

    def close(self) -> None:
        """Hang up."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for one in self._kept:
            one.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


@contextmanager
def running(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the installation; what it says goes to ``home/<last argument>.log``."""
    with (settings.home / f"{arguments[-1]}.log").open("wb") as told:
        process = subprocess.Popen(
            tethered([sys.executable, "-m", "trainer.cli", *arguments]), env=environment(settings), stderr=told,
            stdout=told, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def ended(settings: Settings, process: subprocess.Popen[bytes], name: str, codes: Collection[int] = (0,)) -> str:
    """Send SIGTERM; what it told, once it has ended in time with one of these codes."""
    process.terminate()
    try:
        code = process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{name} does not end within {END_SECONDS} s")
    told = (settings.home / f"{name}.log").read_text()
    assert code in codes, told
    assert "Traceback" not in told
    return told


@pytest.fixture
def waiting(silent: Silent, redis_db: str, tmp_path: Path) -> tuple[Settings, Project]:
    """A project of a Label Studio that does not answer."""
    settings = Settings(
        home=tmp_path, redis_url=SecretStr(redis_db), label_studio_url=silent.url, label_studio_token=SecretStr("t")
    )
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),), review=Review(ReviewForm.WHOLE))
    return settings, register(tmp_path, 1, experiment, load_codebook("reuters8"))


def test_a_scheduler_that_waits_for_label_studio_ends(waiting: tuple[Settings, Project], silent: Silent) -> None:
    settings, _ = waiting
    with running(settings, "worker", "scheduler") as process, queue.client(settings) as redis:
        assert silent.asked.wait(LONG)
        assert redis.exists(LOCK_KEY.format(name="scheduler"))
        assert "look broken off" in ended(settings, process, "scheduler")
        assert not redis.exists(LOCK_KEY.format(name="scheduler")), "another one can take over at once"


def test_a_propose_worker_that_waits_for_label_studio_hands_back_its_job(
    waiting: tuple[Settings, Project], silent: Silent
) -> None:
    settings, project = waiting
    with queue.client(settings) as redis, running(settings, "worker", "propose") as process:
        enqueue_chunk(redis, project, Plan.of(project).version, [1, 2], Scope.REVIEW)
        assert silent.asked.wait(LONG)
        assert "job handed back" in ended(settings, process, "propose")
        assert len(queue.queue(redis, queue.PROPOSE).job_ids) == 1


def test_processes_end_while_redis_hangs(tmp_path: Path) -> None:
    token = SecretStr("t")
    settings = with_secrets(Settings(home=tmp_path, port=free_port(), web_workers=1, label_studio_token=token))
    (settings.home / "redis").mkdir()
    server = subprocess.Popen(
        tethered(embedded_redis.command(settings.home / "redis", settings.socket_path)), stdout=subprocess.DEVNULL
    )
    named = {"serve": ("serve",), **{name: ("worker", name) for name in ("propose", "train", "scheduler")}}
    try:
        until(lambda: embedded_redis_answers(settings), LONG)
        with ExitStack() as stack:
            started = {name: stack.enter_context(running(settings, *command)) for name, command in named.items()}
            with queue.client(settings) as redis:
                until(lambda: live_workers(redis) and live_workers(redis, WorkerKind.TRAIN), LONG)
                until(lambda: redis.exists(LOCK_KEY.format(name="scheduler")), LONG)
            until(lambda: web_answers(local_url(settings)), LONG)
            server.send_signal(signal.SIGSTOP)
            with pytest.raises(RedisError), Redis(unix_socket_path=str(settings.socket_path), socket_timeout=1) as one:
                one.ping()
            for name, process in started.items():
                told = ended(settings, process, name, codes=(0, 1))
                assert ("process cut off" in told) == bool(process.returncode)
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.terminate()
        server.wait(timeout=10)
