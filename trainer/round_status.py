"""What `winnow status` says of a project's fine-tuning: the round at hand, and those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ml_backend.experiment import Project
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.round_queue import round_at_hand, round_progress, round_queued
from trainer.round_watch import NO_TRAINER
from trainer.rounds import RoundRecord, RoundState, list_rounds, rounds_folder

SHOWN = 5  # rounds that ended


@dataclass(frozen=True, slots=True)
class RoundStatus:
    """A project's rounds, oldest first, what the one at hand says of itself, and the number of live train workers.

    ``stage`` is that of the round at hand: queued, read, load, train, judge; "cut off" where its record says that it
    runs and nobody has it, "" where there is none.
    """

    project: Project
    records: Sequence[RoundRecord]
    stage: str
    progress: Mapping[str, Any]
    workers: int

    @classmethod
    def of(cls, redis: Redis, project: Project) -> RoundStatus:
        """The status now. Raises QueueError, TrainingError."""
        records = list_rounds(rounds_folder(project.home, project.id))
        progress = round_progress(redis, project.id)
        runs = bool(records) and records[-1].state is RoundState.RUNNING
        if round_queued(redis, project.id):
            stage = "queued"
        elif round_at_hand(redis, project.id) and (runs or progress.get("stage") in ("queued", "read")):
            stage = str(progress.get("stage", "start"))
        else:
            stage = "cut off" if runs else ""
        return cls(project, records, stage, progress, len(live_workers(redis, WorkerKind.TRAIN)))

    @property
    def _now(self) -> RoundRecord | None:
        """The record of the round at hand, None where there is none or it has not begun."""
        last = self.records[-1] if self.records else None
        return last if last and last.state is RoundState.RUNNING else None

    def as_json(self) -> dict[str, Any]:
        """For programs: ``round`` is the one at hand or null, ``rounds`` all that were, oldest first."""
        now = self._now
        told = {name: value for name, value in self.progress.items() if name not in ("stage", "round")}
        at_hand = {"stage": self.stage, "id": now.id if now else None, **(told if now else {})}
        return {
            "round": at_hand if self.stage else None,
            "rounds": [_plain(record) for record in self.records],
            "train_workers": self.workers,
        }

    def as_text(self) -> Group:
        """For a person: a line or two of the round at hand, its notes and log, and a table of the last ones."""
        ended = [record for record in self.records if record.state is not RoundState.RUNNING][-SHOWN:]
        lines = [*(line for record in ended for line in _why(record)), *self._of_now()]
        if self.project.experiment.training:
            lines.append(_workers(self.workers))
        parts: list[Table | Text] = [Text(line, overflow="fold") for line in lines]
        return Group(*([_table(self.project.id, ended)] if ended else []), *parts)

    def _of_now(self) -> list[str]:
        now, told, command = self._now, self.progress, f"`winnow train --project {self.project.id}`"
        if not self.stage:
            return []
        if self.stage == "cut off" and now:
            return [f"Round {now.id} was cut off; the scheduler goes on with it, or {command}."]
        if now is None:
            what = "waits for a train worker" if self.stage == "queued" else "reads what is verified"
            return [f"A round {what}."]
        if self.stage == "queued":
            return [f"Round {now.id} waits for a train worker, to go on."]
        figures = [self.stage]
        if told.get("step") is not None:
            figures.append(f"step {told['step']} of {told['steps']}")
        if told.get("loss") is not None:
            figures.append(f"loss {told['loss']:.4g}")
        if told.get("seconds_left") is not None:
            figures.append(f"{duration(told['seconds_left'])} left")
        since = f"{now.started_at:%Y-%m-%d %H:%M} UTC" if now.started_at else "unknown"
        return [
            f"Round {now.id} ({now.training_examples} training, {now.holdout_examples} holdout documents): "
            f"{', '.join(figures)}; since {since}.",
            *(f"Note: {note}." for note in dict.fromkeys((*now.notes, *told.get("notes", ())))),
            *([f"Log: {told['log']}"] if told.get("log") else []),
        ]


def _table(project_id: int, records: Sequence[RoundRecord]) -> Table:
    table = Table(
        "round", "ended (UTC)", "state", "documents", "took", "adapter", title=f"Rounds of project {project_id}",
        pad_edge=False,  # an adapter's whole id fits 80 columns
    )  # fmt: skip
    for record in records:
        ended = f"{record.ended_at.astimezone(UTC):%Y-%m-%d %H:%M}" if record.ended_at else "–"
        documents = f"{record.training_examples} + {record.holdout_examples}"
        took = "–" if record.seconds is None else duration(record.seconds)
        table.add_row(record.id[:8], ended, record.state.value, documents, took, record.adapter_id)
    return table


def _why(record: RoundRecord) -> list[str]:
    """Lines below the table: why it came to its state, and what a person should know."""
    return [f"{record.id[:8]}: {record.reason}", *(f"{record.id[:8]}, note: {note}." for note in record.notes)]


def _workers(number: int) -> str:
    if not number:
        return f"{NO_TRAINER.capitalize()}."
    return "1 train worker is alive." if number == 1 else f"{number} train workers are alive."


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person says it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _plain(record: RoundRecord) -> dict[str, Any]:
    fields = asdict(record)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}
