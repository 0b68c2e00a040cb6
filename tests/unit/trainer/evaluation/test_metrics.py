from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from label_configs.codebook import Kind
from label_configs.errors import CodebookError, TrainingError
from trainer.evaluation.metrics import CodeMetrics, measure

LABELS = ("a", "b", "c", "d")
label_sets = st.lists(st.sampled_from(LABELS), unique=True).map(tuple)
single = st.sampled_from(LABELS)


def one_each(letters: str) -> list[tuple[str, ...]]:
    return [(letter,) for letter in letters]


def test_a_hand_worked_exclusive_table() -> None:
    # truth      a a a a b b b c c c    a: 3 of 4 right, and one b read as a
    # predicted  a a a b b b a c c b    b: 2 of 3, and an a and a c read as b; c: 2 of 3; d: in neither
    result = measure(one_each("aaaabbbccc"), one_each("aaabbbaccb"), LABELS, kind=Kind.EXCLUSIVE)
    assert (result.n, result.accuracy, result.micro_f1, result.at_least_one) == (10, 0.7, pytest.approx(0.7), 0.7)
    a, b, c, d = result.codes
    assert a == CodeMetrics("a", 4, 3 / 4, 5 / 6, 3 / 4, 3 / 4)
    assert b == CodeMetrics("b", 3, 2 / 3, 5 / 7, 2 / 4, 4 / 7)
    assert c == CodeMetrics("c", 3, 2 / 3, 7 / 7, 2 / 2, 4 / 5)
    assert d == CodeMetrics("d", 0, None, None, None, None)
    assert result.macro_f1 == pytest.approx((3 / 4 + 4 / 7 + 4 / 5) / 3)
    assert result.balanced_accuracy == pytest.approx((3 / 4 + 2 / 3 + 2 / 3) / 3)
    assert result.hamming_loss == pytest.approx(6 / 40)  # a wrong document has two wrong pairs of forty
    assert result.jaccard == pytest.approx(0.7)


def test_a_hand_worked_multilabel_table() -> None:
    truth: list[tuple[str, ...]] = [("a", "b"), ("a",), (), ("b", "c")]
    predicted: list[tuple[str, ...]] = [("b", "a"), ("b",), (), ("b", "d")]
    result = measure(truth, predicted, LABELS, kind=Kind.MULTILABEL)
    assert result.accuracy == 2 / 4
    assert result.hamming_loss == 4 / 16
    assert result.jaccard == pytest.approx((1 + 0 + 1 + 1 / 3) / 4)
    assert result.at_least_one == pytest.approx(2 / 3)
    assert result.micro_f1 == pytest.approx(2 * 3 / (2 * 3 + 2 + 2))
    a, b, c, d = result.codes
    assert a == CodeMetrics("a", 2, 1 / 2, 1.0, 1.0, 2 / 3)
    assert b == CodeMetrics("b", 2, 1.0, 1 / 2, 2 / 3, 4 / 5)
    assert c == CodeMetrics("c", 1, 0.0, 1.0, None, 0.0)
    assert d == CodeMetrics("d", 0, None, None, None, None)
    assert result.macro_f1 == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert result.balanced_accuracy == pytest.approx((3 / 4 + 3 / 4 + 1 / 2) / 3)


def test_precision_is_not_recall_and_specificity_is_not_negative_predictive_value() -> None:
    # TP 1, FN 3, FP 0, TN 6: sensitivity 1/4, precision 1, specificity 1, negative predictive value 6/9.
    truth, predicted = one_each("aaaabbbbbb"), one_each("abbbbbbbbb")
    a = measure(truth, predicted, LABELS, kind=Kind.EXCLUSIVE).codes[0]
    assert (a.sensitivity, a.precision, a.specificity) == (1 / 4, 1.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(single, single), min_size=1, max_size=30))
