"""What Label Studio holds of a project, kept beside it and brought up to date by reading only what changed.

The mirror is a copy: Label Studio has the truth. Deleted, damaged or in doubt, it is read anew.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from label_configs.errors import EnvironmentFault, reason
from label_configs.wire import JsonObject
from ml_backend.task_reader import TaskReader
from trainer.mirror_file import MirrorFile, is_damage, remove_mirror
from trainer.mirror_refresh import Refresh

log = logging.getLogger(__name__)

LOCK_FILE = ".mirror.lock"


class Mirror:
    """The mirror of one project, in its folder; a context manager.

    After ``refresh`` it holds every task as ``wire.kept_task`` has it: decisions come out as from an export made at
    that moment. Predictions and drafts are exact after ``refresh(..., whole=True)`` only: nothing in Label Studio
    tells by task that they came or went, and counting does not need them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = MirrorFile(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def revision(self) -> str:
        """Another after every refresh that found other data or annotations; never the same for two readings anew."""
        facts = self._file.facts()
        return f"{facts.get('born', '')}-{facts.get('revision', '0')}"

    @property
    def decided_at(self) -> datetime | None:
        """When, by this machine's clock, a refresh last found other annotations than before; None before the first.

        Of a first reading it is the time of the latest annotation.
        """
        text = self._file.facts().get("decided_at")
        return datetime.fromisoformat(text) if text else None

    @contextmanager
    def tasks(self, *, annotated_only: bool = False, predictions: bool = True) -> Iterator[Iterator[JsonObject]]:
        """Tasks by id with ``draft_exists``, in one state; one at a time in memory."""
        with self._file.reading():
            yield self._file.tasks(annotated_only=annotated_only, predictions=predictions)

    def refresh(self, reader: TaskReader, project_id: int, *, whole: bool = False, now: datetime | None = None) -> None:
        """Read what changed since the last time; ``whole``: predictions and drafts too.

        A quiet project costs one small request, three with ``whole``. One process at a time refreshes a project, others
        wait. What was read before a failure stays. Raises LabelStudioError, WireError or EnvironmentFault.
        """
        with self._alone():
            try:
                self._refresh(reader, project_id, whole, now or datetime.now(UTC))
            except EnvironmentFault as error:
                if not is_damage(error.__cause__):
                    raise
                log.warning("%s; it is read anew", error)
                self._file.close()
                remove_mirror(self._folder)
                self._file = MirrorFile(self._folder)
                self._refresh(reader, project_id, whole, now or datetime.now(UTC))

    def _refresh(self, reader: TaskReader, project_id: int, whole: bool, now: datetime) -> None:
        look = Refresh(self._file, reader, project_id, now)
        look.annotations()
        if whole:
            look.predictions()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = self._folder / LOCK_FILE
        try:
            lock = path.open("a")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise EnvironmentFault(f"{path}: cannot be locked ({reason(error)}); check the folder's rights") from error
        with lock:
            yield
