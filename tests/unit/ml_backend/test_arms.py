"""Arms: drawn by the document's id, in the shares asked for, the holdout in its own."""

from __future__ import annotations

from collections import Counter

import pytest

from label_configs.drawing import is_holdout
from label_configs.forms import ReviewForm
from label_configs.records import Arm
from ml_backend.arms import arm_of
from ml_backend.experiment import Experiment, Review
from ml_backend.training_config import Training

IDS = [f"d{n}" for n in range(3000)]


def arms(review: Review, training: Training | None = None) -> dict[str, Arm]:
    experiment = Experiment("small", (), review=review, training=training)
    return {one: arm_of(experiment, one) for one in IDS}


def test_shares_are_kept_and_the_holdout_has_its_own_arm() -> None:
    training = Training("m", holdout_share=0.2)
    found = arms(Review(blind_share=0.1, choose_share=0.3, holdout=Arm.BLIND), training)
    assert {found[one] for one in IDS if is_holdout(one, 0.2)} == {Arm.BLIND}
    others = Counter(arm for one, arm in found.items() if not is_holdout(one, 0.2))
    total = others.total()
    assert others[Arm.BLIND] / total == pytest.approx(0.1, abs=0.03)
    assert others[Arm.CHOOSE] / total == pytest.approx(0.3, abs=0.03)


def test_by_default_all_but_the_holdout_are_reviewed() -> None:
    assert set(arms(Review()).values()) == {Arm.REVIEW}
    assert Counter(arms(Review(), Training("m")).values()).keys() == {Arm.REVIEW, Arm.CHOOSE}


@pytest.mark.parametrize(("form", "arm"), [(ReviewForm.CHOOSE, Arm.CHOOSE), (ReviewForm.BLIND, Arm.BLIND)])
def test_a_form_without_candidates_is_the_arm_of_all(form: ReviewForm, arm: Arm) -> None:
    review = Review(form, blind_share=0.3, choose_share=0.3, holdout=Arm.BLIND)
    assert set(arms(review, Training("m")).values()) == {arm}
