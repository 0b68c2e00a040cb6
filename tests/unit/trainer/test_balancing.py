"""What rare codes count, and how often their documents are seen."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from label_configs.records import VerifiedExample
from trainer.balancing import MOST, answer_weights, times_seen


def test_weights_are_those_that_scikit_learn_calls_balanced() -> None:
    answers = [0] * 12 + [1] * 6 + [2] * 2
    found = answer_weights((0, answer, 1.0) for answer in answers)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=np.array(answers))
    assert [found[0, answer] for answer in (0, 1, 2)] == pytest.approx(expected)


def test_each_question_is_balanced_by_itself() -> None:
    rows = [(0, 0, 1.0)] * 9 + [(0, 1, 1.0)] + [(1, 0, 1.0)] * 5 + [(2, 1, 1.0)] * 5 + [(2, 0, 1.0)] * 5
    found = answer_weights(rows)
    assert found[0, 1] == pytest.approx(9 * found[0, 0])
    assert found[1, 0] == 1, "a question of one answer"
    assert found[2, 0] == found[2, 1] == 1


def test_no_answer_counts_more_than_ten_times_the_commonest() -> None:
    found = answer_weights([(0, 0, 1.0)] * 999 + [(0, 1, 1.0)])
    assert found[0, 1] == pytest.approx(MOST * found[0, 0])


def test_an_answer_that_stands_for_several_is_counted_so() -> None:
    # Of ten answers "no" one was asked, and stands for all.
    assert answer_weights([(0, 0, 10.0), (0, 1, 1.0)]) == answer_weights([(0, 0, 1.0)] * 10 + [(0, 1, 1.0)])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0.1, 30)), min_size=1))
def test_the_mean_weight_is_one_and_the_rarer_counts_no_less(rows: list[tuple[int, int, float]]) -> None:
    found = answer_weights(rows)
    for question in {question for question, _, _ in rows}:
        own = [(answer, weight) for at, answer, weight in rows if at == question]
        mean = sum(weight * found[question, answer] for answer, weight in own) / sum(weight for _, weight in own)
        assert mean == pytest.approx(1)
        counts: Counter[int] = Counter()
        for answer, weight in own:
            counts[answer] += weight  # type: ignore[assignment]
        by_count = [found[question, answer] for answer, _ in counts.most_common()]
        assert all(one <= other * (1 + 1e-9) for one, other in itertools.pairwise(by_count))
        assert max(by_count) <= MOST * min(by_count) * (1 + 1e-9)


def example(number: int, *labels: str) -> VerifiedExample:
    return VerifiedExample(f"d{number}", "text", labels, ("ann",), False)


def test_documents_of_rare_labels_are_seen_more_often() -> None:
    examples = [example(n, "common") for n in range(900)] + [example(n, "rare") for n in range(900, 1000)]
    times = times_seen(examples, seed=3)
    assert times == times_seen(examples, seed=3)
    assert times != times_seen(examples, seed=4)
    assert set(times[:900]) == {1}
    # sqrt(500 / 100) = 2.236: twice, and three times for about 24 of 100.
    assert set(times[900:]) == {2, 3}
    assert sum(times[900:]) == pytest.approx(223.6, abs=13)
    assert times_seen(list(reversed(examples)), seed=3) == times[::-1], "what is drawn hangs on the id alone"


def test_a_document_is_seen_as_often_as_its_rarest_label_asks_for_and_ten_times_at_most() -> None:
    examples = [example(n, "common") for n in range(3000)] + [example(3001, "common", "single"), example(3002)]
    times = times_seen(examples, seed=0)
    assert times[-2:] == [10, 1]
    assert times_seen([example(1), example(2)], seed=0) == [1, 1]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sets(st.sampled_from("abcdefg"), max_size=4), min_size=1, max_size=60))
def test_an_epoch_grows_by_no_more_than_labels_per_document(made: list[set[str]]) -> None:
    examples = [example(n, *sorted(labels)) for n, labels in enumerate(made)]
    carried = sum(len(labels) for labels in made)
    # Rounded up at most once for each document that carries a label.
    assert len(made) <= sum(times_seen(examples, seed=1)) <= len(made) + carried + sum(map(bool, made))
