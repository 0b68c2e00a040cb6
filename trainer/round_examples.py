"""The examples of a round: what coders verified, less leaks, and silver where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from label_configs.codebook import Codebook
from label_configs.errors import TrainingError
from label_configs.records import VerifiedExample
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import load_project
from ml_backend.settings import Settings
from trainer.example_report import ExampleReport
from trainer.leaks import leaks, without_leaks
from trainer.rounds import rounds_folder
from trainer.silver import coded_since, silver_of
from trainer.verified import Reading, read_project


@dataclass(frozen=True)
class RoundExamples:
    """``examples`` are training documents, silver ones among them, and the holdout; ``report`` says what they are."""

    examples: Sequence[VerifiedExample]
    report: ExampleReport

    @classmethod
    def of_project(cls, project: Project, reading: Reading) -> RoundExamples:
        """What a round of the project would use now; with `training.silver` the reading must be of all documents."""
        kept = without_leaks(reading.examples)
        silver, notes = silver_of(project, reading, [one for one in kept if not one.holdout])
        training = project.experiment.training
        rounds = rounds_folder(project.home, project.id)
        found = coded_since(rounds, reading.examples) if training and training.silver.ratio else None
        report = ExampleReport.of([*kept, *silver], project.codebook, leaks(reading.examples), found, notes)
        return cls([*kept, *silver], report)

    @classmethod
    def of_now(cls, settings: Settings, project_id: int) -> RoundExamples:
        """What a round would use if it started now.

        Raises ConfigError for an unknown project, TrainingError for one that trains nothing, LabelStudioError.
        """
        project = load_project(settings.home, project_id)
        training = project.experiment.training
        if training is None:
            raise TrainingError(
                f"project {project_id}: winnow.yaml has no `training`; add it and run `winnow init` again"
            )
        client = LabelStudioClient(settings)
        return cls.of_project(project, read_project(client, project, annotated_only=not training.silver.ratio))

    @classmethod
    def of_verified(cls, examples: Sequence[VerifiedExample], codebook: Codebook) -> RoundExamples:
        """Of verified examples alone."""
        kept = without_leaks(examples)
        return cls(kept, ExampleReport.of(kept, codebook, leaks(examples)))

    @property
    def counts(self) -> dict[str, int]:
        """What an adapter's manifest says of them, beside the numbers of training and holdout documents."""
        return {"leaks": len(self.report.leaks), "silver_examples": self.report.silver}
