from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import CodebookError
from label_configs.records import Proposal, ScoredLabel
from ml_backend.calibration import (
    calibration_error,
    expected_calibration_error,
    fit_temperature,
    indicators,
    temperature_fit,
    tempered,
)
from ml_backend.probabilities import Floats, probabilities_of

CODES = tuple(Code(key, key.upper(), f"About {key}.", key) for key in "abc")
EXCLUSIVE = Codebook("one", Kind.EXCLUSIVE, CODES)
MULTILABEL = Codebook("several", Kind.MULTILABEL, CODES)
GRADED = Codebook("graded", Kind.GRADED, CODES[:2], levels=("low", "high"))
LABELS = {Kind.EXCLUSIVE: 3, Kind.MULTILABEL: 3, Kind.GRADED: 4}


def rows(book: Codebook, raw: Floats) -> Floats:
    """Positive numbers as probabilities that the codebook's kind can have."""
    if book.kind is Kind.EXCLUSIVE:
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))
    if book.kind is Kind.MULTILABEL:
        return raw
    pairs = raw.reshape(len(raw), 2, 2)
    return np.asarray((pairs / (pairs.sum(axis=2, keepdims=True) + 0.5)).reshape(len(raw), 4))


def raw_rows(book: Codebook, documents: int) -> st.SearchStrategy[Floats]:
    return arrays(np.float64, (documents, LABELS[book.kind]), elements=st.floats(0.01, 0.99))


BOOKS = pytest.mark.parametrize("book", [EXCLUSIVE, MULTILABEL, GRADED], ids=lambda book: str(book.kind))


# --- the formula -----------------------------------------------------------------------------------------------------


def test_the_formula_by_hand() -> None:
    # Square roots of .64, .32 and .04, over their sum.
    roots = np.sqrt([0.64, 0.32, 0.04])
    assert tempered(np.array([[0.64, 0.32, 0.04]]), 2.0, EXCLUSIVE)[0] == pytest.approx(roots / roots.sum())


def test_a_code_by_itself_is_the_logit_divided() -> None:
    p = np.array([[0.9, 0.5, 0.2]])
    logits = np.log(p / (1 - p)) / 3
    assert tempered(p, 3.0, MULTILABEL) == pytest.approx(1 / (1 + np.exp(-logits)))


def test_a_codes_levels_share_with_that_it_does_not_hold() -> None:
    # Code a: low .49, high .42, none .09. Code b: .25, .25 and .5; nothing passes from one code to the other.
    found = tempered(np.array([[0.49, 0.42, 0.25, 0.25]]), 0.5, GRADED)[0]
    a, b = np.square([0.49, 0.42, 0.09]), np.square([0.25, 0.25, 0.5])
    assert found == pytest.approx([*(a / a.sum())[:2], *(b / b.sum())[:2]])


@BOOKS
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_temperature_of_one_changes_nothing(book: Codebook, data: st.DataObject) -> None:
    p = rows(book, data.draw(raw_rows(book, 4)))
    assert tempered(p, 1.0, book) == pytest.approx(p, abs=1e-6)


@BOOKS
@given(data=st.data(), temperature=st.floats(0.05, 20))
@settings(max_examples=60, deadline=None)
def test_order_is_kept_and_probabilities_stay_probabilities(
    book: Codebook, data: st.DataObject, temperature: float
) -> None:
    p = rows(book, data.draw(raw_rows(book, 3)))
    q = tempered(p, temperature, book)
    assert ((q >= 0) & (q <= 1)).all()
    # Within a code of a graded codebook, over all labels of the others.
    groups = [slice(0, 2), slice(2, 4)] if book.kind is Kind.GRADED else [slice(0, 3)]
    for before, after in zip(p, q, strict=True):
        for group in groups:
            order = np.argsort(before[group], kind="stable")
            assert (np.diff(after[group][order]) >= -1e-12).all()
    if book.kind is Kind.EXCLUSIVE:
        assert q.sum(axis=1) == pytest.approx(np.ones(3))


def test_what_was_rounded_to_zero_can_be_mended() -> None:
    # A source that only ever says 1 and 0 has no other logarithm to divide.
    soft = tempered(np.array([[1.0, 0.0, 0.0]]), 8.0, EXCLUSIVE)[0]
    assert 0.5 < soft[0] < 0.99
    assert tempered(np.array([[1.0, 0.0, 0.0]]), 1.0, EXCLUSIVE)[0] == pytest.approx([1, 0, 0], abs=1e-6)


def test_no_documents_are_no_error() -> None:
    for book in (EXCLUSIVE, MULTILABEL, GRADED):
        assert tempered(np.empty((0, LABELS[book.kind])), 2.0, book).shape == (0, LABELS[book.kind])


