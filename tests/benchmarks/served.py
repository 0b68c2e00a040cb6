"""Winnow's processes for benchmarks of its web process: a Redis, `winnow serve` and workers, each of them real."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import SecretStr
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from ml_backend import embedded_redis
from ml_backend.settings import Settings, with_secrets
from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.walk import free_port
from trainer.tether import tethered
from trainer.up import embedded_redis_answers, environment, local_url, web_answers

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 180  # on a machine that does other things, too


@contextmanager
def beside_label_studio() -> Iterator[Settings]:
    """Settings of an installation, secrets made, in a folder for the time of the block; a Label Studio runs there."""
    executable = ROOT / ".venv-label-studio" / "bin" / "label-studio"
    with (
        tempfile.TemporaryDirectory() as scratch,
        LabelStudioServer(
            executable, Path(scratch) / "label-studio", template=ROOT / ".demo" / "label-studio-template"
        ) as server,
    ):
        settings = Settings(
            home=Path(scratch) / "home", label_studio_url=server.url, label_studio_token=SecretStr(server.token()),
            port=free_port(), chunk_documents=8, threads=1,
        )  # fmt: skip
        yield with_secrets(settings)


@contextmanager
def served(settings: Settings, *workers: str) -> Iterator[None]:
    """A Redis and the web process of these settings, and `winnow worker` of these names, until the block ends."""
    with ExitStack() as running:
        redis = embedded_redis.command(settings.home / "redis", settings.socket_path)
        running.enter_context(process(settings, "redis", redis))
        until(lambda: embedded_redis_answers(settings))
        running.enter_context(process(settings, "web", winnow("serve")))
        for name in workers:
            running.enter_context(process(settings, name, winnow("worker", name)))
        until(lambda: web_answers(local_url(settings)))
        yield


@contextmanager
def process(settings: Settings, name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """One process with these settings, which logs to ``home/logs/<name>.log``."""
    path = settings.logs_folder / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        started = subprocess.Popen(
            tethered(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(settings)
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def winnow(*arguments: str) -> list[str]:
    """The command line of `winnow` with this interpreter."""
    return [sys.executable, "-m", "trainer.cli", *arguments]


def until(condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Return when ``condition()`` is true; raises tenacity's RetryError when it does not become so."""
    Retrying(retry=retry_if_result(lambda true: not true), stop=stop_after_delay(seconds), wait=wait_fixed(0.1))(
        condition
    )
