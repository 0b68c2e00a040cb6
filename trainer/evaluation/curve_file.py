"""Learning curves, kept with a project: what trainings on shares of its verified examples came to.

``<folder>/judging/curve.json`` has a curve for each set of examples, recipe and base, by the fine-tuning's id, and in
it a cell for each share and seed. Whoever writes holds the folder's lock, so that several train workers may.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from label_configs.errors import ConfigError, EnvironmentFault
from ml_backend.atomic import write_atomically
from trainer.alone import alone
from trainer.evaluation.stability_file import JUDGING

NAME = "curve.json"
FOLDER = "curve"  # beside it, for trainings under way
LOCK_SECONDS = 60.0
METRICS = ("accuracy", "macro_f1", "micro_f1", "balanced_accuracy")
THRESHOLD = 0.005
SHARES = (5, 10, 25, 50, 75, 100)  # percent
SEEDS = 3

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Cell:
    """A training on ``share`` percent of the training documents, ``documents`` of them, drawn and trained by ``seed``.

    ``figures`` by who was asked about the holdout: ``new`` the adapter, ``current`` the base alone, and bars, by the
    keys of an outcome. ``failed`` is the reason of a training that came to nothing, else empty.
    """

    share: int
    seed: int
    documents: int
    figures: Mapping[str, Figures] = field(default_factory=dict)
    seconds: float = 0.0
    failed: str = ""

    @property
    def name(self) -> str:
        """Its key in the curve."""
        return cell_name(self.share, self.seed)


def cell_name(share: int, seed: int) -> str:
    """How a cell is named in files, jobs and folders."""
    return f"{share}-{seed}"


@dataclass(frozen=True)
class Curve:
    """All cells of one set of examples, recipe and base. ``training`` and ``holdout`` count documents.

    ``metric`` and ``threshold`` are those asked for last.
    """

    id: str
    base: str
    recipe: str
    codebook: str
    training: int
    holdout: int
    metric: str = "macro_f1"
    threshold: float = THRESHOLD
    changed_at: str = ""
    cells: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def done(self) -> list[Cell]:
        """The cells that came to figures, by share and seed."""
        return sorted((one for one in self.cells.values() if not one.failed), key=lambda one: (one.share, one.seed))

    @property
    def failed(self) -> list[Cell]:
        """The cells that came to nothing."""
        return sorted((one for one in self.cells.values() if one.failed), key=lambda one: (one.share, one.seed))

    def with_cell(self, cell: Cell) -> Curve:
        """The curve with this cell in the place of an earlier one."""
        return replace(self, cells={**self.cells, cell.name: cell})


def curve_path(folder: Path) -> Path:
    """Where the curves of a project, or of an offline training, are kept."""
    return folder / JUDGING / NAME


def work_folder(folder: Path, curve_id: str) -> Path:
    """Where the trainings of a curve work."""
    return folder / JUDGING / FOLDER / curve_id


def read_curves(folder: Path) -> dict[str, Curve]:
    """The curves by their ids, the one that changed last at the end; empty before the first.

    Raises ConfigError where the file is damaged.
    """
    path = curve_path(folder)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["curves"]
        curves = [_curve(row) for row in rows]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{path}: damaged; delete it and run `winnow curve` again") from None
    return {one.id: one for one in sorted(curves, key=lambda one: one.changed_at)}


def change_curve(folder: Path, empty: Curve, change: Callable[[Curve], Curve]) -> Curve:
    """Change the curve of ``empty``'s id, which is taken where there is none yet; the curve as it is then.

    Raises ConfigError where the file is damaged, EnvironmentFault where it cannot be written.
    """
    path = curve_path(folder)
    with alone(path.parent, LOCK_SECONDS) as lock:
        if lock is None:
            raise EnvironmentFault(f"{path}: another process holds it; end that one and try again")
        curves = read_curves(folder)
        changed = replace(change(curves.get(empty.id, empty)), changed_at=datetime.now(UTC).isoformat())
        curves[changed.id] = changed
        rows = [asdict(one) | {"cells": [asdict(cell) for cell in one.cells.values()]} for one in curves.values()]
        write_atomically(path, json.dumps({"curves": rows}, ensure_ascii=False, indent=1) + "\n")
    return changed


def _curve(row: dict[str, Any]) -> Curve:
    cells = [Cell(**cell) for cell in row["cells"]]
    return Curve(**{**row, "cells": {cell.name: cell for cell in cells}})
