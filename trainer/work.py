"""What a person asks of a project on the command line: prelabel, train, promote, evaluate."""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis
from rich.console import Console

from label_configs.errors import TrainingError
from label_configs.records import Document
from ml_backend import adapters, changed_projects, promotions, queue
from ml_backend.adapter_files import Adapter
from ml_backend.base_state import check_base
from ml_backend.config_check import check_config
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.proposing import Plan
from ml_backend.registered_projects import load_project
from ml_backend.settings import Settings
from ml_backend.versions import check_codebook
from trainer.evaluation.mixing import mixing_report
from trainer.evaluation.report import Evaluation, evaluate
from trainer.evaluation.study import Study
from trainer.evaluation.verdicts import gate_report
from trainer.finishing import refresh
from trainer.owed_refresh import owe_refresh
from trainer.prelabelling import Prelabelling
from trainer.round_watch import RoundWatch
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
        work = cls(settings, queue.connect(settings), LabelStudioClient(settings, patient=True), project)
        check_config(work.client, project)
        return work

    @property
    def prelabelling(self) -> Prelabelling:
        """Pushing predictions for the project's open tasks."""
        return Prelabelling(self.redis, self.client, self.project, self.settings.chunk_documents)

    def prelabel(self, console: Console) -> None:
        """Have what is missing proposed and wait for it; see ``Prelabelling.run``."""
        self.prelabelling.run(console)

    @property
    def round(self) -> RoundWatch:
        """The project's fine-tuning round, to be started, watched and stopped."""
        return RoundWatch(self.redis, self.project)

    def train(self, console: Console, *, wait: bool) -> None:
        """Start a round by hand. Raises TrainingError when it fails."""
        self.round.start(console)
        if wait:
            record = self.round.until_ended(console)
            console.print(f"{record.state.value}: {record.reason}", soft_wrap=True)

    def promote(self, adapter_id: str, *, later: bool = False) -> None:
        """Make an adapter current, its bytes, codebook and base checked, and propose anew.

        ``later`` leaves the proposals to the scheduler: in a large project they take minutes to ask for.
        """
        adapter = self._check(adapter_id)
        promotions.promote(self.project.folder, adapter)
        self._refresh(later=later)

    def _refresh(self, *, later: bool) -> None:
        if later:
            owe_refresh(self.project)
            changed_projects.mark_changed(self.redis, self.project.id)
        else:
            refresh(self.redis, self.client, self.project, chunk=self.settings.chunk_documents)

    def _check(self, adapter_id: str) -> Adapter:
        """The adapter. Raises AdapterError where it is damaged, or of another codebook or state of its base."""
        adapter = adapters.store_of(self.settings.home).get(adapter_id)
        check_codebook(adapter, self.project.codebook)
        check_base(adapter)
        return adapter

    def roll_back(self, to: str | None = None, *, later: bool = False) -> str | None:
        """Return to the adapter before the current one, or to one before it, and propose anew; None: base sources.

        ``later`` as in ``promote``.
        Raises AdapterError, before anything changes, where the adapter to return to cannot be loaded any more.
        """
        earlier = promotions.history(self.project.folder)[:-1]
        goal = to or (earlier[-1] if earlier else promotions.BASE)
        if goal != promotions.BASE:
            self._check(goal)
        now = promotions.roll_back(self.project.folder, to)
        self._refresh(later=later)
        return now


def evaluate_project(settings: Settings, project_id: int) -> Evaluation:
    """Measure the project's sources, in their present versions, on its verified holdout."""
    project = load_project(settings.home, project_id)
    return evaluate_reading(project, read_project(LabelStudioClient(settings), project))


def evaluate_study(project: Project, study: Study) -> Evaluation:
    """Measure the project's sources, in their present versions, on what a study has of it."""
    documents = [Document(one.id, one.text, one.task_id) for one in study.documents.values()]
    return evaluate_reading(project, Reading(documents, study.decisions, study.proposals, study.examples))


def evaluate_reading(project: Project, reading: Reading) -> Evaluation:
    """Measure the project's sources, in their present versions, on what was read of it."""
    plan = Plan.of(project)
    return evaluate(
        reading.examples, reading.proposals, reading.decisions, codebook=project.codebook,
        versions=dict(plan.names), configs={active.config.name: active.config for active in plan.sources},
        mixing=mixing_report(project, reading), gate=gate_report(project, plan.sources),
    )  # fmt: skip
