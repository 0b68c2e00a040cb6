"""What coders have verified so far, read from Label Studio itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from label_configs import wire
from label_configs.records import Decision, Document, Proposal, VerifiedExample
from ml_backend.experiment import Project, Training
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import documents_of
from trainer.examples import verified_examples


@dataclass(frozen=True)
class Reading:
    """One export of a project: documents, decisions, the sources' own proposals, and the verified examples.

    ``documents`` are without the copies that are shown again; ``decisions`` are with those on the copies.
    """

    documents: Sequence[Document]
    decisions: Sequence[Decision]
    proposals: Sequence[Proposal]
    examples: Sequence[VerifiedExample]


def read_project(client: LabelStudioClient, project: Project, *, annotated_only: bool = False) -> Reading:
    """Export the project and read it, or its annotated tasks only: what is verified is the same.

    Raises LabelStudioError or WireError.
    """
    tasks = client.export(project.id, annotated_only=annotated_only)
    text_key = project.experiment.text
    pairs, _ = documents_of(tasks, text_key)
    decisions: list[Decision] = []
    proposals: list[Proposal] = []
    for task, _document in pairs:
        decisions += wire.decisions(task, project.codebook, project.form, text_key=text_key, team=project.team)
        proposals += wire.proposals(task)
    documents = {document.id: document for _, document in pairs if not document.repeat}
    training = project.experiment.training or Training(base="")
    examples = verified_examples(
        documents, decisions, kind=project.codebook.kind, holdout_share=training.holdout_share,
        rule=project.experiment.review.consensus, max_codes=project.codebook.max_codes,
    )  # fmt: skip
    return Reading(list(documents.values()), decisions, proposals, examples)
