"""Medians and means as numpy has them, fences by hand, intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_configs.records import Arm, CandidateSet, Decision
from trainer.evaluation.figure import undefined
from trainer.evaluation.lead_times import coded, lead_times, mean, median, per_document, seconds_figures


def decision(number: int, seconds: float | None, coder: str = "1", **more: object) -> Decision:
    return Decision(f"d{number}", number, number, coder, "keep", seconds=seconds, **more)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 999), min_size=1, max_size=40))
def test_median_and_mean_are_those_of_numpy(tenths: list[int]) -> None:
    values = [tenth / 10 for tenth in tenths]
    middle, average = seconds_figures([decision(n, value) for n, value in enumerate(values)], samples=0)
    assert middle.value == pytest.approx(np.median(values), abs=1e-9)
    assert average.value == pytest.approx(np.mean(values), abs=1e-9)
    assert middle.n == average.n == len(values)


def test_resampled_medians_are_those_of_the_resampled_documents() -> None:
    values, counts = np.array([1.0, 2.0, 5.0, 9.0]), np.array([[1, 2, 0, 1], [2, 2, 0, 0], [0, 0, 4, 0], [1, 1, 1, 1]])
    expected = [np.median(np.repeat(values, row)) for row in counts]
    assert median(values, counts).tolist() == expected
    assert mean(values, counts).tolist() == pytest.approx([np.mean(np.repeat(values, row)) for row in counts])


def test_a_document_of_two_coders_counts_once() -> None:
    middle, _ = seconds_figures([decision(1, 2.0), decision(1, 4.0, "2"), decision(2, 9.0)], samples=0)
    assert (middle.value, middle.n) == (6.0, 2)


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    seconds = np.random.default_rng(1).gamma(4.0, 3.0, 2000).round(1)
    _, average = seconds_figures([decision(n, float(value)) for n, value in enumerate(seconds)], samples=4000)
    assert average.low is not None
    assert average.high is not None
    half = 1.96 * seconds.std() / np.sqrt(len(seconds))
    assert average.high - average.low == pytest.approx(2 * half, rel=0.05)


def test_outliers_are_beyond_the_coders_own_fence() -> None:
    # Quartiles of the logarithms of 8, 8, 8, 8, 16, 16, 16, 16: log 8 and log 16; the fence is 16 * 2**3 = 128.
    usual = [decision(n, seconds) for n, seconds in enumerate([8.0] * 4 + [16.0] * 3)]
    kept = lead_times([*usual, decision(8, 16.0)])
    assert (len(kept.timed), kept.trimmed, kept.untimed) == (8, 0, 0)
    found = lead_times([*usual, decision(7, 16.0), decision(8, 16.0), decision(9, 129.0), decision(10, 0.01)])
    assert found.trimmed == 1
    assert 0.01 in [one.seconds for one in found.timed], "short ones are not trimmed"
    assert 129.0 not in [one.seconds for one in found.timed]
    slow = [decision(n, 100.0 * (1 + n % 2), "slow") for n in range(20)]
    assert lead_times(slow).trimmed == 0, "slow, but not for this coder"


def test_who_hurries_in_one_arm_is_not_trimmed_in_the_other() -> None:
    quick = [decision(n, 1.0 + n % 2 / 10) for n in range(40)]
    chosen = [decision(100 + n, 20.0, shown=CandidateSet("d", "v", (), Arm.CHOOSE)) for n in range(10)]
    assert lead_times([*quick, *chosen]).trimmed == 0


def test_of_few_nothing_is_trimmed_and_without_a_time_nothing_counts() -> None:
    found = lead_times([decision(1, 1.0), decision(2, 1.0), decision(3, 9000.0), decision(4, None), decision(5, 0.0)])
    assert (len(found.timed), found.trimmed, found.untimed) == (3, 0, 2)
    assert seconds_figures([])[0] == undefined("no lead times")
    assert per_document([], mean, 1, "nothing") == undefined("nothing")


def test_what_is_no_coding_of_a_new_document_is_left_out() -> None:
    left_out = [decision(1, 1.0, skipped=True), decision(2, 1.0, ground_truth=True), decision(3, 1.0, repeat=1)]
    assert coded([*left_out, decision(4, 1.0)]) == [decision(4, 1.0)]
