"""Snapshots of verified examples: what a round was trained on, and what sources that learn by examples work with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from label_configs.errors import TrainingError
from label_configs.records import VerifiedExample
from ml_backend.atomic import write_atomically

_FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    "document_id": str,
    "text": str,
    "labels": list,
    "coders": list,
    "holdout": bool,
    "task_id": (int, type(None)),
}
_LATEST = "latest.json"


def publish_snapshot(project_folder: Path, examples: Iterable[VerifiedExample]) -> Path:
    """Keep the training side of ``examples`` for the project's sources, named by its digest; the file.

    The holdout never enters: what sources show or fit must not hold what they are judged on.
    """
    training = [example for example in examples if not example.holdout]
    folder = project_folder / "snapshots"
    path = folder / f"{examples_digest(training)}.jsonl"
    if not path.exists():
        write_examples(path, training)
    write_atomically(folder / _LATEST, json.dumps({"snapshot": path.name, "examples": len(training)}))
    return path


def latest_snapshot(project_folder: Path) -> Path | None:
    """The snapshot published last, None before the first. Raises TrainingError where its record is damaged."""
    record = project_folder / "snapshots" / _LATEST
    try:
        return record.parent / Path(json.loads(record.read_text(encoding="utf-8"))["snapshot"]).name
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError(f"{record}: damaged; delete it, the scheduler writes it anew") from None


def examples_digest(examples: Iterable[VerifiedExample]) -> str:
    """16 hexadecimal digits naming what is learned from and judged on: ids, texts, labels, holdout; in any order."""
    rows = sorted([example.document_id, example.text, sorted(example.labels), example.holdout] for example in examples)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def write_examples(path: Path, examples: Iterable[VerifiedExample]) -> None:
    """Write a snapshot, one JSON object per line, atomically. Raises TrainingError when it cannot be written."""
    lines = [json.dumps(asdict(example), ensure_ascii=False) for example in examples]
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def read_examples(path: Path) -> list[VerifiedExample]:
    """What ``write_examples`` wrote. Raises TrainingError naming file and line."""
    try:
        # Not splitlines(): texts may hold U+2028 and its like, which JSON leaves as they are.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); start the round again") from error
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path}: not UTF-8 at byte {error.start}; start the round again") from error
    return [_example(f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line or number > 1]


def _example(where: str, line: str) -> VerifiedExample:
    try:
        data: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise TrainingError(f"{where}: not JSON ({error}); start the round again") from error
    if not isinstance(data, dict) or set(data) != set(_FIELD_TYPES):
        raise TrainingError(f"{where}: must be an object with {', '.join(_FIELD_TYPES)}; start the round again")
    for name, expected in _FIELD_TYPES.items():
        if not isinstance(data[name], expected):
            raise TrainingError(f"{where}: {name} is {data[name]!r:.40}, of a wrong type; start the round again")
    return VerifiedExample(**{**data, "labels": tuple(data["labels"]), "coders": tuple(data["coders"])})