# --- fitting ---------------------------------------------------------------------------------------------------------


def drawn(documents: int, seed: int = 0) -> tuple[Floats, list[tuple[str, ...]]]:
    """Calibrated probabilities of three codes and truths drawn from them."""
    generator = np.random.default_rng(seed)
    p = generator.dirichlet([0.7] * 3, size=documents)
    return p, [("abc"[generator.choice(3, p=row)],) for row in p]


def test_the_temperature_that_was_put_in_is_found() -> None:
    p, truth = drawn(4000)
    for put_in in (0.5, 2.5):
        found = fit_temperature(tempered(p, 1 / put_in, EXCLUSIVE), truth, EXCLUSIVE)
        assert found == pytest.approx(put_in, rel=0.08)
    assert fit_temperature(p, truth, EXCLUSIVE) == pytest.approx(1, abs=0.06)


def test_two_answers_by_hand() -> None:
    # Always .9 for a, right in 15 of 20: q = .75 is the likeliest, so T = logit(.9) / logit(.75) = ln 9 / ln 3 = 2.
    book = Codebook("two", Kind.EXCLUSIVE, CODES[:2])
    p = np.tile([0.9, 0.1], (20, 1))
    truth = [("a",)] * 15 + [("b",)] * 5
    assert fit_temperature(p, truth, book) == pytest.approx(2.0, abs=0.002)
    # The same as a question of its own: with b never in doubt it must not matter.
    several = np.tile([0.9], (20, 2))
    both = [("a", "b")] * 15 + [()] * 5
    assert fit_temperature(several, both, Codebook("two", Kind.MULTILABEL, CODES[:2])) == pytest.approx(2.0, abs=0.002)


@BOOKS
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_fitted_temperature_is_never_less_likely_than_one(book: Codebook, data: st.DataObject) -> None:
    p = rows(book, data.draw(raw_rows(book, 20)))
    if book.kind is Kind.EXCLUSIVE:
        chosen = data.draw(st.lists(st.sampled_from(book.label_keys), min_size=20, max_size=20))
        truth: list[tuple[str, ...]] = [(key,) for key in chosen]
    else:
        # One level of a code at most.
        keys = st.lists(st.sampled_from(book.label_keys), max_size=3, unique_by=lambda key: key.partition(":")[0])
        truth = [tuple(k) for k in data.draw(st.lists(keys, min_size=20, max_size=20))]
    temperature = fit_temperature(p, truth, book)
    assert temperature is not None
    assert surprise(tempered(p, temperature, book), truth, book) <= surprise(p, truth, book) + 1e-6


def surprise(p: Floats, truth: list[tuple[str, ...]], book: Codebook) -> float:
    """Mean -log of the right answers' probabilities, written without the module's help."""
    told = []
    for row, labels in zip(p, truth, strict=True):
        of = dict(zip(book.label_keys, row, strict=True))
        if book.kind is Kind.EXCLUSIVE:
            told.append(of[labels[0]])
            continue
        for code in book.codes:
            own = {key: q for key, q in of.items() if book.label(key).code == code.key}
            held = [q for key, q in own.items() if key in labels]
            told.append(held[0] if held else 1 - sum(own.values()))
    return float(-np.log(np.maximum(told, 1e-7)).mean())


def test_nineteen_documents_are_too_few() -> None:
    p, truth = drawn(20)
    assert fit_temperature(p[:19], truth[:19], EXCLUSIVE) is None
    assert fit_temperature(p, truth, EXCLUSIVE) is not None
    few = temperature_fit(p[:19], truth[:19], EXCLUSIVE)
    assert (few.n, few.temperature, few.ece_tempered) == (19, None, None)
    assert few.ece is not None


# --- the calibration error -------------------------------------------------------------------------------------------


def test_the_error_by_hand() -> None:
    confidence = np.array([0.95, 0.91, 0.92, 0.55, 0.51, 0.35])
    correct = np.array([True, False, True, True, False, False])
    # Bin (.9, 1]: mean .92667, 2 of 3 right. Bin (.5, .6]: mean .53, 1 of 2. Bin (.3, .4]: .35, 0 of 1.
    by_hand = 3 / 6 * abs(2 / 3 - 2.78 / 3) + 2 / 6 * abs(0.5 - 0.53) + 1 / 6 * 0.35
    assert expected_calibration_error(confidence, correct) == pytest.approx(by_hand)


