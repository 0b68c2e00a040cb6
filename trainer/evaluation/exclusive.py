"""Figures of predictions where exactly one code holds for each document."""

from __future__ import annotations

import numpy as np

from label_configs.errors import TrainingError
from trainer.evaluation.code_rates import Tally, averages, code_rates, cohen_kappa, matthews, mean, ratio
from trainer.evaluation.draws import distinct, totals
from trainer.evaluation.figure import Figure
from trainer.evaluation.measured import Measured, by_code, figures
from trainer.evaluation.resampling import SAMPLES, SEED, Floats, Ints

TOP = (2, 3, 5)


def exclusive_figures(
    truth: Ints, predicted: Ints, codes: int, samples: int = SAMPLES, seed: int = SEED
) -> dict[str, Figure]:
    """All figures by name, those of one code as ``f1:3``; see ``exclusive``."""
    return exclusive(truth, predicted, codes, samples=samples, seed=seed).flat()


def exclusive(
    truth: Ints,
    predicted: Ints,
    codes: int,
    *,
    ranks: Ints | None = None,
    weights: Floats | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> Measured:
    """Judge ``predicted`` [documents] against ``truth`` [documents], both numbers of codes from 0 to ``codes`` - 1.

    A prediction outside of them (none, or a code that the codebook has not) is wrong. ``ranks`` [documents] is the
    place of the true code in the prediction's list, from 1, 0 where it is not in it: for ``top_k``, the share of
    documents whose true code is among the first k. ``weights`` [documents] are how many documents each stands for.

    - accuracy: share of documents with the right code; micro figures are those of all pairs of document and code;
    - balanced_accuracy: mean sensitivity of the codes that are in the truth (Brodersen et al. 2010);
    - kappa: Cohen 1960; mcc: Gorodkin 2004; the others as in ``code_rates``.

    Raises TrainingError where the lengths differ, or a truth is none of the codes.
    """
    truth, predicted = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if len(truth) != len(predicted):
        raise TrainingError(f"metrics: {len(truth)} truths and {len(predicted)} predictions; give one per document")
    if ((truth < 0) | (truth >= codes)).any():
        raise TrainingError(f"metrics: a truth is none of the {codes} codes; leave such documents out")
    predicted = np.where((predicted < 0) | (predicted >= codes), codes, predicted)
    tops = tuple(k for k in TOP if k < codes) if ranks is not None else ()
    places = np.zeros_like(truth) if ranks is None else np.where(np.asarray(ranks) > max(TOP), 0, ranks)
    by = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    first, counts = distinct([truth, predicted, places, by])
    statistics = _statistics(truth[first], predicted[first], places[first], codes, tops) * by[first][:, None]
    drawn = totals(statistics, counts, samples=samples, seed=seed)
    tally = Tally(drawn[:, 0], *np.split(drawn[:, 1 : 1 + 3 * codes], 3, axis=1))
    rates = code_rates(tally)
    overall = {
        "accuracy": ratio(tally.hits.sum(axis=1), tally.n),
        "balanced_accuracy": mean(rates["sensitivity"]),
        "kappa": cohen_kappa(tally),
        "mcc": matthews(tally),
        **averages(tally, rates),
        **{f"top_{k}": ratio(drawn[:, 1 + 3 * codes + at], tally.n) for at, k in enumerate(tops)},
    }
    confusion = np.zeros((codes, codes + 1), dtype=np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    held, called = confusion.sum(axis=1), confusion.sum(axis=0)[:codes]
    hits = confusion.diagonal().copy()
    return Measured(
        len(truth),
        figures(overall, len(truth)),
        by_code(rates, len(truth), held, called),
        held,
        called,
        hits,
        confusion,
    )


def _statistics(truth: Ints, predicted: Ints, places: Ints, codes: int, tops: tuple[int, ...]) -> Floats:
    """One; hit, truth and prediction of each code; among the first k: [patterns, 1 + 3 codes + tops]."""
    found = np.zeros((len(truth), 1 + 3 * codes + len(tops)))
    rows = np.arange(len(truth))
    found[:, 0] = 1
    right, known = truth == predicted, predicted < codes
    found[rows[right], 1 + truth[right]] = 1
    found[rows, 1 + codes + truth] = 1
    found[rows[known], 1 + 2 * codes + predicted[known]] = 1
    for at, k in enumerate(tops):
        found[:, 1 + 3 * codes + at] = (places > 0) & (places <= k)
    return found
