"""All of Winnow's processes together, in the foreground: started in order, kept up, stopped together."""

from __future__ import annotations

import json
import logging
import os
import queue as events
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_fixed

from label_configs.errors import EnvironmentFault, QueueError, reason
from ml_backend import embedded_redis, queue
from ml_backend.home_format import mark_home
from ml_backend.log_events import LogEvent, tell
from ml_backend.settings import Settings
from trainer.alone import alone
from trainer.tether import tethered

log = logging.getLogger(__name__)

START_SECONDS = 60.0
STOP_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a process that ended by itself is started again: doubled each time, until one lasted so long."""
COMMANDS = {
    "web": ("serve",),
    "propose": ("worker", "propose"),
    "train": ("worker", "train"),
    "scheduler": ("worker", "scheduler"),
}


def check_port(host: str, port: int, setting: str = "WINNOW_PORT") -> None:
    """Raise EnvironmentFault when something listens on the address already, or it is not of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EnvironmentFault(f"{host}:{port}: {error.strerror}; stop what uses it or set {setting}") from None


class Installation:
    """The processes of one installation: Redis where none is configured, web, workers, scheduler.

    They are tied to the thread that starts them and end with it, however it ends; each has a ``home/logs/<name>.log``.
    One that ends by itself is started again while that thread is in ``wait``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._events: events.Queue[tuple[str, int]] = events.Queue()
        self._pauses: dict[str, Pause] = {}
        self._held = ExitStack()

    def __enter__(self) -> Installation:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return when the web process answers.

        Raises EnvironmentFault, where another installation runs in this home folder too, or QueueError.
        """
        self._hold_folder()
        check_port(self.settings.host, self.settings.port)
        try:
            self.settings.logs_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(
                f"{self.settings.logs_folder}: cannot be made ({reason(error)}); set WINNOW_HOME to a folder of yours"
            ) from None
        if self.settings.redis_url is None:
            self._start_redis()
        queue.connect(self.settings).close()
        for name in COMMANDS:
            self._start(name, self._command(name))
        self._wait_for("web", lambda: web_answers(local_url(self.settings)))

    def _hold_folder(self) -> None:
        """Hold the home folder until ``stop``; the kernel lets go of it where this process is killed."""
        home = self.settings.home
        if self._held.enter_context(alone(home)) is None:
            raise EnvironmentFault(f"{home}: another `winnow up` uses this folder; stop it or set WINNOW_HOME")
        mark_home(home)

    def _start_redis(self) -> None:
        ended = Retrying(
            retry=retry_if_result(bool), stop=stop_after_delay(STOP_SECONDS), wait=wait_fixed(0.1),
            retry_error_callback=lambda _: True,
        )  # fmt: skip
        if ended(embedded_redis_answers, self.settings):  # one whose `winnow up` was killed just now ends soon
            raise EnvironmentFault(
                f"{self.settings.socket_path}: another Redis answers there; stop it or set WINNOW_HOME"
            )
        self._start("redis", self._command("redis"))
        self._wait_for("redis", lambda: embedded_redis_answers(self.settings))

    def _command(self, name: str) -> list[str]:
        if name == "redis":
            return embedded_redis.command(self.settings.home / "redis", self.settings.socket_path)
        return [sys.executable, "-m", "trainer.cli", *COMMANDS[name]]

    def _start(self, name: str, command: list[str]) -> None:
        path = self.settings.logs_folder / f"{name}.log"
        try:
            with path.open("ab") as file:
                process = subprocess.Popen(
                    tethered(command), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                    env=environment(self.settings), start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise EnvironmentFault(f"{name} cannot be started with log {path}: {reason(error)}; mend that") from None
        self._processes[name] = process
        self._pauses.setdefault(name, Pause()).began()
        threading.Thread(target=self._watch, args=(name, process), daemon=True).start()
        tell(log, LogEvent.PROCESS_STARTED, process=name, pid=process.pid, file=path)

    def _watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._events.put((name, process.wait()))

    def _wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        path = self.settings.logs_folder / f"{name}.log"

        def alive_and_ready() -> bool:
            if (code := self._processes[name].poll()) is not None:
                raise EnvironmentFault(self._ended(name, code))
            return ready()

        def too_late(_: RetryCallState) -> NoReturn:
            told = last_line(path) or "no output"
            raise EnvironmentFault(f"{name} does not answer after {START_SECONDS:.0f} s: {told}; see {path}")

        Retrying(
            retry=retry_if_result(lambda is_ready: not is_ready),
            stop=stop_after_delay(START_SECONDS),
            wait=wait_fixed(0.1),
            retry_error_callback=too_late,
        )(alive_and_ready)

    def _ended(self, name: str, code: int) -> str:
        path = self.settings.logs_folder / f"{name}.log"
        return f"{name} ended with code {code}: {last_line(path) or 'no output'}; see {path}"

    def wait(self) -> None:
        """Return when told to stop (SIGINT, SIGTERM). Until then start again what ends by itself, and say so."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._events.put(("", 0)))
        due: dict[str, float] = {}
        while True:
            now = time.monotonic()
            for name in [name for name, at in due.items() if at <= now]:
                del due[name]
                self._restart(name)
            with suppress(events.Empty):
                name, code = self._events.get(timeout=max(0.0, min(due.values()) - now) if due else None)
                if not name:
                    return
                seconds = self._pauses[name].next()
                due[name] = time.monotonic() + seconds
                tell(log, LogEvent.PROCESS_RESTARTED, process=name, seconds=seconds, reason=self._ended(name, code))

    def _restart(self, name: str) -> None:
        # What a killed process has left of its own, as gunicorn's workers, would hold its port.
        with suppress(ProcessLookupError):
            os.killpg(self._processes[name].pid, signal.SIGKILL)
        try:
            self._start(name, self._command(name))
        except EnvironmentFault as error:  # a full disk, as it may be: tried again
            log.error("%s", error)
            self._events.put((name, 1))

    def check(self) -> None:
        """Raise EnvironmentFault when a process has ended."""
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                raise EnvironmentFault(self._ended(name, code))

    def stop(self) -> None:
        """Stop everything, Redis last; what does not end within 10 s is killed."""
        rest = [n for n in self._processes if n != "redis"]
        for names in (rest, ["redis"] if "redis" in self._processes else []):
            for name in names:
                _signal(self._processes[name], signal.SIGTERM)
            for name in names:
                try:
                    self._processes[name].wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    tell(log, LogEvent.PROCESS_KILLED, process=name)
                    _signal(self._processes[name], signal.SIGKILL)
                    self._processes[name].wait()
        self._processes.clear()
        self._held.close()


class Pause:
    """How long to wait before a process is started again."""

    def __init__(self) -> None:
        self._seconds, self._began = FIRST_PAUSE / 2, time.monotonic()

    def began(self) -> None:
        """It was started."""
        self._began = time.monotonic()

    def next(self) -> float:
        """Seconds to wait, where it has ended now."""
        lasted = time.monotonic() - self._began
        self._seconds = FIRST_PAUSE if lasted > LONGEST_PAUSE else min(2 * self._seconds, LONGEST_PAUSE)
        return self._seconds


def embedded_redis_answers(settings: Settings) -> bool:
    """Whether the embedded Redis of this home folder is up."""
    if not settings.socket_path.exists():
        return False
    try:
        queue.connect(settings).close()
    except QueueError:
        return False
    return True


def local_url(settings: Settings) -> str:
    """Address of the web process as seen from this machine."""
    return settings.model_copy(update={"public_url": None}).backend_url


def web_answers(url: str) -> bool:
    """Whether Winnow's web process answers at ``url``; asked directly, whatever proxy the environment names."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/health", timeout=2) as answer:
            return b'"Winnow"' in answer.read(1000)
    except (OSError, HTTPException, ValueError):
        return False


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the process's whole session: a worker may have a job's process of its own."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return


def environment(settings: Settings) -> dict[str, str]:
    """The environment that hands these settings to a process: secrets travel here, never in a command line."""
    values = os.environ.copy()
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if name == "api_keys":
            value = json.dumps({key: secret.get_secret_value() for key, secret in value.items()})
        if value is not None:
            values[f"WINNOW_{name.upper()}"] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return values


def last_line(path: Path) -> str:
    """The last line of a log that says something, empty when there is none."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
