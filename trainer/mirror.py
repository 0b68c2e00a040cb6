"""What Label Studio holds of a project, kept beside it and brought up to date by reading only what changed.

The mirror is a copy: Label Studio has the truth. Deleted, damaged or in doubt, it is read anew.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from label_configs.errors import EnvironmentFault, reason
from label_configs.wire import JsonObject
from ml_backend.log_events import LogEvent, tell
from ml_backend.task_reader import ProjectReader, TaskReader
from trainer.mirror_file import MirrorFile, is_damage, remove_mirror
from trainer.mirror_refresh import Clock, Refresh, Told

log = logging.getLogger(__name__)

LOCK_FILE = ".mirror.lock"


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a mirrored project beside its tasks: where it is, its name, and names of coders by their ids.

    ``read_at`` is when it was last looked at, by this machine's clock.
    """

    url: str
    title: str
    names: Mapping[str, str]
    read_at: datetime


@dataclass(frozen=True)
class Blocks:
    """The tasks of a mirror in blocks of ids (``BLOCK_TASKS``). ``names`` has for each block a name of its state.

    Another name means other tasks, drafts or predictions; the same name means the same. A block may be empty.
    ``total`` counts the tasks.
    """

    names: Mapping[int, str]
    total: int
    _file: MirrorFile

    def tasks(self, block: int) -> Iterator[JsonObject]:
        """The block's tasks by id with ``draft_exists``, one at a time in memory."""
        return self._file.tasks(block=block)


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

    @property
    def about(self) -> About | None:
        """What ``look_about`` kept last; None before a first whole reading."""
        facts = self._file.facts()
        if "about" not in facts:
            return None
        told = json.loads(facts["about"])
        return About(facts["url"], told["title"], told["names"], datetime.fromisoformat(told["read_at"]))

    def look_about(self, reader: ProjectReader, project_id: int, *, names: bool, now: datetime | None = None) -> None:
        """Keep what is known of the project, after a refresh; ``names``: with those of its coders."""
        told = {
            "title": reader.project_title(project_id),
            "names": reader.coder_names() if names else {},
            "read_at": (now or datetime.now(UTC)).isoformat(),
        }
        with self._file.writing():
            self._file.set_facts({"about": json.dumps(told, ensure_ascii=False)})

    @contextmanager
    def tasks(self, *, annotated_only: bool = False, predictions: bool = True) -> Iterator[Iterator[JsonObject]]:
        """Tasks by id with ``draft_exists``, in one state; one at a time in memory."""
        with self._damage_ends_it(), self._file.reading():
            yield self._file.tasks(annotated_only=annotated_only, predictions=predictions)

    @contextmanager
    def blocks(self) -> Iterator[Blocks]:
        """Tasks in one state, block by block."""
        with self._damage_ends_it(), self._file.reading():
            begun = self._file.facts().get("begun", "")
            names = {block: f"{begun}-{number}" for block, number in self._file.blocks().items()}
            yield Blocks(names, self._file.counts()[0], self._file)

    def refresh(
        self,
        reader: TaskReader,
        project_id: int,
        *,
        whole: bool = False,
        now: datetime | None = None,
        told: Told | None = None,
    ) -> None:
        """Read what changed since the last time; ``whole``: predictions and drafts too.

        A quiet project costs one small request, three with ``whole``. One process at a time refreshes a project, others
        wait. What was read before a failure stays, and is not read again. ``told`` hears how far the reading is. Raises
        LabelStudioError, WireError or EnvironmentFault.
        """
        clock: Clock = (lambda: now) if now else lambda: datetime.now(UTC)
        with self._alone():
            try:
                self._refresh(reader, project_id, whole, clock, told)
            except EnvironmentFault as error:
                if not is_damage(error.__cause__):
                    raise
                tell(log, LogEvent.MIRROR_DAMAGED, reason=error)
                self._file.close()
                remove_mirror(self._folder)
                self._file = MirrorFile(self._folder)
                self._refresh(reader, project_id, whole, clock, told)

    def _refresh(self, reader: TaskReader, project_id: int, whole: bool, clock: Clock, told: Told | None) -> None:
        look = Refresh(self._file, reader, project_id, clock, told)
        look.annotations()
        if whole:
            look.predictions()

    @contextmanager
    def _damage_ends_it(self) -> Iterator[None]:
        """A file that turns out to be damaged while it is read is read anew at the next refresh."""
        try:
            yield
        except EnvironmentFault as error:
            if is_damage(error.__cause__):
                remove_mirror(self._folder)
            raise

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
