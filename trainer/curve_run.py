"""A learning curve in a person's hands: its trainings enqueued and waited for, or done here where there is no project.

A cell that has its figures is never trained again; what was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from redis import Redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from tenacity import Retrying, retry_if_result, wait_fixed

from label_configs.errors import EnvironmentFault, QueueError, TrainingError
from label_configs.records import VerifiedExample
from ml_backend.adapters import AdapterStore
from ml_backend.experiment import Project
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import load_project
from ml_backend.settings import Settings
from ml_backend.training_config import Training
from trainer.alone import alone
from trainer.curve_cells import CurvePlan, cell_folder, train_cell
from trainer.curve_queue import cell_at_hand, enqueue_cell, go_on, job_id, progress_of, take_back
from trainer.evaluation.curve_file import Curve, cell_name
from trainer.jobs import recipe_of
from trainer.prelabelling import LOOK_SECONDS
from trainer.round_examples import RoundExamples
from trainer.round_watch import LOST_LOOKS, NO_TRAINER
from trainer.supervision import Watch
from trainer.training_bar import TrainingBar
from trainer.tuning import FineTuning
from trainer.verified import read_project

TRIES = 2  # times that a cell whose worker is gone is enqueued


@dataclass(frozen=True)
class Wanted:
    """The points that a curve is asked for: percent of the training documents, and seeds for each."""

    shares: tuple[int, ...]
    seeds: int

    @property
    def cells(self) -> list[tuple[int, int]]:
        """(share, seed), the smallest first: a curve that is stopped has its cheap points, and all seeds of them."""
        return list(product(sorted(set(self.shares)), range(self.seeds)))


def plan_of_project(settings: Settings, project_id: int) -> tuple[Project, CurvePlan]:
    """What a round of the project would train on now, without silver, and how.

    Raises ConfigError for an unknown project, TrainingError for one that trains nothing, LabelStudioError.
    """
    project = load_project(settings.home, project_id)
    training = project.experiment.training
    if training is None:
        raise TrainingError(f"project {project_id}: winnow.yaml has no `training`; add it and run `winnow init` again")
    reading = read_project(LabelStudioClient(settings), project, annotated_only=True)
    return project, CurvePlan(curve_tuning(settings, project, training, reading.examples), project.folder)


def curve_tuning(
    settings: Settings, project: Project, training: Training, examples: Sequence[VerifiedExample]
) -> FineTuning:
    """A round's fine-tuning on verified ``examples``, compared with the base alone."""
    found = RoundExamples.of_verified(examples, project.codebook)
    return FineTuning(
        training.base, recipe_of(training), project.codebook, found.examples, training.holdout_share,
        threads=settings.threads, negatives=training.negatives, balance=training.balance,
        checkpoint_seconds=settings.checkpoint_seconds,
    )  # fmt: skip


@dataclass
class QueuedCurve:
    """A project's curve, trained by its train workers."""

    redis: Redis
    project: Project
    plan: CurvePlan

    def run(self, wanted: Wanted, console: Console) -> Curve:
        """Enqueue what is missing and wait for it; the curve with what came of it, failures among it.

        Ctrl-C takes back what waits and ends what trains at its next step, to be gone on with.
        """
        missing = [cell for cell in wanted.cells if not self.plan.done(*cell)]
        if not missing:
            return self.plan.curve
        if not live_workers(self.redis, WorkerKind.TRAIN):
            raise QueueError(NO_TRAINER)
        go_on(self.redis, self.project.id)
        for share, seed in missing:
            enqueue_cell(self.redis, self.project, self.plan.id, share, seed)
        try:
            self._wait(wanted, missing, console)
        except KeyboardInterrupt:
            take_back(self.redis, self.project.id)
            console.print("What waits is taken back, what trains ends with a checkpoint; the same command goes on.")
            raise
        return self.plan.curve

    def _wait(self, wanted: Wanted, missing: Sequence[tuple[int, int]], console: Console) -> None:
        lost: Counter[tuple[int, int]] = Counter()
        tries: Counter[tuple[int, int]] = Counter()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            total = len(wanted.cells)
            task = bar.add_task("queued", total=total, completed=total - len(missing))

            def look() -> bool:
                known = self.plan.curve.cells
                open_cells = [cell for cell in missing if cell_name(*cell) not in known]
                for cell in open_cells:
                    self._see_to(cell, lost, tries)
                bar.update(task, completed=total - len(open_cells), description=self._doing(open_cells))
                return not open_cells

            Retrying(retry=retry_if_result(lambda ended: not ended), wait=wait_fixed(LOOK_SECONDS))(look)

    def _see_to(self, cell: tuple[int, int], lost: Counter[tuple[int, int]], tries: Counter[tuple[int, int]]) -> None:
        """Enqueue a cell again that nobody has; its job may be between queue and worker for a moment."""
        if cell_at_hand(self.redis, job_id(self.project.id, self.plan.id, *cell)):
            lost[cell] = 0
            return
        lost[cell] += 1
        if lost[cell] < LOST_LOOKS or cell_name(*cell) in self.plan.curve.cells:
            return
        tries[cell] += 1
        if tries[cell] > TRIES:
            raise TrainingError(
                f"project {self.project.id}: the training on {cell[0]} % with seed {cell[1]} ended {tries[cell]} times "
                "without a result; see the log of the train worker, the same command goes on"
            )
        lost[cell] = 0
        enqueue_cell(self.redis, self.project, self.plan.id, *cell)

    def _doing(self, open_cells: Sequence[tuple[int, int]]) -> str:
        for share, seed in open_cells:
            told = progress_of(self.redis, self.project.id, cell_name(share, seed))
            if told:
                step = f", step {told['step']} of {told['steps']}" if "step" in told else ""
                return f"{share} %, seed {seed}: {told.get('stage', 'train')}{step}"
        return "queued" if open_cells else "done"


def run_here(plan: CurvePlan, wanted: Wanted, store: AdapterStore, console: Console) -> Curve:
    """Train what is missing one after the other in processes that this one supervises.

    A cell that comes to nothing is told and does not hinder the others: the smallest shares may lack codes. Raises
    EnvironmentFault where another process has a cell.
    """
    missing = [cell for cell in wanted.cells if not plan.done(*cell)]
    for number, (share, seed) in enumerate(missing, 1):
        console.print(f"{number} of {len(missing)}: {share} % of {plan.curve.training} documents, seed {seed}")
        try:
            _train_here(plan, share, seed, store, console)
        except TrainingError as error:
            console.print(f"Came to nothing: {error}", soft_wrap=True, highlight=False, markup=False)
        except KeyboardInterrupt:
            console.print("The same command goes on from where it was.")
            raise
    return plan.curve


def _train_here(plan: CurvePlan, share: int, seed: int, store: AdapterStore, console: Console) -> None:
    with alone(cell_folder(plan, share, seed)) as lock:
        if lock is None:
            raise EnvironmentFault(f"{plan.work}: another process trains on the same documents; wait for it")
        with TrainingBar(console, "start") as bar:
            train_cell(plan, share, seed, store, Watch(bar.update, held=(lock,)))
            bar.end("done")
