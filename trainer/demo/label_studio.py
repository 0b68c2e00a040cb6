"""A Label Studio server of one's own: started, waited for, and stopped with everything it started."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from label_configs.errors import EnvironmentFault
from trainer.demo.account import Account
from trainer.tether import tethered

HOST = "127.0.0.1"
DATABASE = "label_studio.sqlite3"
STOP_SECONDS = 10.0
LONGEST_PAUSE = 1.0
"""Seconds between two looks at a server that is starting."""

_SETTINGS = {
    # Backends and webhooks on this machine are refused unless both are off.
    "ML_BLOCK_LOCAL_IP": "false",
    "SSRF_PROTECTION_ENABLED": "false",
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "PYTHONUNBUFFERED": "1",
}
_AMBIGUOUS = {"HOST", "PORT", "DEBUG", "USERNAME", "PASSWORD", "USER_TOKEN", "SECRET_KEY", "DATABASE_NAME"}
"""Names without a prefix that Label Studio reads too, and that a shell may hold for other reasons."""


class LabelStudioServer:
    """Label Studio Community on 127.0.0.1 with SQLite in ``data_folder``; a context manager.

    It dies with the thread that starts it, also when that is killed (Linux). ``port`` None takes a free one;
    ``password`` None makes one up. ``template`` names a folder for a migrated, empty database per version of Label
    Studio: made once, in about 40 seconds, and copied into every new data folder, which then starts in about 7.
    ``deadline`` is in seconds.
    """

    def __init__(
        self,
        executable: Path,
        data_folder: Path,
        *,
        port: int | None = None,
        username: str = "coder@example.com",
        password: str | None = None,
        template: Path | None = None,
        deadline: float = 300.0,
    ) -> None:
        self.executable = executable
        self.data_folder = data_folder.absolute()
        self.port = port
        self.username = username
        self.password = password or secrets.token_urlsafe(12)
        self.log_path = self.data_folder / "label-studio.log"
        self._template = template
        self._deadline = deadline
        self._process: subprocess.Popen[bytes] | None = None
        self._token: str | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``; the port is settled by ``start``."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The server's process id, None while it is not running."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if self._process is not None and running else None

    def start(self) -> Self:
        """Start the server and return when it answers.

        Raises:
            EnvironmentFault: Label Studio is not installed, the port is in use, or the server ended or said nothing
                within the deadline.
        """
        if not os.access(self.executable, os.X_OK):
            raise EnvironmentFault(f"{self.executable}: Label Studio is not installed there; run `make label-studio`")
        self.port = _free_port(self.port)
        self.data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._template is not None:
            version_folder = self._template / _version(self.executable)
            if not (version_folder / DATABASE).exists():
                self._make_template(version_folder)
            prepared_data_folder(version_folder, self.data_folder)
        environment = _environment(self.data_folder)
        environment |= {"LABEL_STUDIO_USERNAME": self.username, "LABEL_STUDIO_PASSWORD": self.password}
        arguments = ["start", "--no-browser", "--internal-host", HOST, "--port", str(self.port)]
        self._process = _launch(self.executable, arguments, environment, self.log_path)
        try:
            self._wait_until_up(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and all it started; does nothing when it is not running."""
        process, self._process, self._token = self._process, None, None
        if process is not None:
            _end(process)

    def token(self) -> str:
        """The user's personal access token; asked for once, since each new one would revoke the one before."""
        if self._token is None:
            account = Account(self.url, self.username, self.password)
            account.log_in()
            self._token = account.personal_access_token()
        return self._token

    def create_user(self, email: str, password: str) -> str:
        """Let a second coder sign up by the organisation's invite, and return that coder's personal access token."""
        host = Account(self.url, self.username, self.password)
        host.log_in()
        guest = Account(self.url, email, password)
        guest.sign_up(host.invite())
        return guest.personal_access_token()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        end, pause = time.monotonic() + self._deadline, 0.05
        while not _answers(f"{self.url}/health/"):
            try:
                process.wait(timeout=pause)
            except subprocess.TimeoutExpired:
                pause = min(pause * 1.5, LONGEST_PAUSE)
            else:
                raise EnvironmentFault(
                    f"Label Studio ended with code {process.returncode} while starting: {_last_line(self.log_path)}; "
                    f"see {self.log_path}"
                )
            if time.monotonic() > end:
                raise EnvironmentFault(
                    f"Label Studio does not answer at {self.url} after {self._deadline:.0f} s: "
                    f"{_last_line(self.log_path)}; see {self.log_path}"
                )

    def _make_template(self, template: Path) -> None:
        template.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=template.parent, prefix=".migrating-") as scratch:
            # Outside a terminal and without a user's name, `init` migrates and creates nobody.
            process = _launch(self.executable, ["init", "--quiet"], _environment(Path(scratch)), self.log_path)
            try:
                process.wait(timeout=self._deadline)
            except subprocess.TimeoutExpired as error:
                raise EnvironmentFault(
                    f"Label Studio did not set up its database in {self._deadline:.0f} s; see {self.log_path}"
                ) from error
            finally:
                _end(process)
            database = Path(scratch) / DATABASE
            if process.returncode or not database.exists():
                raise EnvironmentFault(
                    f"Label Studio could not set up its database: {_last_line(self.log_path)}; see {self.log_path}"
                )
            # Only the database: the secret key that signs sessions and tokens is each server's own.
            template.mkdir(exist_ok=True)
            database.replace(template / DATABASE)


def prepared_data_folder(template: Path, target: Path) -> bool:
    """Copy the empty database of ``template`` into ``target`` unless one is there; whether it was copied."""
    source, database = template / DATABASE, target / DATABASE
    if database.exists() or not source.exists():
        return False
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = target / f"{DATABASE}.half"
    shutil.copyfile(source, half)
    half.replace(database)
    return True


def _launch(
    executable: Path, arguments: list[str], environment: dict[str, str], log_path: Path
) -> subprocess.Popen[bytes]:
    with log_path.open("wb") as log:
        return subprocess.Popen(
            tethered([str(executable.absolute()), *arguments]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is ours to handle, in order
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _environment(data_folder: Path) -> dict[str, str]:
    foreign = ("LABEL_STUDIO_", "HEARTEX_", "DJANGO_", "WINNOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    kept = {name: value for name, value in kept.items() if name not in _AMBIGUOUS}
    # Webhooks and backends on this machine must not go through a proxy.
    around = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST, "localhost"]))
    places = {"LABEL_STUDIO_BASE_DATA_DIR": str(data_folder), "NO_PROXY": around, "no_proxy": around}
    return kept | _SETTINGS | places


def _free_port(wanted: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise EnvironmentFault(
                f"port {wanted} on {HOST} cannot be used ({error.strerror}); end what listens there or choose another"
            ) from error
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _version(executable: Path) -> str:
    program = "from importlib.metadata import version; print(version('label-studio'))"
    try:
        done = subprocess.run(
            [str(executable.parent / "python"), "-c", program], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise EnvironmentFault(
            f"{executable.parent.parent}: holds no working Label Studio; remove it and run `make label-studio`"
        ) from error
    return done.stdout.strip()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "its log is empty"
