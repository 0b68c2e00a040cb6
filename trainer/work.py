"""What a person asks of a project on the command line: import, prelabel, train, promote, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis import Redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from tenacity import Retrying, retry_if_result, wait_fixed

from label_configs import wire
from label_configs.errors import QueueError, TrainingError
from label_configs.records import Document
from ml_backend import adapters, queue
from ml_backend.experiment import Project, load_project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import enqueue_prelabel
from ml_backend.proposing import Plan
from ml_backend.settings import Settings
from ml_backend.versions import active_sources
from trainer.evaluation.report import Evaluation, evaluate
from trainer.jobs import refresh
from trainer.rounds import RoundRecord, RoundState, list_rounds, rounds_folder
from trainer.training_bar import TrainingBar
from trainer.verified import Reading, read_project

IMPORT_BATCH = 1000  # tasks in one request
LOOK_SECONDS = 0.5  # between two looks at a progress


@dataclass(frozen=True)
class Work:
    """A project with the connections that work on it needs."""

    settings: Settings
    redis: Redis
    client: LabelStudioClient
    project: Project

    @classmethod
    def open(cls, settings: Settings, project_id: int) -> Work:
        """Connect. Raises ConfigError for an unknown project, QueueError or LabelStudioError for what is away."""
        project = load_project(settings.home, project_id)
        return cls(settings, queue.connect(settings), LabelStudioClient(settings), project)

    def import_documents(self, documents: Sequence[Document]) -> tuple[int, int]:
        """Import the documents whose ids the project has not yet; how many were imported, how many were known."""
        known = {task["data"].get("document_id") for task in self.client.tasks(self.project.id)}
        new = [d for d in documents if d.id not in known]
        text_key = self.project.experiment.text
        for start in range(0, len(new), IMPORT_BATCH):
            part = new[start : start + IMPORT_BATCH]
            self.client.import_tasks(self.project.id, [wire.task_data(d, text_key=text_key) for d in part])
        return len(new), len(documents) - len(new)

    def prelabel(self, console: Console) -> None:
        """Enqueue what is missing and show how far it has come, until all open tasks have the review prediction.

        Raises QueueError when tasks failed, with the reason of the last.
        """
        total = enqueue_prelabel(self.redis, self.client, self.project, chunk=self.settings.chunk_documents)
        if total:
            self.watch_prelabel(console, total)
        else:
            console.print("Every open task has its proposals.")

    def watch_prelabel(self, console: Console, total: int, on_look: Callable[[], None] | None = None) -> None:
        """Show the progress of a push of ``total`` tasks until it has ended; ``on_look`` may raise."""

        def look() -> bool:
            if on_look:
                on_look()
            row = queue.prelabel_progress(self.redis, self.project.id)
            done, failed = int(row.get("done", 0)), int(row.get("failed", 0))
            bar.update(task, completed=done, failed=failed)
            return done + failed >= total

        failures = TextColumn("{task.fields[failed]} failed")
        columns = (TextColumn("proposing"), BarColumn(), MofNCompleteColumn(), failures, TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=total, failed=0)
            Retrying(retry=retry_if_result(lambda ended: not ended), wait=wait_fixed(LOOK_SECONDS))(look)
        row = queue.prelabel_progress(self.redis, self.project.id)
        if int(row.get("failed", 0)):
            raise QueueError(
                f"project {self.project.id}: {row['failed']} of {total} tasks failed ({row.get('reason', '')}); "
                "mend that and run `winnow prelabel` again"
            )

    def train(self, console: Console, *, wait: bool) -> None:
        """Start a round by hand. Raises TrainingError when it fails, or when the experiment trains nothing."""
        if self.project.experiment.training is None:
            raise TrainingError(
                f"project {self.project.id}: winnow.yaml has no `training`; add it and run `winnow init` again"
            )
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
