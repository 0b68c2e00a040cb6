"""A project's documents as those who judge it see them."""

from __future__ import annotations

from collections.abc import Mapping

from label_configs.drawing import is_holdout
from label_configs.records import Document
from ml_backend.experiment import Project
from ml_backend.ordering import is_random
from ml_backend.training_config import Training
from trainer.evaluation.study import StudyDocument


def study_document(project: Project, document: Document, metadata: Mapping[str, str]) -> StudyDocument:
    """A document with what is known of it: what its task says beside the text, and the two draws by its id."""
    training = project.experiment.training
    return StudyDocument(
        document.id, document.text, document.task_id, dict(metadata), is_holdout(document.id, holdout_share(project)),
        is_random(document.id, project.experiment.review, training),
    )  # fmt: skip


def holdout_share(project: Project) -> float:
    """Share of the documents that nothing is trained on, the usual one where the project trains nothing."""
    return (project.experiment.training or Training(base="")).holdout_share
