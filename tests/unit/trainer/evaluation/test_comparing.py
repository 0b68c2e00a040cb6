"""Two sources on the same documents: the paired difference, McNemar, Holm."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from label_configs.codebook import Kind
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.comparing import comparison_section, comparisons, mcnemar
from trainer.evaluation.judged import Judged, Role, code_numbers
from trainer.evaluation.options import ReportOptions

BOOK = studies.codebook(Kind.EXCLUSIVE)
KEYS = BOOK.label_keys


def judged(name: str, rights: list[bool], first: int = 0) -> Judged:
    """Documents whose truth goes round the codes; where not right, the next code is said."""
    numbers = range(first, first + len(rights))
    truth = tuple((KEYS[n % 5],) for n in numbers)
    said = tuple((KEYS[(n + (not right)) % 5],) for n, right in zip(numbers, rights, strict=True))
    return Judged(name, name, Role.SOURCE, tuple(f"d{n}" for n in numbers), truth, said, "gold")


def test_mcnemar_is_the_exact_binomial_test() -> None:
    for one, other in ((5, 1), (12, 30), (3, 3), (1, 0)):
        assert mcnemar(one, other) == pytest.approx(binomtest(one, one + other).pvalue), (one, other)
    assert mcnemar(0, 0) == 1.0


def test_differences_are_paired_and_on_shared_documents() -> None:
    good, bad = [True] * 45 + [False] * 5, [True] * 25 + [False] * 25
    first, second = judged("good", good), judged("bad", bad[10:], first=10)
    (found,) = comparisons([first, second], BOOK, ReportOptions(samples=500))
    assert (found.n, found.only_first, found.only_second) == (40, 20, 0)
    accuracy = found.differences["accuracy"]
    assert accuracy.value == pytest.approx(20 / 40)
    truth = code_numbers(second.truth, BOOK)
    said = [code_numbers(one, BOOK) for one in (first.predicted[10:], second.predicted)]
    for name, score in (
        ("macro_f1", lambda guess: metrics.f1_score(truth, guess, average="macro")),
        ("balanced_accuracy", lambda guess: metrics.balanced_accuracy_score(truth, guess)),
    ):
        assert found.differences[name].value == pytest.approx(score(said[0]) - score(said[1])), name
    # Paired: the difference is the mean of 20 ones and 20 zeros, whatever the two vary by alone.
    spread = 1.96 * np.sqrt(0.25 / 40)
    assert accuracy.low == pytest.approx(0.5 - spread, abs=0.03)
    assert accuracy.high == pytest.approx(0.5 + spread, abs=0.03)


def test_two_that_say_the_same_differ_by_nothing_at_all() -> None:
    rights = [True, False] * 15
    (found,) = comparisons([judged("a", rights), judged("b", rights)], BOOK, ReportOptions(samples=50))
    accuracy = found.differences["accuracy"]
    assert (accuracy.value, accuracy.low, accuracy.high, found.p, found.corrected) == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_holm_corrects_over_the_pairs_that_could_be_tested() -> None:
    rows = [
        judged("a", [True] * 30),
        judged("b", [True] * 22 + [False] * 8),
        judged("c", [True] * 20 + [False] * 10),
        judged("far", [True] * 5, first=100),
    ]
    found = {(one.first, one.second): one for one in comparisons(rows, BOOK, ReportOptions(samples=20))}
    p = {pair: one.p for pair, one in found.items() if one.p is not None}
    assert set(p) == {("a", "b"), ("a", "c"), ("b", "c")}
    # By hand: the smallest of three times 3, the next times 2, the last as it is; never below the one before.
    smallest, middle, largest = sorted(p.items(), key=lambda pair: pair[1])
    assert found[smallest[0]].corrected == pytest.approx(3 * smallest[1])
    assert found[middle[0]].corrected == pytest.approx(max(3 * smallest[1], 2 * middle[1]))
    assert found[largest[0]].corrected == pytest.approx(max(2 * middle[1], largest[1]))
    alone = found["a", "far"]
    assert (alone.n, alone.p, alone.corrected, alone.differences["accuracy"].value) == (0, None, None, None)
    assert "no document" in alone.differences["accuracy"].why


def test_the_section_says_in_words_who_is_better() -> None:
    section = comparison_section(studies.study(Kind.EXCLUSIVE, 1000), ReportOptions(samples=50))
    told = [one.text for one in section.findings]
    assert any(text.startswith("adapter beats similarity by") for text in told)
    assert "McNemar" in section.notes[0]
