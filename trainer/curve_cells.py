"""One point of a learning curve: a fine-tuning on a share of the training documents, judged on the whole holdout.

It is trained as a round is (``trainer.fine_tuning``), with what the round would use, and never published. Loads no
torch: the training has a process of its own.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from label_configs.errors import TrainingError
from label_configs.records import VerifiedExample
from ml_backend.adapters import AdapterStore
from ml_backend.training_config import Gate
from trainer.evaluation.curve_file import METRICS, Cell, Curve, cell_name, change_curve, read_curves, work_folder
from trainer.evaluation.metrics import measure
from trainer.fine_tuning import outcome_of, predictions_in, train_and_ask
from trainer.supervision import Watch
from trainer.tuning import FineTuning


@dataclass(frozen=True)
class CurvePlan:
    """What a curve is measured on: ``tuning`` with all examples, and the ``folder`` that keeps its results."""

    tuning: FineTuning
    folder: Path

    @property
    def id(self) -> str:
        """The fine-tuning's: the same examples, recipe, base and codebook are the same curve."""
        return self.tuning.id

    @property
    def work(self) -> Path:
        """Where trainings work."""
        return work_folder(self.folder, self.id)

    @property
    def empty(self) -> Curve:
        """The curve without a cell."""
        tuning = self.tuning
        return Curve(
            self.id, Path(tuning.base).name, tuning.recipe.digest, tuning.codebook.name, tuning.training_examples,
            len(tuning.truth),
        )  # fmt: skip

    @property
    def curve(self) -> Curve:
        """What is kept of it."""
        return read_curves(self.folder).get(self.id, self.empty)

    def check(self) -> None:
        """Raise TrainingError where there is nothing to learn or nothing to judge on."""
        if not self.tuning.truth:
            raise TrainingError("no document of the holdout is verified: nothing to judge on; verify more documents")
        self.tuning.check()

    def begin(self, store: AdapterStore, metric: str, threshold: float) -> Curve:
        """Write what jobs read; keep what is asked for, and forget cells that came to nothing, to try them again."""
        self.tuning.write(self.work, store)

        def asked(curve: Curve) -> Curve:
            return replace(curve, metric=metric, threshold=threshold, cells={one.name: one for one in curve.done})

        curve = change_curve(self.folder, self.empty, asked)
        for cell in curve.done:  # what a crash after the last word of a training left
            shutil.rmtree(cell_folder(self, cell.share, cell.seed), ignore_errors=True)
        return curve

    @classmethod
    def read(cls, folder: Path, curve_id: str) -> CurvePlan:
        """What ``begin`` wrote. Raises TrainingError where it is missing or damaged."""
        return cls(FineTuning.read(work_folder(folder, curve_id), Gate()), folder)

    def keep(self, cell: Cell) -> None:
        """Add what a training came to."""
        change_curve(self.folder, self.empty, lambda curve: curve.with_cell(cell))

    def done(self, share: int, seed: int) -> bool:
        """Whether the cell has its figures."""
        return any((one.share, one.seed) == (share, seed) for one in self.curve.done)


def tuning_of(tuning: FineTuning, share: int, seed: int) -> FineTuning:
    """The fine-tuning on ``share`` percent of the training documents, with the recipe's seed moved on by ``seed``.

    The documents of a smaller share are among those of a larger one of the same seed; the holdout stays whole.
    """
    examples = [*subset(tuning.examples, share, seed), *(one for one in tuning.examples if one.holdout)]
    recipe = replace(tuning.recipe, seed=tuning.recipe.seed + seed)
    return replace(tuning, examples=examples, recipe=recipe, current=None, bars=())


def subset(examples: Sequence[VerifiedExample], share: int, seed: int) -> list[VerifiedExample]:
    """``share`` percent of the training documents, at least one, in an order drawn by their ids and ``seed``."""
    training = [one for one in examples if not one.holdout]
    drawn = sorted(training, key=lambda one: hashlib.sha256(f"curve\0{seed}\0{one.document_id}".encode()).digest())
    return drawn[: max(1, round(len(training) * share / 100))] if drawn else []


def train_cell(plan: CurvePlan, share: int, seed: int, store: AdapterStore, watch: Watch) -> Cell | None:
    """Train and judge one cell and keep it; None where ``watch`` had it stopped, to be gone on with.

    The caller holds the cell's folder. Raises TrainingError, after keeping its reason, where training fails.
    """
    folder, started = cell_folder(plan, share, seed), time.monotonic()
    own = tuning_of(plan.tuning, share, seed)
    cell = Cell(share, seed, own.training_examples)
    try:
        own.check()
        own.write(folder, store)
        if train_and_ask(own, folder, watch) is None:
            return None
        figures = figures_of(own, folder)
    except TrainingError as error:
        plan.keep(replace(cell, failed=str(error)))
        raise
    cell = replace(cell, figures=figures, seconds=round(time.monotonic() - started, 1))
    plan.keep(cell)
    shutil.rmtree(folder, ignore_errors=True)  # weights that nobody uses, and texts
    return cell


def cell_folder(plan: CurvePlan, share: int, seed: int) -> Path:
    """Where one training works."""
    return plan.work / cell_name(share, seed)


def figures_of(tuning: FineTuning, folder: Path) -> dict[str, dict[str, float | None]]:
    """Every metric on the holdout, of each one who was asked."""
    codebook, found = tuning.codebook, {}
    for who, predicted in predictions_in(outcome_of(folder)).items():
        measured = asdict(measure(tuning.truth, predicted, codebook.label_keys, kind=codebook.kind))
        found[who] = {name: measured[name] for name in METRICS}
    return found
