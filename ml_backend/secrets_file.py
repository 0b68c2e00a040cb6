"""``home/secrets.json``: what an installation made for itself, readable by its owner alone.

It holds the account's password and the webhook's token as they are, since Label Studio is told them, and hashes of the
dashboard's passwords, which nobody needs to know but who types them.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from label_configs.errors import EnvironmentFault
from ml_backend.atomic import write_atomically
from ml_backend.log_events import LogEvent, tell

log = logging.getLogger(__name__)

SECRETS_FILE = "secrets.json"
OTHERS = 0o077  # rights of everybody but the owner


def read_secrets(home: Path) -> dict[str, str]:
    """What the file holds by name, nothing where there is none. Takes rights away that others have to it.

    Raises EnvironmentFault where it cannot be read.
    """
    path = home / SECRETS_FILE
    try:
        if path.stat().st_mode & OTHERS:
            path.chmod(0o600)
            tell(log, LogEvent.SECRETS_EXPOSED, file=path)
        found = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(found, dict) and all(isinstance(value, str) for value in found.values())):
            raise ValueError
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise _no_folder(path, error) from None
    except (OSError, ValueError) as error:
        raise EnvironmentFault(f"{path}: cannot be read ({type(error).__name__}); mend or delete it") from None
    return found


def complete_secrets(home: Path, makers: Mapping[str, Callable[[], str]]) -> tuple[dict[str, str], list[str]]:
    """What the file holds, with what it lacked of these names made and written; and the names that were made.

    Processes that start together get the same. Raises EnvironmentFault where the folder cannot be written.
    """
    with _alone(home):
        found = read_secrets(home)
        made = {name: make() for name, make in makers.items() if not found.get(name)}
        if made:
            _write(home, found | made)
            tell(log, LogEvent.SECRETS_GENERATED, names=list(made), file=home / SECRETS_FILE)
    return found | made, list(made)


def put_secret(home: Path, name: str, value: str) -> None:
    """Replace one of the file's values. Raises EnvironmentFault where it cannot be read or written."""
    with _alone(home):
        _write(home, read_secrets(home) | {name: value})


def _write(home: Path, values: Mapping[str, str]) -> None:
    write_atomically(home / SECRETS_FILE, json.dumps(values, indent=2), mode=0o600)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """No other process of this machine is in such a block for this folder, which is made."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)  # documents will lie in it
        folder = os.open(home, os.O_RDONLY)
    except OSError as error:
        raise _no_folder(home / SECRETS_FILE, error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _no_folder(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"{path}: cannot be written ({error.strerror}); set WINNOW_HOME to a folder of yours")
