"""The weights that a project's sources are mixed by, kept in its folder: ``weights/<digest>.json``.

Which file is in force, ``weights/current.json`` says; without it all weights are equal. Label Studio shows one version
of the review prediction to all, so newer weights take over when its open tasks are proposed anew, never before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from label_configs.errors import TrainingError, WinnowError
from ml_backend import shared_projects
from ml_backend.mixing import EQUAL, Evidence, MixingWeights

_CURRENT = "current.json"
_KEPT = 8  # files, beside the one in force
_DIGITS = 6


@dataclass(frozen=True)
class WeightsInForce:
    """The weights that open tasks are proposed with; ``digest`` names them, empty where they are equal."""

    weights: MixingWeights = EQUAL
    digest: str = ""


def weights_in_force(project_folder: Path) -> WeightsInForce:
    """Read them. Raises TrainingError where a file is damaged or gone."""
    record = project_folder / "weights" / _CURRENT
    if (name := _recorded(record)) is None:
        return WeightsInForce()
    path = record.parent / name
    return WeightsInForce(_read(path), path.stem)


@contextmanager
def taking_over(project_folder: Path, weights: MixingWeights) -> Iterator[None]:
    """Mix by these weights from now on, unless the block fails; without evidence, all are equal again.

    Raises TrainingError where the record of those before is damaged, EnvironmentFault where a file cannot be written.
    """
    record = project_folder / "weights" / _CURRENT
    before = _recorded(record)
    _record(record, _written(record.parent, weights) if weights.evidence else None)
    try:
        yield
    except WinnowError:
        _record(record, before)
        raise
    _drop_old(record.parent)


def _written(folder: Path, weights: MixingWeights) -> str:
    """Write the file, unless it is there; its name."""
    rows = [
        {
            "source": source,
            "version": version,
            "code": code,
            "kept": round(found.kept, _DIGITS),
            "shown": round(found.shown, _DIGITS),
            "weight": round(weights.weight(source, version, code), _DIGITS),
        }
        for (source, version, code), found in sorted(weights.evidence.items())
    ]
    data: dict[str, Any] = {"documents": list(weights.documents), "weights": rows}
    if weights.since:
        firsts = {name: asdict(found) for name, found in sorted(weights.firsts.items())}
        data |= {"since": weights.since, "firsts": firsts}
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        shared_projects.write(path, text)
    return path.name


@lru_cache(maxsize=64)  # named by its digest, a file never changes
def _read(path: Path) -> MixingWeights:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        evidence = {
            (str(row["source"]), str(row["version"]), str(row["code"])): Evidence(
                float(row["kept"]), float(row["shown"])
            )
            for row in data["weights"]
        }
        firsts = {
            str(name): Evidence(float(found["kept"]), float(found["shown"]))
            for name, found in data.get("firsts", {}).items()
        }
        documents = tuple(str(one) for one in data["documents"])
        return MixingWeights(evidence, documents, firsts, str(data.get("since", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise TrainingError(
            f"{path}: damaged or gone; delete {path.parent / _CURRENT}, the scheduler learns the weights anew"
        ) from None


def _recorded(record: Path) -> str | None:
    try:
        return Path(str(json.loads(record.read_text(encoding="utf-8"))["weights"])).name
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError(f"{record}: damaged; delete it, the scheduler learns the weights anew") from None


def _record(record: Path, name: str | None) -> None:
    if name is None:
        shared_projects.forget(record)
    elif name != _recorded(record):
        shared_projects.write(record, json.dumps({"weights": name}))


def _drop_old(folder: Path) -> None:
    """Delete the files that are not in force but the newest few."""
    others = [path for path in folder.glob("*.json") if path.name not in (_CURRENT, _recorded(folder / _CURRENT))]
    for path in sorted(others, key=lambda p: p.stat().st_mtime_ns)[:-_KEPT]:
        shared_projects.forget(path)
