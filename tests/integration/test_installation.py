"""``winnow up`` as a process: whatever ends it, nothing that it started is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from ml_backend import queue
from ml_backend.settings import Settings
from tests.integration.running import process_named, processes_of, until
from trainer.demo.walk import free_port
from trainer.up import environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's parent-death signal")

END_SECONDS = 25  # a stop gives each process 10, Redis after the others


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation of its own, with the embedded Redis; no Label Studio answers."""
    return Settings(
        home=tmp_path / "winnow",
        label_studio_url=f"http://127.0.0.1:{free_port()}",
        label_studio_token=SecretStr("not-asked-for"),
        port=free_port(),
        web_workers=1,
    )


@contextmanager
def winnow_up(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """``winnow up``, from when it says that it is up."""
    command = [sys.executable, "-m", "trainer.cli", "up"]
    with subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE, text=True) as up:
        try:
            assert up.stdout is not None
            assert up.stdout.readline().startswith("Winnow is up")
            yield up
        finally:
            up.kill()
            for process in processes_of(settings.home):
                process.kill()


def work_on(settings: Settings, name: str, function: str, *args: float, status: str) -> None:
    """Give a worker a job, and wait until the job has this status."""
    redis = queue.connect(settings)
    job = queue.enqueue(redis, name, function, args, job_id=f"test-{name}", timeout=900)
    assert job is not None
    until(lambda: job.get_status() == status, 60)
    redis.close()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_idle_processes_end_with_winnow_up(settings: Settings, end: signal.Signals) -> None:
    with winnow_up(settings) as up:
        for name in (queue.PROPOSE, queue.TRAIN):
            work_on(settings, name, "math.sqrt", 4.0, status="finished")
        # `winnow up`, Redis, web and its worker, propose, train, scheduler
        assert len(processes_of(settings.home)) == 7
        up.send_signal(end)
        assert up.wait(END_SECONDS) == (-end if end is signal.SIGKILL else 0)
        until(lambda: not processes_of(settings.home), END_SECONDS)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_round_that_runs_ends_with_winnow_up(settings: Settings, end: signal.Signals) -> None:
    with winnow_up(settings) as up:
        work_on(settings, queue.TRAIN, "tests.integration.running.supervise", 600.0, status="started")
        until(lambda: process_named(settings.home, "sleep", "600.0"), 30)
        up.send_signal(end)
        up.wait(END_SECONDS)
        until(lambda: not processes_of(settings.home), END_SECONDS)
