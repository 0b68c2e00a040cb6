"""Which documents are coded by reviewing candidates, and which without them."""

from __future__ import annotations

from label_configs.drawing import draw, is_holdout
from label_configs.records import Arm
from ml_backend.experiment import Experiment


def arm_of(experiment: Experiment, document_id: str) -> Arm:
    """The arm that a document is drawn into, by its id alone; the holdout goes into the arm that is meant for it."""
    review, training = experiment.review, experiment.training
    if training is not None and is_holdout(document_id, training.holdout_share):
        return review.holdout
    place = draw(document_id, "winnow-arm")
    if place < review.blind_share:
        return Arm.BLIND
    return Arm.CHOOSE if place < review.blind_share + review.choose_share else Arm.REVIEW