def test_bins_are_closed_on_the_right() -> None:
    # .5 belongs to (.4, .5]: apart from .51 each is half wrong, together they would be even.
    apart = expected_calibration_error(np.array([0.5, 0.51]), np.array([True, False]))
    assert apart == pytest.approx((0.5 + 0.51) / 2)
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0
    assert expected_calibration_error(np.array([0.5, 0.51]), np.array([True, False]), bins=1) == pytest.approx(0.005)


def test_without_documents_there_is_no_error() -> None:
    assert expected_calibration_error(np.array([]), np.array([], dtype=bool)) is None
    for book in (EXCLUSIVE, MULTILABEL, GRADED):
        fit = temperature_fit(np.empty((0, LABELS[book.kind])), [], book)
        assert (fit.n, fit.ece, fit.temperature, fit.ece_tempered) == (0, None, None, None)


def test_of_an_exclusive_codebook_the_first_label_counts_of_others_every_one() -> None:
    p = np.array([[0.8, 0.15, 0.05]])
    assert calibration_error(p, [("a",)], EXCLUSIVE) == pytest.approx(0.2)
    assert calibration_error(p, [("a",)], MULTILABEL) == pytest.approx((0.2 + 0.15 + 0.05) / 3)
    assert calibration_error(np.array([[0.6, 0.1, 0.3, 0.3]]), [("a:low",)], GRADED) == pytest.approx(
        (abs(0.6 - 1) + 0.1 + 0.6) / 4
    )


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50), st.integers(1, 20))
def test_the_error_lies_between_zero_and_one(pairs: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = np.array([c for c, _ in pairs]), np.array([r for _, r in pairs])
    error = expected_calibration_error(confidence, correct, bins)
    assert error is not None
    assert 0 <= error <= 1
    # One bin cannot see more than many.
    whole = expected_calibration_error(confidence, correct, 1)
    assert whole is not None
    assert whole <= error + 1e-12


def test_a_model_that_is_too_sure_is_mended_on_documents_that_it_was_not_fitted_on() -> None:
    p, truth = drawn(400)
    fit = temperature_fit(tempered(p, 1 / 3, EXCLUSIVE), truth, EXCLUSIVE)
    assert fit.temperature == pytest.approx(3, rel=0.25)
    assert fit.ece is not None
    assert fit.ece_tempered is not None
    assert fit.ece > 0.1 > 0.06 > fit.ece_tempered


def test_a_calibrated_model_is_let_alone() -> None:
    # What is left of its error is chance, and a temperature fitted to chance does not help on other documents.
    helped = [temperature_fit(*drawn(60, seed), EXCLUSIVE).temperature for seed in range(12)]
    assert sum(temperature is None for temperature in helped) >= 7


def test_fitted_and_judged_are_different_documents() -> None:
    """Every fifth document is another world than the rest; what fits the rest must not be hidden by fitting it too."""
    n = 40
    p = np.tile([0.9, 0.05, 0.05], (n, 1))
    truth: list[tuple[str, ...]] = [("b",) if i % 5 == 0 else ("a",) for i in range(n)]
    # Over all, .8 of the documents are right: a temperature of about 1.5 makes .9 into .8 and the error vanish.
    whole = fit_temperature(p, truth, EXCLUSIVE)
    assert whole is not None
    assert calibration_error(tempered(p, whole, EXCLUSIVE), truth, EXCLUSIVE) == pytest.approx(0, abs=0.01)
    # Cross-fitted, fold 0 is tempered by documents that were all right, and the others by one with too many wrong.
    assert temperature_fit(p, truth, EXCLUSIVE).ece_tempered == pytest.approx(0.2 * 1 + 0.8 * 0.25, abs=0.02)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_proposals_are_read_in_the_codebooks_order() -> None:
    proposals = [
        Proposal("1", "s", "v", (ScoredLabel("c", 0.7), ScoredLabel("a", 0.2))),
        Proposal("2", "s", "v", ()),
    ]
    assert probabilities_of(proposals, EXCLUSIVE).tolist() == [[0.2, 0, 0.7], [0, 0, 0]]
    assert indicators([("c",), ()], EXCLUSIVE).tolist() == [[False, False, True], [False, False, False]]


def test_labels_of_another_codebook_are_refused() -> None:
    with pytest.raises(CodebookError, match="no label 'z'"):
        indicators([("z",)], EXCLUSIVE)
    with pytest.raises(CodebookError, match="no label 'z'"):
        probabilities_of([Proposal("1", "s", "v", (ScoredLabel("z", 1.0),))], EXCLUSIVE)


def test_a_temperature_fits_in_a_version() -> None:
    p, truth = drawn(50)
    found = fit_temperature(tempered(p, 0.3, EXCLUSIVE), truth, EXCLUSIVE)
    assert found is not None
    assert found == round(found, 3)
    assert math.isfinite(found)
