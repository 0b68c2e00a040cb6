"""What of a classification is done: a folder beside the output, with one file for each chunk of documents.

    OUT.progress/job.json      what is classified by what; the runs so far
    OUT.progress/000042.jsonl  a chunk: what it took, then its results; there in full or not at all

A crash loses the chunk at hand. The folder is one process's at a time.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from label_configs.errors import ConfigError, EnvironmentFault
from ml_backend.atomic import write_atomically
from trainer.bulk.results import Result

_JOB = "job.json"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A finished chunk. ``seconds`` passed since the one before it, ``run`` counts from 0."""

    documents: int
    seconds: float
    run: int
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One start of the command: when (UTC, ISO 8601), and on which device."""

    started: str
    device: str


class ProgressFolder:
    """The chunks of one job. Open it with ``open``; ``finished`` are the chunks that it held then."""

    def __init__(self, path: Path, job: Mapping[str, Any], chunk_documents: int, runs: Sequence[Run]) -> None:
        self.path = path
        self.chunk_documents = chunk_documents
        self.runs = list(runs)
        self._job = dict(job)
        self.finished = self._on_disk()

    @classmethod
    @contextmanager
    def open(cls, path: Path, job: Mapping[str, Any], chunk_documents: int, *, restart: bool = False) -> Iterator[Self]:
        """The folder, made where it is not there; one that holds chunks goes on with its own ``chunk_documents``.

        ``restart`` empties it first. Raises ConfigError where it holds another job, EnvironmentFault where another
        process works in it or it cannot be written.
        """
        with _alone(path):
            if restart:
                for file in (path / _JOB, *path.glob("*.jsonl")):
                    file.unlink(missing_ok=True)
            known = _read_job(path / _JOB)
            if known is not None:
                _check_same(path, known["job"], job)
                yield cls(path, job, known["chunk_documents"], [Run(**run) for run in known["runs"]])
                return
            try:
                yield cls(path, job, chunk_documents, [])
            finally:
                if not (path / _JOB).exists():  # nothing was begun
                    shutil.rmtree(path, ignore_errors=True)

    def documents_of(self, total: int) -> int:
        """How many of the job's ``total`` documents are classified, by what lies in the folder now."""
        size = self.chunk_documents
        return sum(max(0, min(size, total - index * size)) for index in self._on_disk())

    def begin_run(self, run: Run) -> None:
        """Note that a run begins."""
        self.runs.append(run)
        data = {"job": self._job, "chunk_documents": self.chunk_documents, "runs": [asdict(one) for one in self.runs]}
        write_atomically(self.path / _JOB, json.dumps(data, indent=2))

    def keep(self, index: int, documents: int, seconds: float, results: Sequence[Result]) -> None:
        """Write a finished chunk."""
        head = {"documents": documents, "seconds": round(seconds, 6), "run": len(self.runs) - 1}
        lines = [json.dumps(row) for row in (head, *map(asdict, results))]
        write_atomically(self._file(index), "\n".join(lines))

    def read(self, index: int) -> Chunk:
        """A finished chunk. Raises EnvironmentFault where its file is missing or damaged."""
        path = self._file(index)
        try:
            head, *rows = map(json.loads, path.read_text(encoding="utf-8").split("\n"))
            return Chunk(**head, results=tuple(_result(row) for row in rows))
        except (OSError, ValueError, KeyError, TypeError):
            raise EnvironmentFault(f"{path}: damaged; delete it and give the same command again") from None

    def remove(self) -> None:
        """Delete the folder, once the output is written."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _on_disk(self) -> set[int]:
        return {int(file.stem) for file in self.path.glob("[0-9]*.jsonl")}

    def _file(self, index: int) -> Path:
        return self.path / f"{index:06d}.jsonl"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go of it when the process ends, however it ends."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("w")
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: cannot be written ({error.strerror}); check the folder's rights and free space"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EnvironmentFault(
                f"{path}: another process is at work on this output; wait for it, or choose another --out"
            ) from None
        yield


def _result(row: dict[str, Any]) -> Result:
    lists = {name: tuple(row[name]) for name in ("code", "probability")}
    return Result(**{**row, **lists, "top": tuple((label, p) for label, p in row["top"])})


def _read_job(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {name: data[name] for name in ("job", "chunk_documents", "runs")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise EnvironmentFault(f"{path}: damaged; begin anew with --restart") from None


def _check_same(path: Path, known: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    others = sorted(name for name in {*known, *job} if known.get(name) != job.get(name))
    if others:
        raise ConfigError(
            f"{path}: holds the progress of another classification ({', '.join(others)} differ); give the command that "
            "it belongs to, or begin anew with --restart"
        )
