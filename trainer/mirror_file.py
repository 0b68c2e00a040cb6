"""The file of a mirror: one SQLite database per project, which may be deleted at any time."""

from __future__ import annotations

import json
import logging
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from label_configs import wire
from label_configs.errors import EnvironmentFault, reason
from label_configs.wire import JsonObject
from ml_backend.log_events import LogEvent, tell
from ml_backend.task_reader import TaskStamp, VersionCount
from trainer.mirror_schema import BLOCK_TASKS, SCHEMA_VERSION, make_tables

log = logging.getLogger(__name__)

MIRROR_FILE = "mirror.sqlite"
BUSY_SECONDS = 60.0  # until another process has written


@dataclass(frozen=True, slots=True)
class Difference:
    """In what a task, or one of several, is another than before: in anything that is read, or in its annotations."""

    any: bool = False
    decided: bool = False

    def __or__(self, other: Difference) -> Difference:
        return Difference(self.any or other.any, self.decided or other.decided)


class MirrorFile:
    """Tasks, their annotations and predictions as ``wire.kept_task`` has them, and named facts about the reading.

    A file that is damaged or of another schema is made anew, empty. Only its owner reads it: it holds documents.
    Several processes may read while one writes; each sees one whole state. Raises EnvironmentFault where the folder
    cannot be written to, or another process writes for longer than a minute.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / MIRROR_FILE
        with _faults(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._base = self._open()
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not is_damage(error):
                    raise
                tell(log, LogEvent.MIRROR_DAMAGED, file=self.path, reason=reason(error))
                remove_mirror(folder)
                self._base = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What is written in this block is there in full when it ends, or not at all when it fails."""
        with _faults(self.path):
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is read in this block is one state, whatever another process writes meanwhile."""
        with _faults(self.path):
            self._base.execute("BEGIN")
            try:
                self._base.execute("SELECT 1 FROM facts LIMIT 1").fetchall()  # the state of now, not of the first read
                yield
            finally:
                self._base.execute("ROLLBACK")

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a statement of SQL gives."""
        with _faults(self.path):
            return self._base.execute(statement, values).fetchall()

    def facts(self) -> dict[str, str]:
        """All facts by name."""
        with _faults(self.path):
            return {name: unsealed(value) for name, value in self._base.execute("SELECT name, value FROM facts")}

    def set_facts(self, facts: Mapping[str, str]) -> None:
        """Set these facts, others stay."""
        rows = [(name, _sealed(value)) for name, value in facts.items()]
        self._base.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    def counts(self) -> tuple[int, int]:
        """How many tasks there are, and how many annotations that are no skips."""
        ((tasks, submitted),) = self.query("SELECT tasks, submitted FROM totals")
        return int(tasks), int(submitted)

    def task(self, task_id: int) -> JsonObject | None:
        """A task without its predictions, None where it is not there."""
        with _faults(self.path):
            found = self._base.execute("SELECT body FROM tasks WHERE id = ?", [task_id]).fetchone()
            return self._opened(found[0], task_id) if found else None

    def put(self, task: JsonObject) -> Difference:
        """Write a kept task, over an older state; in what it is another than before."""
        predictions = [_json(one) for one in task["predictions"]]
        body = _json({**task, "predictions": []})
        before = self.task(task["id"])
        if before and _json(before) == body and self._predictions(task["id"]) == predictions:
            return Difference()
        times = [one["updated_at"] for one in task["annotations"] if one["updated_at"]]
        self._base.execute(
            "INSERT INTO tasks (id, updated_at, submitted, annotated, latest, body) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET updated_at = excluded.updated_at, submitted = excluded.submitted, "
            "annotated = excluded.annotated, latest = excluded.latest, body = excluded.body",
            [task["id"], task["updated_at"], wire.submitted(task), len(task["annotations"]), max(times, default=None),
             _sealed(body)],
        )  # fmt: skip
        self._base.execute("DELETE FROM predictions WHERE task = ?", [task["id"]])
        self._base.executemany(
            "INSERT INTO predictions VALUES (?, ?, ?, ?, ?)",
            [(task["id"], one["id"], one["model_version"] or "", one["created_at"], _sealed(text))
             for one, text in zip(task["predictions"], predictions, strict=True)],
        )  # fmt: skip
        self._touch([task["id"]])
        decided = task["annotations"] != (before["annotations"] if before else [])
        other = before is None or decided or before["data"] != task["data"]
        if other:
            self.query("INSERT OR IGNORE INTO uncounted VALUES (?)", task["id"])
        return Difference(other, decided)

    def remove(self, task_ids: Iterable[int]) -> Difference:
        """Remove tasks that are there."""
        difference = Difference()
        for task_id in task_ids:
            found = self._base.execute("SELECT annotated FROM tasks WHERE id = ?", [task_id]).fetchone()
            if found is None:
                raise sqlite3.DatabaseError("a row is gone")
            difference |= Difference(True, bool(found[0]))
            self.query("INSERT OR IGNORE INTO uncounted VALUES (?)", task_id)
            self._base.execute("DELETE FROM tasks WHERE id = ?", [task_id])
            self._base.execute("DELETE FROM predictions WHERE task = ?", [task_id])
            self._touch([task_id])
        return difference

    def latest_annotation(self) -> str | None:
        """When an annotation was last written, by Label Studio's clock; None where there is none."""
        latest: str | None
        ((latest,),) = self.query("SELECT max(latest) FROM tasks")
        return latest

    def blocks(self) -> dict[int, int]:
        """By block (task id over ``BLOCK_TASKS``) a number that grows whenever one of its tasks becomes another."""
        return dict(self._base.execute("SELECT block, revision FROM blocks ORDER BY block"))

    def _touch(self, task_ids: Iterable[int]) -> None:
        """These tasks are others than before."""
        self._base.executemany(
            "INSERT INTO blocks VALUES (?, (SELECT coalesce(max(revision), 0) + 1 FROM blocks)) "
            "ON CONFLICT (block) DO UPDATE SET revision = excluded.revision",
            [(block,) for block in sorted({task_id // BLOCK_TASKS for task_id in task_ids})],
        )

    def _predictions(self, task_id: int) -> list[str]:
        rows = self._base.execute("SELECT body FROM predictions WHERE task = ? ORDER BY id", [task_id])
        return [unsealed(row[0]) for row in rows]

    @staticmethod
    def _opened(sealed: str, task_id: int) -> JsonObject:
        task: JsonObject = json.loads(unsealed(sealed))
        if task["id"] != task_id:
            raise sqlite3.DatabaseError("a row has another task's id")
        return task

    def stamp(self, task_id: int) -> TaskStamp | None:
        """A task's stamp, None where it is not there."""
        rows = self.query("SELECT id, updated_at, submitted FROM tasks WHERE id = ?", task_id)
        return TaskStamp(*rows[0]) if rows else None

    def stamps(self) -> dict[int, TaskStamp]:
        """Every task's stamp by its id."""
        rows = self.query("SELECT id, updated_at, submitted FROM tasks ORDER BY id")
        return {task_id: TaskStamp(task_id, updated_at, submitted) for task_id, updated_at, submitted in rows}

    def tasks(
        self, *, annotated_only: bool = False, predictions: bool = True, block: int | None = None
    ) -> Iterator[JsonObject]:
        """Tasks by id, one at a time in memory, each with ``draft_exists``; all, or those of one block.

        ``predictions`` False leaves these out.
        """
        first, last = (0, -1) if block is None else (block * BLOCK_TASKS, (block + 1) * BLOCK_TASKS - 1)
        chosen = ["annotated > 0"] * annotated_only + [f"id BETWEEN {first} AND {last}"] * (block is not None)
        where = f"WHERE {' AND '.join(chosen)}" if chosen else ""
        tasks = f"SELECT id, draft, body FROM tasks {where} ORDER BY id"  # nosec B608 # of the words above
        for task_id, draft, body in self._base.execute(tasks):
            task = self._opened(body, task_id)
            if predictions:
                task["predictions"] = [json.loads(one) for one in self._predictions(task_id)]
            yield {**task, "draft_exists": bool(draft)}

    def versions(self) -> dict[str, VersionCount]:
        """How many predictions there are of each version, and when the latest of them was made."""
        rows = self._base.execute("SELECT version, count(*), max(created_at) FROM predictions GROUP BY version")
        return {version: VersionCount(count, latest) for version, count, latest in rows}

    def tasks_with_version(self, version: str) -> set[int]:
        """Ids of the tasks that have a prediction of this version."""
        return {row[0] for row in self._base.execute("SELECT task FROM predictions WHERE version = ?", [version])}

    def remove_version(self, version: str) -> None:
        """Remove all predictions of a version."""
        self._touch(self.tasks_with_version(version))
        self._base.execute("DELETE FROM predictions WHERE version = ?", [version])

    def set_drafts(self, task_ids: Iterable[int]) -> None:
        """Have these tasks, and no others, be those with a draft."""
        wanted, there = set(task_ids), {row[0] for row in self.query("SELECT id FROM tasks WHERE draft = 1")}
        known = {one for one in wanted - there if self.query("SELECT 1 FROM tasks WHERE id = ?", one)}
        self._base.executemany("UPDATE tasks SET draft = 0 WHERE id = ?", [(one,) for one in there - wanted])
        self._base.executemany("UPDATE tasks SET draft = 1 WHERE id = ?", [(one,) for one in known])
        self._touch(known | (there - wanted))

    def _open(self) -> sqlite3.Connection:
        self.path.touch(mode=0o600)
        self.path.chmod(0o600)
        base = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        base.text_factory = lambda text: text.decode(errors="replace")  # what is damaged fails its checksum
        try:
            (version,) = base.execute("PRAGMA user_version").fetchone()
            if version == 0:
                base.execute("PRAGMA journal_mode = WAL")
                base.execute("BEGIN IMMEDIATE")  # two processes may find the file new
                if base.execute("PRAGMA user_version").fetchone() == (0,):
                    make_tables(base)
                base.execute("COMMIT")
            elif version != SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"schema {version}, not {SCHEMA_VERSION}")
            base.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is read again
        except BaseException:
            base.close()
            raise
        return base


def is_damage(error: BaseException | None) -> bool:
    """Whether an error says that the file is no such database, and not that it is occupied or the disk is full.

    A UnicodeDecodeError comes of SQLite's own message, where it quotes a name that is damaged.
    """
    wrong = isinstance(error, sqlite3.DatabaseError | UnicodeDecodeError)
    return wrong and not isinstance(error, sqlite3.OperationalError)


def remove_mirror(folder: Path) -> None:
    """Forget what was read of a project; it is read anew when it is next wanted."""
    for name in (MIRROR_FILE, f"{MIRROR_FILE}-wal", f"{MIRROR_FILE}-shm"):
        (folder / name).unlink(missing_ok=True)


def _sealed(text: str) -> str:
    """With a checksum: SQLite keeps none, and a bit that flips within a text makes another text."""
    return f"{zlib.crc32(text.encode()):08x}{text}"


def unsealed(sealed: object) -> str:
    """The text. Raises sqlite3.DatabaseError where it is not what was written."""
    if not isinstance(sealed, str) or _sealed(sealed[8:]) != sealed:
        raise sqlite3.DatabaseError("a row is damaged")
    return sealed[8:]


def _json(value: JsonObject) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and SQLite cannot
        return json.dumps(value, separators=(",", ":"))
    return text


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise EnvironmentFault(
            f"{path}: cannot be read or written ({reason(error)}); see the folder's rights and free space, or delete "
            "the file: it is made anew"
        ) from error
