from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from label_configs.errors import TrainingError
from ml_backend.training_config import GATE_METRICS, TooSmall
from trainer.bars import TFIDF_NAME
from trainer.gate import Verdict, judge

CODES = ("earn", "acq", "crude")
label_sets = st.lists(st.sampled_from(CODES), unique=True).map(tuple)


def documents(n: int, right: float, seed: int) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Truth and predictions of ``n`` documents, each right with probability ``right``."""
    generator = np.random.default_rng(seed)
    truth = [(CODES[index],) for index in generator.integers(0, 3, n)]
    guesses = [
        labels if hit else (CODES[(CODES.index(labels[0]) + 1) % 3],)
        for labels, hit in zip(truth, generator.random(n) < right, strict=True)
    ]
    return truth, guesses


def test_a_clearly_better_adapter_is_promoted() -> None:
    truth, current = documents(80, 0.5, seed=1)
    verdict = judge(truth, truth, current)
    assert verdict.verdict is Verdict.PROMOTED
    assert (verdict.new, verdict.probability, verdict.n) == (1.0, 1.0, 80)
    assert verdict.reason.startswith("macro-F1 1.000 against 0.")
    assert "80 holdout documents" in verdict.reason


def test_a_clearly_worse_adapter_is_not() -> None:
    truth, new = documents(80, 0.5, seed=1)
    verdict = judge(truth, new, truth)
    assert verdict.verdict is Verdict.KEPT
    assert verdict.probability == 0
    assert "less than the 0.9" in verdict.reason


def test_the_same_predictions_are_a_coin_toss() -> None:
    truth, same = documents(60, 0.7, seed=2)
    for metric in ("macro_f1", "accuracy"):
        verdict = judge(truth, same, list(same), metric=metric)
        assert (verdict.verdict, verdict.probability) == (Verdict.KEPT, 0.5)
        assert verdict.new == verdict.current


def test_an_unclear_lead_is_kept_until_less_certainty_is_asked_for() -> None:
    truth = [("earn",)] * 20 + [("acq",)] * 20
    current = [("acq",)] * 5 + truth[5:]
    new = [*truth[:36], *[("earn",)] * 4]  # four errors against five
    strict, lenient = judge(truth, new, current), judge(truth, new, current, probability=0.55)
    assert strict.probability == lenient.probability
    assert strict.probability is not None
    assert 0.55 < strict.probability < 0.75
    assert (strict.verdict, lenient.verdict) == (Verdict.KEPT, Verdict.PROMOTED)


def test_the_accuracy_bootstrap_agrees_with_the_exact_probability() -> None:
    # One document in twenty differs, the new one being right: it is ahead unless that document is not drawn, which is a
    # tie. P(ahead) + P(tie) / 2 = 1 - (19/20)^20 / 2 = 0.8208.
    truth = [("earn",)] * 20
    verdict = judge(truth, truth, [("acq",), *truth[1:]], metric="accuracy", samples=20_000)
    assert verdict.probability == pytest.approx(1 - 0.95**20 / 2, abs=0.01)
    assert (verdict.new, verdict.current) == (1.0, 0.95)


def test_it_is_paired() -> None:
    # The same 15 errors in both, three more in the current: unpaired draws would hide so small a lead.
    truth = [("earn",)] * 200
    shared = [("acq",)] * 15
    new, current = [*shared, *truth[15:]], [*shared, *[("acq",)] * 3, *truth[18:]]
    verdict = judge(truth, new, current, metric="accuracy")
    assert verdict.probability is not None
    assert verdict.probability > 0.95


def test_the_bootstrap_of_macro_f1_is_that_of_scikit_learn() -> None:
    truth, new = documents(25, 0.75, seed=3)
    _, current = documents(25, 0.6, seed=3)
    fast = judge(truth, new, current, samples=300, seed=11)
    generator = np.random.default_rng(11)
    ahead = 0.0
    for start, draws in ((0, 256), (256, 44)):
        for weights in generator.multinomial(25, np.full(25, 1 / 25), size=draws):
            drawn = np.repeat(np.arange(25), weights)
            a, b = (_macro_f1(truth, guess, drawn) for guess in (new, current))
            ahead += 0.5 if abs(a - b) < 1e-12 else float(a > b)
        assert start + draws <= 300
    assert fast.probability == pytest.approx(ahead / 300)


def _macro_f1(truth: list[tuple[str, ...]], guesses: list[tuple[str, ...]], drawn: np.ndarray) -> float:
    true, guessed = [truth[i][0] for i in drawn], [guesses[i][0] for i in drawn]
    return float(f1_score(true, guessed, labels=sorted(set(true)), average="macro", zero_division=0))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(label_sets, label_sets), min_size=1, max_size=12))
def test_the_values_are_those_of_scikit_learn_for_label_sets(pairs: list[tuple[tuple[str, ...], ...]]) -> None:
    truth, new = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    verdict = judge(truth, new, new, minimum=1, samples=10)
    supported = [code for code in CODES if any(code in labels for labels in truth)]
    if not supported:
        assert (verdict.verdict, verdict.new) == (Verdict.UNDECIDABLE, None)
        return
    matrices = [np.array([[code in labels for code in supported] for labels in sets]) for sets in (truth, new)]
    scores = [f1_score(matrices[0][:, i], matrices[1][:, i], zero_division=0) for i in range(len(supported))]
    assert verdict.new == pytest.approx(np.mean(scores))


def test_a_small_holdout_is_undecidable_in_plain_words() -> None:
    truth = [("earn",)] * 19
    verdict = judge(truth, truth, [("acq",)] * 19)
    assert (verdict.verdict, verdict.probability) == (Verdict.UNDECIDABLE, None)
    assert (verdict.new, verdict.current) == (1.0, 0.0)
    assert verdict.reason == (
        "macro-F1 1.000 against 0.000 on 19 holdout documents, at least 20 are needed to tell: kept as a candidate; "
        "verify more documents."
    )
    assert judge([*truth, ("earn",)], [("earn",)] * 20, [("acq",)] * 20).verdict is Verdict.PROMOTED


@pytest.mark.parametrize("metric", GATE_METRICS)
def test_no_documents_at_all(metric: str) -> None:
    verdict = judge([], [], [], metric=metric, minimum=0)
    assert (verdict.verdict, verdict.new, verdict.n) == (Verdict.UNDECIDABLE, None, 0)


def test_documents_without_labels_have_an_accuracy_but_no_macro_f1() -> None:
    nothing: list[tuple[str, ...]] = [()] * 30
    wrong = [("earn",)] * 30
    assert judge(nothing, nothing, wrong).verdict is Verdict.UNDECIDABLE
    assert judge(nothing, nothing, wrong, metric="accuracy").verdict is Verdict.PROMOTED


def test_the_same_seed_gives_the_same_verdict_and_labels_have_no_order() -> None:
    truth, new = documents(40, 0.7, seed=5)
    _, current = documents(40, 0.6, seed=6)
    assert judge(truth, new, current) == judge(truth, new, current)
    pairs = [("earn", "acq")] * 30
    swapped = [("acq", "earn")] * 30
    assert judge(pairs, swapped, pairs, metric="accuracy").new == 1.0


def test_lengths_must_agree() -> None:
    with pytest.raises(TrainingError, match="2 truths and 1, 2 predictions"):
        judge([("a",)] * 2, [("a",)], [("a",)] * 2)


# --- a holdout that is too small --------------------------------------------------------------------------------------


def small(new: str, policy: TooSmall = TooSmall.PROMOTE) -> tuple[Verdict, str]:
    truth = [("earn",)] * 10 + [("acq",)] * 5
    current = [*truth[:10], *[("earn",)] * 5]
    given = {"better": truth, "same": current, "worse": [("crude",)] * 15}[new]
    verdict = judge(truth, given, current, too_small=policy)
    assert (verdict.probability, verdict.interval, verdict.leader) == (None, None, "")
    return verdict.verdict, verdict.reason


def test_a_small_holdout_may_promote_what_is_no_lower() -> None:
    for new in ("better", "same"):
        verdict, reason = small(new)
        assert verdict is Verdict.PROMOTED
        assert "on 15 holdout documents, at least 20 are needed to tell: promoted all the same" in reason
        assert small(new, TooSmall.KEEP)[0] is Verdict.UNDECIDABLE
    verdict, reason = small("worse")
    assert verdict is Verdict.UNDECIDABLE
    assert "0.000 against 0.400 on 15" in reason
    assert "kept as a candidate, being lower" in reason


def test_what_is_undefined_is_promoted_by_no_policy() -> None:
    nothing: list[tuple[str, ...]] = [()] * 10
    verdict = judge(nothing, nothing, nothing, too_small=TooSmall.PROMOTE)
    assert (verdict.verdict, verdict.new) == (Verdict.UNDECIDABLE, None)
    assert "None of the 10 holdout documents carries a label" in verdict.reason


# --- the interval, and who leads --------------------------------------------------------------------------------------


def test_the_interval_is_that_of_the_binomial_it_draws() -> None:
    # 60 documents, of which the new one alone is right on 12: the difference of a draw is binomial(60, 0.2) / 60.
    truth = [("earn",)] * 60
    verdict = judge(truth, truth, [*[("acq",)] * 12, *truth[12:]], metric="accuracy", samples=20_000)
    assert verdict.interval == pytest.approx((6 / 60, 18 / 60), abs=0.005)
    assert "(difference +0.200, 95 % interval +0.1" in verdict.reason
    level = judge(truth, truth, truth)
    assert level.interval == (0.0, 0.0)


def test_a_bar_that_is_ahead_leads_and_forbids_nothing() -> None:
    truth, current = documents(120, 0.4, seed=1)
    _, new = documents(120, 0.7, seed=1)
    _, probe = documents(120, 0.9, seed=1)
    verdict = judge(truth, new, current, bars={"words": current, "probe": probe})
    assert verdict.verdict is Verdict.PROMOTED
    assert verdict.leader == "probe"
    words, ahead = verdict.bars
    assert (words.name, words.value) == ("words", verdict.current)
    assert words.probability is not None
    assert words.probability == pytest.approx(1 - (verdict.probability or 0)), "the same draws, the other way round"
    assert ahead.probability is not None
    assert ahead.interval is not None
    assert ahead.probability > 0.95
    assert ahead.interval[0] > 0
    assert verdict.reason.endswith(
        f"probe leads: macro-F1 {ahead.value:.3f} against the adapter's {verdict.new:.3f} on 120 documents, better "
        f"with probability {ahead.probability:.3f}."
    )


def test_an_adapter_ahead_of_every_bar_leads_and_so_does_one_that_is_level() -> None:
    truth, worse = documents(60, 0.5, seed=1)
    verdict = judge(truth, truth, worse, bars={"probe": truth, "words": worse})
    assert verdict.leader == "adapter"
    assert f"The adapter leads: macro-F1 1.000 against 1.000 of probe and {verdict.current:.3f} of w" in verdict.reason
    alone = judge(truth, truth, worse)
    assert (alone.leader, alone.bars) == ("adapter", ())
    assert "leads" not in alone.reason


def test_a_leader_that_is_no_source_is_told_with_what_to_do() -> None:
    truth, worse = documents(60, 0.5, seed=1)
    verdict = judge(truth, worse, worse, bars={TFIDF_NAME: truth})
    assert verdict.leader == TFIDF_NAME
    assert verdict.reason.endswith("better with probability 1.000. It is no source and proposes nothing: verify more "
                                   "documents, or add a source of kind probe.")  # fmt: skip
