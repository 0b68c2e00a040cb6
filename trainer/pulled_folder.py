"""The folder of a pulled project: Parquet files by table and block of tasks, and a manifest that says which hold.

pulled/manifest.json                            written last, in one step: what it names is the project
pulled/<table>/<block>-<state>.parquet          see ``pulled_tables``
pulled/.new/                                    blocks on their way; a pull that was stopped goes on with them
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from label_configs.errors import ConfigError, EnvironmentFault, WireError, reason
from ml_backend.atomic import sync, write_atomically
from trainer.pulled_tables import TABLES, Rows, schema_of

MANIFEST = "manifest.json"
FORMAT = "winnow-pulled"
SCHEMA_VERSION = 1
PULLED = "pulled"  # the folder within a project's
_NEW = ".new"
_PART = re.compile(r"\d{8}-[0-9a-f]{12}\.parquet")


@dataclass(frozen=True)
class Part:
    """One file of a block: how many rows it has, its bytes, and their SHA-256 in hexadecimal digits."""

    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Block:
    """The files of one block of tasks by table, of one ``state`` of the tasks and of the rules they are read by.

    A table without rows has no file. ``counts`` are those that rows do not say: skips, drafts.
    """

    state: str
    parts: Mapping[str, Part] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What a folder holds. ``about`` says of what project, see ``pull.Pull``; ``blocks`` are by their number."""

    about: Mapping[str, Any]
    blocks: Mapping[int, Block]

    @property
    def counts(self) -> dict[str, int]:
        """Rows of every table, and the sums of the blocks' own counts."""
        found = dict.fromkeys(TABLES, 0)
        for block in self.blocks.values():
            for name, number in (*((t, part.rows) for t, part in block.parts.items()), *block.counts.items()):
                found[name] = found.get(name, 0) + number
        return found

    def as_json(self) -> dict[str, Any]:
        """For ``manifest.json``."""
        blocks = {str(number): asdict(block) for number, block in sorted(self.blocks.items())}
        return {"format": FORMAT, "schema": SCHEMA_VERSION, **self.about, "counts": self.counts, "blocks": blocks}


class PulledFolder:
    """A folder to pull into, or to read from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def manifest(self) -> Manifest | None:
        """What the folder holds; None where nothing was pulled into it. Raises ConfigError for what is none of ours."""
        path = self.path / MANIFEST
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or found.get("format") != FORMAT:
                raise ConfigError(f"{path}: is no manifest of `winnow pull`; name another folder")
            if found.get("schema") != SCHEMA_VERSION:
                raise ConfigError(
                    f"{path}: schema: {found.get('schema')!r}, this Winnow reads {SCHEMA_VERSION}; delete the folder "
                    "and pull again"
                )
            blocks = {int(number): _block(block) for number, block in found.pop("blocks").items()}
            return Manifest({key: value for key, value in found.items() if key not in _OWN}, blocks)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({reason(error)}); check the path and its rights") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}: damaged ({reason(error)}); delete it and pull again") from error

    def holds(self, number: int, block: Block) -> bool:
        """Whether all files of a block are there, as long as they should be."""
        return all(_size(self.file(number, block.state, table)) == part.bytes for table, part in block.parts.items())

    def file(self, number: int, state: str, table: str) -> Path:
        """Where a block's file is: in its place, or still on its way there."""
        place = self.path / table / _name(number, state)
        return place if place.exists() else self.path / _NEW / table / _name(number, state)

    def staged(self, number: int, state: str) -> Block | None:
        """A block that was written, by this pull or one that was stopped; None where there is none."""
        try:
            found = _block(json.loads((self.path / _NEW / f"{_name(number, state)}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if self.holds(number, found) else None

    def stage(self, number: int, state: str, rows: Rows, counts: Mapping[str, int]) -> Block:
        """Write a block beside what is there. Raises EnvironmentFault, or WireError for a text that is none."""
        with _faults(self.path):
            parts = {table: self._write(number, state, table, own) for table, own in rows.items() if own}
            block = Block(state, parts, dict(counts))
            write_atomically(self.path / _NEW / f"{_name(number, state)}.json", json.dumps(asdict(block)))
            return block

    def commit(self, manifest: Manifest) -> None:
        """Have the folder be what the manifest says: in one step, and then clear away what was before."""
        text = json.dumps(manifest.as_json(), indent=1, ensure_ascii=False)
        write_atomically(self.path / MANIFEST, text + "\n", mode=0o600)
        self.settle(manifest)
        shutil.rmtree(self.path / _NEW, ignore_errors=True)

    def settle(self, manifest: Manifest) -> None:
        """Move the manifest's files to their places, and remove those of an earlier state."""
        wanted = {
            (table, _name(number, block.state)) for number, block in manifest.blocks.items() for table in block.parts
        }
        with _faults(self.path):
            for table, name in wanted:
                place, coming = self.path / table / name, self.path / _NEW / table / name
                if not place.exists() and coming.exists():
                    place.parent.mkdir(exist_ok=True)
                    os.replace(coming, place)
            for table in TABLES:
                for path in (self.path / table).glob("*.parquet"):
                    if _PART.fullmatch(path.name) and (table, path.name) not in wanted:
                        path.unlink(missing_ok=True)
                if (self.path / table).exists():
                    sync(self.path / table)

    def _write(self, number: int, state: str, table: str, rows: list[dict[str, Any]]) -> Part:
        import pyarrow
        from pyarrow import parquet

        buffer = io.BytesIO()
        try:
            made = pyarrow.Table.from_pylist(rows, schema_of(table))
        except (UnicodeEncodeError, pyarrow.ArrowException) as error:
            first, last = rows[0]["task_id"], rows[-1]["task_id"]
            raise WireError(
                f"tasks {first} to {last}: {table} cannot be written ({reason(error)}); mend the task's data or result"
            ) from error
        parquet.write_table(made, buffer, compression="zstd")
        content = buffer.getvalue()
        path = self.path / _NEW / table / _name(number, state)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return Part(len(rows), len(content), hashlib.sha256(content).hexdigest())


_OWN = ("format", "schema", "counts", "blocks")


def _name(number: int, state: str) -> str:
    return f"{number:08d}-{state}.parquet"


def _block(found: Mapping[str, Any]) -> Block:
    parts = {table: Part(**part) for table, part in found["parts"].items() if table in TABLES}
    return Block(str(found["state"]), parts, dict(found["counts"]))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: cannot be written ({reason(error)}); check the folder's rights and free space"
        ) from error
