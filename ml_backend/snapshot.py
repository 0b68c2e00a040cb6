"""Snapshots of verified examples: what a round was trained on, and what sources that learn by examples work with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from label_configs.errors import TrainingError, WinnowError
from label_configs.records import VerifiedExample
from ml_backend import shared_projects
from ml_backend.example_file import read_examples_file, write_parquet

_LATEST, _PUSHED = "latest.json", "pushed.json"
_KINDS = (".parquet", ".jsonl")  # of snapshots: older installations have JSON lines
_KEPT = 8  # files, beside those that the records name: a worker may be about to read the one before

# Below either nothing is gained: on Reuters R8 a probe is right as often as the similarity to definitions, which learns
# nothing, from about 20 documents on (.78 against .75, from 50 on .89; tests/benchmarks/probe.py); with one label only
# there is nothing to tell apart.
ENOUGH_EXAMPLES = 20
ENOUGH_LABELS = 2


def publish_snapshot(project_folder: Path, examples: Iterable[VerifiedExample], *, codebook: str = "") -> Path:
    """Keep the training side of ``examples`` for the project's sources, named by its digest; the file.

    ``codebook`` is the fingerprint of the codebook whose labels they have. The holdout never enters: what sources show
    or fit must not hold what they are judged on.
    """
    training = [example for example in examples if not example.holdout]
    folder = project_folder / "snapshots"
    path = folder / f"{examples_digest(training)}.parquet"
    if not path.exists():
        write_examples(path, training, codebook=codebook)
    labels = {label for example in training for label in example.labels}
    record = _Record(path.name, len(training), len(labels))
    if not _says(folder / _LATEST, record):
        shared_projects.put(path)
        _write_record(folder / _LATEST, record)
    _drop_old(folder)
    return path


def is_published(project_folder: Path) -> bool:
    """Whether a snapshot was ever published, of enough examples or not."""
    return (project_folder / "snapshots" / _LATEST).exists()


def latest_snapshot(project_folder: Path) -> Path | None:
    """The snapshot published last; None where it holds fewer than 20 examples or 2 labels, and before the first.

    Raises TrainingError where its record is damaged.
    """
    return _recorded(project_folder / "snapshots" / _LATEST)


def pushed_snapshot(project_folder: Path) -> Path | None:
    """The snapshot that Label Studio's tasks are proposed with, None before the first; see ``taking_over``.

    It lags behind the one published last: a newer one changes the version of the review prediction, of which Label
    Studio shows one to all, so all open tasks have to be proposed anew with it. Raises TrainingError as above.
    """
    return _recorded(project_folder / "snapshots" / _PUSHED)


@contextmanager
def taking_over(project_folder: Path) -> Iterator[None]:
    """Propose for Label Studio's tasks with the snapshot published last from now on, unless the block fails.

    Raises TrainingError as above.
    """
    folder = project_folder / "snapshots"
    latest, before = _record(folder / _LATEST), _record(folder / _PUSHED)
    if latest is None or latest == before:
        yield
        return
    _write_record(folder / _PUSHED, latest)
    try:
        yield
    except WinnowError:
        if before is None:
            shared_projects.forget(folder / _PUSHED)
        else:
            _write_record(folder / _PUSHED, before)
        raise


def forget_snapshots(project_folder: Path) -> None:
    """Have no source learn from what was published so far: its labels are no longer the codebook's."""
    for name in (_LATEST, _PUSHED):
        shared_projects.forget(project_folder / "snapshots" / name)


@dataclass(frozen=True, slots=True)
class _Record:
    """A snapshot's file, and how much is in it."""

    snapshot: str
    examples: int
    labels: int


def _recorded(path: Path) -> Path | None:
    found = _record(path)
    if found is None or found.examples < ENOUGH_EXAMPLES or found.labels < ENOUGH_LABELS:
        return None
    return path.parent / found.snapshot


def _record(path: Path) -> _Record | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _Record(Path(data["snapshot"]).name, int(data["examples"]), int(data["labels"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError(f"{path}: damaged; delete it, the scheduler writes it anew") from None


def _write_record(path: Path, record: _Record) -> None:
    shared_projects.write(path, json.dumps(asdict(record)))


def _says(path: Path, record: _Record) -> bool:
    try:
        return _record(path) == record
    except TrainingError:  # damaged: it is written anew
        return False


def _drop_old(folder: Path) -> None:
    """Delete the snapshots that nothing names any more but the newest few."""
    named = {record.snapshot for name in (_LATEST, _PUSHED) if (record := _record(folder / name)) is not None}
    others = [path for kind in _KINDS for path in folder.glob(f"*{kind}") if path.name not in named]
    for path in sorted(others, key=lambda p: p.stat().st_mtime_ns)[:-_KEPT]:
        shared_projects.forget(path)


def examples_digest(examples: Iterable[VerifiedExample]) -> str:
    """16 hexadecimal digits naming what is learned from and judged on, in any order: all but coders and task ids."""
    rows = sorted(
        [e.document_id, e.text, sorted(e.labels), e.holdout, sorted(e.rejected), e.weight, e.silver] for e in examples
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def write_examples(path: Path, examples: Iterable[VerifiedExample], *, codebook: str = "") -> None:
    """Write a snapshot as Parquet, atomically, with its digest and the codebook's fingerprint as metadata.

    Raises EnvironmentFault when it cannot be written.
    """
    examples = list(examples)
    write_parquet(path, examples, digest=examples_digest(examples), codebook=codebook)


def read_examples(path: Path) -> list[VerifiedExample]:
    """What ``write_examples`` wrote, in its order, or the JSON lines of an older installation.

    Raises TrainingError naming file and line where it is missing or damaged, or was changed since.
    """
    return read_examples_file(path)
