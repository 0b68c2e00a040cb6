"""Which adapter is a project's current one: promote, roll back, and the history of both.

    <project folder>/current.json                  {"adapters": [oldest, ..., current]}

The record is the project's own, in its folder, and where the adapter store is a URL in the store too (see
``shared_projects``).
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from label_configs.errors import AdapterError
from ml_backend import shared_projects
from ml_backend.adapter_files import Adapter

BASE = "base"  # what stands for no adapter, where one is named


def history(project_folder: Path) -> list[str]:
    """Ids of the adapters promoted in a project, oldest first, the current one last."""
    path = project_folder / "current.json"
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))["adapters"]
        if not (isinstance(ids, list) and all(isinstance(i, str) for i in ids)):
            raise TypeError("no list of ids")
        return ids
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise AdapterError(f"{path}: damaged; delete it and promote an adapter again") from None


def current(project_folder: Path) -> str | None:
    """Id of the project's current adapter, None before the first promotion."""
    ids = history(project_folder)
    return ids[-1] if ids else None


def promote(project_folder: Path, adapter: Adapter) -> None:
    """Make an adapter the project's current one, in one step."""
    with _alone(project_folder):
        if current(project_folder) != adapter.id:
            _write_history(project_folder, [*history(project_folder), adapter.id])


def roll_back(project_folder: Path, to: str | None = None) -> str | None:
    """Return to the adapter before the current one, or to an earlier one, and give its id; None is the base model.

    ``to`` may be ``base``. Raises AdapterError, and changes nothing, where it was not current before.
    """
    with _alone(project_folder):
        before = [] if to == BASE else history(project_folder)[:-1]
        while to not in (None, BASE) and (not before or before[-1] != to):
            if not before:
                raise AdapterError(f"adapter {to}: was not current before; see `winnow adapters list`, or promote it")
            before.pop()
        _write_history(project_folder, before)
    return before[-1] if before else None


@contextmanager
def _alone(project_folder: Path) -> Iterator[None]:
    """One reader-then-writer of the history at a time, over the processes of this host; AdapterError where its lock
    cannot be written."""
    try:
        with (project_folder / ".current.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            shared_projects.refresh(project_folder)
            yield
    except OSError as error:
        raise AdapterError(
            f"{project_folder}: cannot be written ({error.strerror}); make room or check its owner"
        ) from None


def _write_history(project_folder: Path, ids: list[str]) -> None:
    shared_projects.write(project_folder / "current.json", json.dumps({"adapters": ids}))
