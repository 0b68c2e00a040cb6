"""What a project does at this moment, read anew at every look: nothing here takes long, and nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from label_configs.errors import EnvironmentFault
from ml_backend import adapters, promotions, queue
from ml_backend.experiment import Project
from ml_backend.heartbeat import live_workers
from ml_backend.prelabel_progress import Progress, TaskState, prelabel_progress
from ml_backend.registered_projects import load_project, registered
from trainer.adapter_list import AdapterRow, adapter_row
from trainer.dashboard.kept_report import KeptReport, load_fault, load_report
from trainer.dashboard.next_round import NextRound, counted, next_round
from trainer.owed_refresh import is_owed
from trainer.round_status import RoundStatus


@dataclass(frozen=True, slots=True)
class ReportState:
    """How old the kept report is: ``newer`` tells that something was decided since. ``fault``: why there is none."""

    title: str = ""
    made_at: str = ""
    seconds: float | None = None
    newer: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Live:
    """A project now. ``rounds`` are newest first, ``adapters`` too; ``adapter`` is the current one, "" for none.

    ``owed``: after a change of the adapter, the scheduler has not asked for new proposals yet.
    """

    project: Project
    next_round: NextRound
    status: RoundStatus
    adapters: Sequence[AdapterRow]
    history: Sequence[str]
    owed: bool
    prelabelling: Progress
    jobs: Mapping[str, Mapping[str, int]]
    propose_workers: int
    report: ReportState

    @classmethod
    def of(cls, redis: Redis, project: Project) -> Live:
        """Read it. Raises QueueError, TrainingError, AdapterError."""
        status = RoundStatus.of(redis, project)
        try:
            found = counted(project.folder)
        except EnvironmentFault:  # the scheduler says so and makes it anew
            found = None
        history = promotions.history(project.folder)
        return cls(
            project, next_round(project, found), status, _adapters(project, status, history), history, is_owed(project),
            prelabel_progress(redis, project.id), jobs_of(redis), len(live_workers(redis)),
            _report_state(project, found.revision if found else ""),
        )  # fmt: skip

    @property
    def title(self) -> str:
        """The project's name in Label Studio, or its codebook's."""
        return self.report.title or f"Project {self.project.id}: {self.project.codebook.name}"

    @property
    def adapter(self) -> str:
        """The current adapter."""
        return self.history[-1] if self.history else ""

    @property
    def round(self) -> Mapping[str, Any] | None:
        """The round at hand: stage, id, and as far as told step, steps, loss, seconds_left; without server paths."""
        told = self.status.as_json()["round"]
        return {name: value for name, value in told.items() if name != "log"} if told else None

    @property
    def headline(self) -> str:
        """What a screen reader is told when it becomes another: states and counts, not each step."""
        said = [f"{self.next_round.verified} documents verified"] if self.next_round.verified is not None else []
        if self.round:
            said.append(f"round {self.round['stage']}")
        elif self.status.records:
            said.append(f"last round {self.status.records[-1].state.value}")
        said.append(f"adapter {self.adapter or 'none'}")
        return ", ".join(said)

    def as_json(self) -> dict[str, Any]:
        """As /dashboard/api/projects/<id> answers; see ``openapi.yaml``."""
        told = self.status.as_json()
        return {
            "project": self.project.id,
            "title": self.title,
            "codebook": self.project.codebook.name,
            "adapter": self.adapter or None,
            "next_round": asdict(self.next_round),
            "round": self.round,
            "rounds": told["rounds"],
            "adapters": [row.as_json() for row in self.adapters],
            "refresh_owed": self.owed,
            "prelabelling": {
                "version": self.prelabelling.version,
                "total": self.prelabelling.total,
                **{state.value: self.prelabelling[state] for state in TaskState},
            },
            "jobs": {name: dict(counts) for name, counts in self.jobs.items()},
            "train_workers": self.status.workers,
            "propose_workers": self.propose_workers,
            "report": asdict(self.report),
        }


def jobs_of(redis: Redis) -> dict[str, dict[str, int]]:
    """By queue, how many jobs wait, run and have failed."""
    with queue.redis_errors():
        return {
            line.name: {
                "queued": line.count,
                "started": line.started_job_registry.count,
                "failed": line.failed_job_registry.count,
            }
            for kind in (queue.PROPOSE, queue.TRAIN)
            for line in queue.queues(redis, kind)
        }


def all_projects(home: Path) -> list[Project]:
    """The registered projects."""
    return [load_project(home, project_id) for project_id in registered(home)]


def _adapters(project: Project, status: RoundStatus, history: Sequence[str]) -> list[AdapterRow]:
    """Those that rounds made and those that were current, newest first: the store need not be listed for them."""
    ids = dict.fromkeys([*history, *(one.adapter_id for one in status.records if one.adapter_id)])
    store = adapters.store_of(project.home)
    rows = [adapter_row(store, one, {project.id: history}) for one in ids]
    return sorted(rows, key=lambda row: row.made_at, reverse=True)


def _report_state(project: Project, revision: str) -> ReportState:
    fault = load_fault(project.folder)
    try:
        report: KeptReport | None = load_report(project.folder)
    except EnvironmentFault as error:
        return ReportState(fault=str(error))
    if report is None:
        return ReportState(fault=fault)
    newer = bool(revision) and revision != report.revision
    return ReportState(report.title, report.made_at.isoformat(), report.seconds, newer, fault)
