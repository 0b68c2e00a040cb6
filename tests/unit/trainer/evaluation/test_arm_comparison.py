"""Reviewing against choosing: statsmodels' and scipy's figures, and a reason where there is none."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from label_configs.records import Arm, CandidateSet, Decision
from trainer.evaluation.arm_comparison import Comparison, Method, compare_arms


def made(coders: int, documents: int, ratio: float, *, seed: int = 0, noise: float = 0.5) -> list[Decision]:
    """Coders of different speed; reviewing takes ``ratio`` of their time. Two of three documents are reviewed."""
    random = np.random.default_rng(seed)
    found = []
    for coder in range(coders):
        base = random.normal(2.5, 0.6)
        for number in range(documents):
            arm = Arm.CHOOSE if number % 3 == 0 else Arm.REVIEW
            effect = np.log(ratio) if arm is Arm.REVIEW else 0.0
            found.append(decision(coder, number, arm, float(np.exp(base + effect + random.normal(0, noise)))))
    return found


def decision(coder: int, number: int, arm: Arm, seconds: float | None) -> Decision:
    shown = CandidateSet(f"d{coder}-{number}", "v", (), arm)
    return Decision(shown.document_id, number, number, str(coder), "reject", seconds=seconds, shown=shown)


def arms_swapped(decisions: list[Decision]) -> list[Decision]:
    """The same lead times with the arms dealt out anew by number: no difference is left."""
    return [
        decision(int(one.coder), one.task_id, Arm.CHOOSE if one.task_id % 4 == 1 else Arm.REVIEW, one.seconds)
        for one in decisions
    ]


def ends(found: Comparison) -> tuple[float, float]:
    assert found.ratio.low is not None
    assert found.ratio.high is not None
    return found.ratio.low, found.ratio.high


def test_the_mixed_model_is_that_of_statsmodels() -> None:
    decisions = made(8, 60, 0.6)
    found = compare_arms(decisions, Arm.CHOOSE)
    table = pd.DataFrame({
        "log": [np.log(one.seconds or 0) for one in decisions],
        "review": [int(one.arm is Arm.REVIEW) for one in decisions],
        "coder": [one.coder for one in decisions],
    })  # fmt: skip
    expected = smf.mixedlm("log ~ review", table, groups="coder").fit()
    low, high = np.exp(expected.conf_int().loc["review"])
    assert found.method is Method.MIXED
    assert found.ratio.value == pytest.approx(np.exp(expected.params["review"]), rel=1e-6)
    assert ends(found) == pytest.approx((low, high), rel=1e-5)
    assert found.p == pytest.approx(expected.pvalues["review"], rel=1e-3)
    assert (found.coders, found.reviewed, found.other) == (8, 320, 160)
    assert low < 0.6 < high
    assert compare_arms(arms_swapped(decisions), Arm.CHOOSE).ratio.value == pytest.approx(1, abs=0.15)


def test_few_coders_get_a_permutation_test_within_coders() -> None:
    decisions = made(1, 60, 0.6, seed=3)
    found = compare_arms(decisions, Arm.CHOOSE, samples=4000)
    reviewed, other = (
        np.log([one.seconds or 0 for one in decisions if one.arm is arm]) for arm in (Arm.REVIEW, Arm.CHOOSE)
    )
    assert found.method is Method.PERMUTATION
    assert "5 coders" in found.why
    assert found.ratio.value == pytest.approx(np.exp(reviewed.mean() - other.mean()))
    test = stats.ttest_ind(reviewed, other)
    interval = test.confidence_interval()
    assert np.log(ends(found)) == pytest.approx([interval.low, interval.high], abs=0.05)
    shuffled = stats.permutation_test(
        (reviewed, other), lambda a, b: a.mean() - b.mean(), n_resamples=4000, rng=np.random.default_rng(1)
    )
    assert found.p == pytest.approx(shuffled.pvalue, abs=0.01)


def test_the_p_value_is_that_of_all_permutations() -> None:
    # Two coders with three documents each: all ways to deal out the arms within them can be listed.
    seconds = {0: [2.0, 6.0, 5.0], 1: [30.0, 80.0, 70.0]}
    decisions = [
        decision(coder, n, Arm.REVIEW if n == 0 else Arm.CHOOSE, value)
        for coder, own in seconds.items()
        for n, value in enumerate(own)
    ]
    found = compare_arms(decisions, Arm.CHOOSE, samples=9999)

    def difference(reviewed: tuple[int, int]) -> float:
        each = [
            np.log(own[one]) - np.mean(np.log([value for n, value in enumerate(own) if n != one]))
            for own, one in zip(seconds.values(), reviewed, strict=True)
        ]
        return float(np.mean(each))

    all_ways = [difference((first, second)) for first, second in product(range(3), repeat=2)]
    observed = all_ways[0]
    share = np.mean([abs(one) >= abs(observed) - 1e-12 for one in all_ways])
    assert found.ratio.value == pytest.approx(np.exp(observed))
    assert found.p == pytest.approx(share, abs=0.02)


def test_the_interval_is_the_test_inverted() -> None:
    # Of the 84 ways to choose 3 of 9 documents, 2 are at most 2.5 %: as extreme once a difference is taken away.
    logs = np.log([2.0, 3.1, 2.6, 4.0, 6.5, 5.2, 7.7, 3.9, 4.4])
    decisions = [decision(1, n, Arm.REVIEW if n < 3 else Arm.CHOOSE, float(np.exp(one))) for n, one in enumerate(logs)]

    def as_extreme(difference: float, sign: int) -> int:
        left = logs - difference * (np.arange(9) < 3)
        ways = [left[list(chosen)].mean() - np.delete(left, chosen).mean() for chosen in combinations(range(9), 3)]
        return int(sum(sign * one >= sign * ways[0] - 1e-12 for one in ways))

    low, high = np.log(ends(compare_arms(decisions, Arm.CHOOSE, samples=9999)))
    assert (as_extreme(low - 1e-6, 1), as_extreme(low + 1e-6, 1)) == (2, 3)
    assert (as_extreme(high + 1e-6, -1), as_extreme(high - 1e-6, -1)) == (2, 3)


def test_too_few_ways_to_deal_out_the_arms_have_no_interval() -> None:
    arms = (Arm.REVIEW, Arm.CHOOSE, Arm.CHOOSE)
    found = compare_arms([decision(1, n, arm, 2.0 + n) for n, arm in enumerate(arms)], Arm.CHOOSE)
    assert found.ratio.value == pytest.approx(2 / np.sqrt(12))
    assert (found.ratio.low, found.ratio.high) == (None, None)
    assert found.p == pytest.approx(1 / 3, abs=0.05)


def test_slow_coders_in_one_arm_alone_do_not_make_it_slow() -> None:
    both = made(2, 90, 1.0)
    slow = [decision(9, number, Arm.CHOOSE, 500.0 + number) for number in range(60)]
    found = compare_arms([*both, *slow], Arm.CHOOSE)
    assert found.coders == 2
    low, high = ends(found)
    assert low < 1 < high


@pytest.mark.parametrize("noise", [0.0, 1e-12])
def test_a_model_that_cannot_be_fitted_is_named_and_followed_by_the_permutation_test(noise: float) -> None:
    decisions = [
        decision(coder, n, Arm.CHOOSE if n % 2 else Arm.REVIEW, 5.0 + noise) for coder in range(6) for n in range(40)
    ]
    found = compare_arms(decisions, Arm.CHOOSE)
    assert found.method is Method.PERMUTATION
    assert "mixed-effects model" in found.why
    assert found.ratio.value == pytest.approx(1)
    assert found.p == 1


def test_what_cannot_be_compared_says_why() -> None:
    review = [decision(1, n, Arm.REVIEW, 5.0) for n in range(30)]
    choose = [decision(2, n, Arm.CHOOSE, 5.0) for n in range(30)]
    for decisions, why in [
        ([], "no lead times"),
        (review, "no lead times in the arm choose"),
        (choose, "no lead times in the arm review"),
        ([*review, *choose], "no coder has lead times in both arms"),
        ([decision(1, 1, Arm.REVIEW, None)], "no lead times"),
    ]:
        found = compare_arms(decisions, Arm.CHOOSE)
        assert (found.method, found.ratio.value, found.p) == (Method.NONE, None, None)
        assert found.why == found.ratio.why == why