def test_exclusive_agrees_with_scikit_learn_on_plain_classes(pairs: list[tuple[str, str]]) -> None:
    true, guessed = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    result = measure([(t,) for t in true], [(g,) for g in guessed], LABELS, kind=Kind.EXCLUSIVE)
    supported = sorted(set(true))
    assert result.accuracy == pytest.approx(sk.accuracy_score(true, guessed))
    assert result.macro_f1 == pytest.approx(
        sk.f1_score(true, guessed, labels=supported, average="macro", zero_division=0)
    )
    assert result.micro_f1 == pytest.approx(sk.f1_score(true, guessed, average="micro"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of classes that are predicted but never true, and of a single class
        assert result.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(true, guessed))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(label_sets, label_sets), min_size=1, max_size=20))
def test_multilabel_agrees_with_scikit_learn(pairs: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    truth, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    result = measure(truth, predicted, LABELS, kind=Kind.MULTILABEL)
    y, p = (np.array([[label in labels for label in LABELS] for labels in sets]) for sets in (truth, predicted))
    assert result.accuracy == pytest.approx(sk.accuracy_score(y, p))
    assert result.hamming_loss == pytest.approx(sk.hamming_loss(y, p))
    assert result.jaccard == pytest.approx(sk.jaccard_score(y, p, average="samples", zero_division=1))
    balanced = []
    for column, code in enumerate(result.codes):
        true, guessed = y[:, column], p[:, column]
        assert code.n == true.sum()
        expected = {
            "sensitivity": sk.recall_score(true, guessed, zero_division=np.nan),
            "specificity": sk.recall_score(~true, ~guessed, zero_division=np.nan),
            "precision": sk.precision_score(true, guessed, zero_division=np.nan),
        }
        for name, value in expected.items():
            undefined = np.isnan(value) or not true.any()  # a code absent from the truth has no figure
            assert getattr(code, name) == (None if undefined else pytest.approx(value))
        assert code.f1 == (pytest.approx(sk.f1_score(true, guessed, zero_division=0)) if true.any() else None)
        if 0 < true.sum() < len(true):
            balanced.append(sk.balanced_accuracy_score(true, guessed))
    assert result.balanced_accuracy == (pytest.approx(np.mean(balanced)) if balanced else None)
    supported = np.flatnonzero(y.any(axis=0))
    if len(supported):
        macro = sk.f1_score(y, p, labels=supported, average="macro", zero_division=0)
        assert result.macro_f1 == pytest.approx(macro)
    else:
        assert result.macro_f1 is None


@pytest.mark.parametrize("kind", list(Kind))
def test_without_documents_everything_is_undefined(kind: Kind) -> None:
    result = measure([], [], LABELS, kind=kind)
    assert result.n == 0
    figures = [value for name in result.__slots__ if name not in {"n", "codes"} for value in [getattr(result, name)]]
    assert figures == [None] * 7
    assert result.codes == tuple(CodeMetrics(label, 0, None, None, None, None) for label in LABELS)


def test_an_abstention_is_wrong_but_costs_no_other_code_its_precision() -> None:
    result = measure(one_each("ab"), [("a",), ()], ("a", "b"), kind=Kind.EXCLUSIVE)
    assert result.accuracy == 0.5
    assert [code.precision for code in result.codes] == [1.0, None]


def test_a_codebook_of_one_or_two_codes_is_not_mistaken_for_binary_classes() -> None:
    assert measure([("a",), ()], [("a",), ("a",)], ("a",), kind=Kind.MULTILABEL).accuracy == 0.5
    one = measure([("a",), ()], [("a",), ("a",)], ("a",), kind=Kind.MULTILABEL)
    assert (one.codes[0].sensitivity, one.codes[0].specificity) == (1.0, 0.0)
    assert (one.hamming_loss, one.jaccard, one.micro_f1) == (0.5, 0.5, pytest.approx(2 / 3))


def test_a_single_document() -> None:
    result = measure([("a",)], [("a",)], LABELS, kind=Kind.EXCLUSIVE)
    assert (result.accuracy, result.macro_f1, result.balanced_accuracy) == (1.0, 1.0, 1.0)


def test_labels_outside_the_codebook_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(CodebookError, match="label 'z' is not in the codebook"):
        measure([("a",)], [("z",)], LABELS, kind=Kind.EXCLUSIVE)
    with pytest.raises(TrainingError, match="1 truths and 0 predictions"):
        measure([("a",)], [], LABELS, kind=Kind.EXCLUSIVE)
