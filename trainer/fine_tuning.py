"""A fine-tuning from verified examples to a published adapter and its verdict.

Rounds and ``winnow train --examples`` share it. The training itself has a process of its own, so nothing here loads
torch, and whoever waits hears through a callback how far it has come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from label_configs.errors import TrainingError
from ml_backend.adapter_files import Adapter
from ml_backend.adapters import AdapterStore
from ml_backend.calibration import TemperatureFit, temperature_fit
from ml_backend.probabilities import Floats
from ml_backend.request_ids import request_ids
from trainer.bars import bars_in
from trainer.example_report import report_files
from trainer.fit_plan import EXAMPLES_FILE
from trainer.gate import GateVerdict, LabelSets, judge
from trainer.kept_files import beside
from trainer.launching import launch_command, visible_devices
from trainer.manifest import manifest_of
from trainer.supervision import Watch, supervise
from trainer.tuning import OUTCOME_FILE, FineTuning


@dataclass(frozen=True)
class FineTuned:
    """What came of a fine-tuning.

    Of the holdout, in its order, ``new`` and ``current`` are what the adapter and what it was compared with predicted,
    ``probabilities`` by the same names ``[documents, labels]``; both ``probabilities`` and
    ``predicted`` hold the bars as well, by their keys (``trainer.bars``). ``calibration`` is the adapter's.
    """

    adapter: Adapter
    verdict: GateVerdict
    calibration: TemperatureFit
    loss: float
    new: LabelSets
    current: LabelSets
    probabilities: Mapping[str, Floats]
    predicted: Mapping[str, LabelSets]
    notes: tuple[str, ...] = ()


def fine_tune(tuning: FineTuning, folder: Path, store: AdapterStore, watch: Watch) -> FineTuned | None:
    """Train in a process of its own, judge on the holdout, publish the adapter whatever the verdict.

    ``folder`` holds what ``FineTuning.write`` wrote. What was begun there goes on from its last checkpoint. None where
    ``watch`` had it stopped. Raises TrainingError with the process's reason, or the place of its log, AdapterError
    where the adapter cannot be published.
    """
    notes = train_and_ask(tuning, folder, watch)
    return None if notes is None else _judged(tuning, folder, store, notes)


def train_and_ask(tuning: FineTuning, folder: Path, watch: Watch, devices: int | None = None) -> tuple[str, ...] | None:
    """``fine_tune`` without verdict and publication: what the holdout was answered lies in ``folder`` afterwards.

    On so many ``devices`` where there are as many, else on all that there are. What a person should know of it, None
    where ``watch`` had it stopped.
    """
    tuning.check()
    notes = tuning.notes
    path = folder / OUTCOME_FILE
    if not path.exists():
        told = supervise(folder, path, launch_command(folder, _devices(devices)), watch)
        if told is None:
            return None
        notes += told
    return notes


def _devices(asked: int | None) -> int:
    there = visible_devices()
    return min(asked, there) if asked else there


def _judged(tuning: FineTuning, folder: Path, store: AdapterStore, notes: tuple[str, ...]) -> FineTuned:
    outcome = outcome_of(folder)
    predicted = predictions_in(outcome)
    new, current, gate = predicted["new"], predicted["current"], tuning.gate
    verdict = judge(
        tuning.truth, new, current, probability=gate.probability, minimum=gate.minimum, metric=gate.metric,
        too_small=gate.too_small, kind=tuning.codebook.kind, bars=bars_in(predicted),
    )  # fmt: skip
    shape = (len(tuning.truth), len(tuning.codebook.label_keys))
    probabilities = {who: np.array(rows).reshape(shape) for who, rows in outcome["probabilities"].items()}
    calibration = temperature_fit(probabilities["new"], tuning.truth, tuning.codebook)
    adapter = store.publish(
        folder / "adapter",
        manifest_of(tuning, outcome, verdict, calibration, predicted)
        | {"notes": notes, "unseen": tuning.unseen, "requests": request_ids()},
        beside(tuning.recipe, folder, EXAMPLES_FILE, *report_files(folder), *tuning.beside),
    )
    return FineTuned(adapter, verdict, calibration, outcome["loss"], new, current, probabilities, predicted, notes)


def predictions_in(outcome: Mapping[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """What each one who was asked predicted for the holdout, in its order."""
    return {who: [tuple(labels) for labels in rows] for who, rows in outcome["predictions"].items()}


def outcome_of(folder: Path) -> Mapping[str, Any]:
    """What the training's process left in ``folder``. Raises TrainingError where it is damaged."""
    path = folder / OUTCOME_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise TrainingError(f"{path}: damaged; delete it and train again, which asks the holdout anew")
    return found
