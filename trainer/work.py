"""What a person asks of a project on the command line: prelabel, train, promote, evaluate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis
from rich.console import Console
from rich.table import Table
from tenacity import Retrying, retry_if_result, wait_fixed

from label_configs.errors import TrainingError
from ml_backend import adapters, queue
from ml_backend.config_check import check_config
from ml_backend.experiment import Project, load_project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.proposing import Plan
from ml_backend.settings import Settings
from ml_backend.versions import active_sources
from trainer.evaluation.mixing import mixing_report
from trainer.evaluation.report import Evaluation, evaluate
from trainer.jobs import refresh
from trainer.prelabelling import LOOK_SECONDS, Prelabelling
from trainer.rounds import RoundRecord, RoundState, list_rounds, rounds_folder
from trainer.training_bar import TrainingBar
from trainer.verified import Reading, read_project


@dataclass(frozen=True)
class Work:
    """A project with the connections that work on it needs."""

    settings: Settings
    redis: Redis
    client: LabelStudioClient
    project: Project

    @classmethod
    def open(cls, settings: Settings, project_id: int, *, to_train: bool = False) -> Work:
        """Connect. Raises ConfigError for an unknown project, QueueError or LabelStudioError for what is away.

        Raises LabelConfigError for a project whose label config no longer fits, edited by hand as it may be, and with
        ``to_train`` TrainingError for an experiment that trains nothing.
        """
        project = load_project(settings.home, project_id)
        if to_train and project.experiment.training is None:
            raise TrainingError(
                f"project {project_id}: winnow.yaml has no `training`; add it and run `winnow init` again"
            )
        work = cls(settings, queue.connect(settings), LabelStudioClient(settings), project)
        check_config(work.client, project)
        return work

    @property
    def prelabelling(self) -> Prelabelling:
        """Pushing predictions for the project's open tasks."""
        return Prelabelling(self.redis, self.client, self.project, self.settings.chunk_documents)

    def prelabel(self, console: Console) -> None:
        """Have what is missing proposed and wait for it; see ``Prelabelling.run``."""
        self.prelabelling.run(console)

    def train(self, console: Console, *, wait: bool) -> None:
        """Start a round by hand. Raises TrainingError when it fails."""
        started = queue.enqueue_round(self.redis, self.project.id)
        console.print("A round is enqueued." if started else "A round of this project is queued or running already.")
        if wait:
            record = self.watch_round(console)
            console.print(f"{record.state.value}: {record.reason}")

    def watch_round(self, console: Console, on_look: Callable[[], None] | None = None) -> RoundRecord:
        """Show the project's round until it has ended; its record. Raises TrainingError when it failed."""

        def look() -> bool:
            if on_look:
                on_look()
            bar.update(queue.round_progress(self.redis, self.project.id))
            return not queue.round_at_hand(self.redis, self.project.id)

        with TrainingBar(console) as bar:
            Retrying(retry=retry_if_result(lambda ended: not ended), wait=wait_fixed(LOOK_SECONDS))(look)
            record = self.ended_round()
            bar.end(record.state.value)
        return record

    def ended_round(self) -> RoundRecord:
        """The round that ended last. Raises TrainingError when it failed, or before the first."""
        records = list_rounds(rounds_folder(self.settings.home, self.project.id))
        if not records:
            raise TrainingError(
                f"project {self.project.id}: the round ended before it began; see the log of the train worker"
            )
        if records[-1].state is RoundState.FAILED:
            raise TrainingError(f"project {self.project.id}: round {records[-1].id} failed: {records[-1].reason}")
        return records[-1]

    def promote(self, adapter_id: str) -> None:
        """Make an adapter current, its bytes and codebook checked, and propose anew."""
        adapter = adapters.store_of(self.settings.home).get(adapter_id)
        active_sources(self.project, adapter)  # refuses an adapter of another codebook
        adapters.promote(self.project.folder, adapter)
        refresh(self.settings, self.redis, self.client, self.project)

    def roll_back(self) -> str | None:
        """Return to the adapter before the current one and propose anew; its id, None for the base sources."""
        now = adapters.roll_back(self.project.folder)
        refresh(self.settings, self.redis, self.client, self.project)
        return now


def evaluate_project(settings: Settings, project_id: int) -> Evaluation:
    """Measure the project's sources, in their present versions, on its verified holdout."""
    project = load_project(settings.home, project_id)
    return evaluate_reading(project, read_project(LabelStudioClient(settings), project))


def evaluate_reading(project: Project, reading: Reading) -> Evaluation:
    """Measure the project's sources, in their present versions, on what was read of it."""
    plan = Plan.of(project)
    return evaluate(
        reading.examples, reading.proposals, reading.decisions, codebook=project.codebook,
        versions=dict(plan.names), configs={active.config.name: active.config for active in plan.sources},
        mixing=mixing_report(project, reading),
    )  # fmt: skip


def adapter_table(settings: Settings, project_id: int) -> Table:
    """The adapters of a project's rounds."""
    project = load_project(settings.home, project_id)
    current = adapters.current(project.folder)
    title = f"Adapters of project {project_id}"
    table = Table("adapter", "round", "verdict", "examples", "holdout", "why", title=title)
    for record in list_rounds(rounds_folder(settings.home, project_id)):
        if record.adapter_id:
            name = f"{record.adapter_id} (current)" if record.adapter_id == current else record.adapter_id
            table.add_row(name, record.id, record.state.value, str(record.training_examples),
                          str(record.holdout_examples), record.reason)  # fmt: skip
    return table
