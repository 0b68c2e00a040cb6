"""What coders have verified so far, read from Label Studio itself, by way of the project's mirror."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from label_configs import wire
from label_configs.records import Decision, Document, Proposal, VerifiedExample
from ml_backend.experiment import Project
from ml_backend.prelabel import documents_of
from ml_backend.task_reader import TaskReader
from ml_backend.training_config import Training
from trainer.examples import verified_examples
from trainer.mirror import Mirror


@dataclass(frozen=True)
class Reading:
    """A project at one moment: documents, decisions, the sources' own proposals, and the verified examples.

    ``documents`` are without the copies that are shown again; ``decisions`` are with those on the copies.
    """

    documents: Sequence[Document]
    decisions: Sequence[Decision]
    proposals: Sequence[Proposal]
    examples: Sequence[VerifiedExample]


def read_project(
    reader: TaskReader, project: Project, *, annotated_only: bool = False, now: datetime | None = None
) -> Reading:
    """Bring the project's mirror up to date, and read it: in full, or the annotated documents and what is said of them.

    ``now`` is this machine's time. Raises LabelStudioError, WireError or EnvironmentFault.
    """
    with Mirror(project.folder) as mirror:
        mirror.refresh(reader, project.id, whole=True, now=now)
        with mirror.tasks(annotated_only=annotated_only) as tasks:
            return reading_of(tasks, project)


class Look:
    """A project for those who count: read when one of them first asks, and the same for all of them.

    Nothing is asked of Label Studio before. ``now`` is this machine's time. Properties raise LabelStudioError,
    WireError or EnvironmentFault.
    """

    def __init__(self, reader: TaskReader, project: Project, now: datetime | None = None) -> None:
        self._reader = reader
        self._project = project
        self._now = now

    @property
    def revision(self) -> str:
        """The same as at an earlier look where no text and no annotation is another; one small request where so."""
        return self._fresh[0]

    @property
    def decided_at(self) -> datetime | None:
        """When something was last decided or taken back, as far as was seen (see ``Mirror.decided_at``)."""
        return self._fresh[1]

    @cached_property
    def reading(self) -> Reading:
        """The annotated documents and the decisions on them; no proposals."""
        assert self._fresh
        with Mirror(self._project.folder) as mirror, mirror.tasks(annotated_only=True, predictions=False) as tasks:
            return reading_of(tasks, self._project)

    @cached_property
    def _fresh(self) -> tuple[str, datetime | None]:
        with Mirror(self._project.folder) as mirror:
            mirror.refresh(self._reader, self._project.id, now=self._now)
            return mirror.revision, mirror.decided_at


def reading_of(tasks: Iterable[wire.JsonObject], project: Project) -> Reading:
    """What these tasks, exported or mirrored, say. Raises WireError for annotations that cannot be."""
    text_key = project.experiment.text
    decisions: list[Decision] = []
    proposals: list[Proposal] = []
    documents: dict[str, Document] = {}
    for task in tasks:
        pairs, _ = documents_of([task], text_key)
        for _task, document in pairs:
            decisions += wire.decisions(task, project.codebook, project.form, text_key=text_key, team=project.team)
            proposals += wire.proposals(task)
            if not document.repeat:
                documents[document.id] = document
    training = project.experiment.training or Training(base="")
    examples = verified_examples(
        documents, decisions, kind=project.codebook.kind, holdout_share=training.holdout_share,
        rule=project.experiment.review.consensus, max_codes=project.codebook.max_codes,
    )  # fmt: skip
    return Reading(list(documents.values()), decisions, proposals, examples)
