"""How documents are coded: with candidates or without, and by how many coders. All drawn by their ids."""

from __future__ import annotations

from label_configs.drawing import draw, is_holdout
from label_configs.forms import ARMS
from label_configs.records import Arm
from ml_backend.experiment import Experiment, Review


def arm_of(experiment: Experiment, document_id: str) -> Arm:
    """The arm that a document is drawn into, by its id alone; the holdout goes into the arm that is meant for it.

    With the form choose or blind all documents are in that arm.
    """
    review, training = experiment.review, experiment.training
    if review.form in ARMS:
        return ARMS[review.form]
    if training is not None and is_holdout(document_id, training.holdout_share):
        return review.holdout
    place = draw(document_id, "winnow-arm")
    if place < review.blind_share:
        return Arm.BLIND
    return Arm.CHOOSE if place < review.blind_share + review.choose_share else Arm.REVIEW


def coders_of(review: Review, document_id: str) -> int:
    """How many coders a document is for: ``overlap`` of them where it is in the share drawn for it, else one."""
    return review.overlap if draw(document_id, "winnow-overlap") < review.overlap_share else 1
