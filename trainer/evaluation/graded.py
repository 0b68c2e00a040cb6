"""Figures of predictions where codes hold at one of several levels, or not at all."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.code_rates import LEAST, mean, ratio
from trainer.evaluation.draws import distinct, totals
from trainer.evaluation.figure import undefined
from trainer.evaluation.measured import ABSENT, Measured, as_figure, by_code, figures
from trainer.evaluation.multilabel import Bools, set_statistics, set_values, width
from trainer.evaluation.resampling import SAMPLES, SEED, Floats, Ints

SAME = "truth and prediction are at one and the same level everywhere"


def graded(
    truth: Bools,
    predicted: Bools,
    levels: int,
    *,
    weights: Floats | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> Measured:
    """Judge ``predicted`` [documents, codes x levels] against ``truth``: which code holds at which level.

    Labels are codes first, each with its ``levels`` from low to high. What ``multilabel`` tells is told of the labels,
    where a level beside the true one is plainly wrong; with the prefix ``presence_``, of the codes whatever their
    level. Between these two, for each code over all documents, absence being the level below the lowest:

        quadratic kappa = 1 - sum of observed (i - j)^2 / sum expected by chance   (Cohen, Psychol. Bull. 1968)

    as ``macro_quadratic_kappa``, the mean of the codes that are in the truth, and ``pooled_quadratic_kappa``, over all
    pairs of document and code. level_accuracy: of the pairs where truth and prediction have the code, the share with
    the right level. ``weights`` [documents] are how many documents each stands for. Raises TrainingError where the
    shapes differ.
    """
    true, guess = _level(truth, levels), _level(predicted, levels)
    n, codes = true.shape
    by = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    first, counts = distinct([truth, predicted, by])
    statistics = np.concatenate(
        [
            set_statistics(truth[first], predicted[first]),
            set_statistics(true[first] > 0, guess[first] > 0),
            _ordinal_statistics(true[first], guess[first]),
        ],
        axis=1,
    )
    drawn = totals(statistics * by[first][:, None], counts, samples=samples, seed=seed)
    labels, own = width(codes * levels), width(codes)
    overall, rates = set_values(drawn[:, :labels], codes * levels)
    presence, presence_rates = set_values(drawn[:, labels : labels + own], codes)
    kappa, pooled, level_accuracy = _ordinal_values(drawn[:, labels + own :], drawn[:, 0], codes)
    held = (true > 0).sum(axis=0)
    called = (guess > 0).sum(axis=0)
    of_all = {
        "macro_quadratic_kappa": mean(np.where(held > 0, kappa, np.nan)),
        "pooled_quadratic_kappa": pooled,
        "level_accuracy": level_accuracy,
    }
    labelled, shared = int((true > 0).any(axis=1).sum()), int(((true > 0) & (guess > 0)).sum())
    rests = {"at_least_one": labelled, "presence_at_least_one": labelled, "level_accuracy": shared}
    rows = by_code(presence_rates, n, held, called)
    for code, row in enumerate(rows):
        row["quadratic_kappa"] = as_figure(kappa[:, code], n, SAME) if held[code] else undefined(ABSENT)
    return Measured(
        n,
        figures(overall | {f"presence_{name}": values for name, values in presence.items()} | of_all, n, rests),
        by_code(rates, n, truth.sum(axis=0), predicted.sum(axis=0)),
        truth.sum(axis=0),
        predicted.sum(axis=0),
        (truth & predicted).sum(axis=0),
        presence=rows,
    )


def _level(labels: Bools, levels: int) -> Ints:
    """[documents, codes]: the highest level that holds, from 1; 0 where the code does not hold."""
    held = labels.reshape(len(labels), labels.shape[1] // levels, levels)
    found: Ints = (held * np.arange(1, levels + 1)).max(axis=2)
    return found


def _ordinal_statistics(true: Ints, guess: Ints) -> Floats:
    """Level in truth and prediction, their squares and product, both present, same level: [documents, 7 codes]."""
    both = (true > 0) & (guess > 0)
    parts = [true, guess, true**2, guess**2, true * guess, both, both & (true == guess)]
    found: Floats = np.concatenate(parts, axis=1).astype(np.float64)
    return found


def _ordinal_values(drawn: Floats, n: Floats, codes: int) -> tuple[Floats, Floats, Floats]:
    """Quadratic kappa of each code [draws, codes] and pooled [draws], and the share of right levels [draws].

    With means over documents, kappa = 1 - E(t - p)^2 / (E t^2 + E p^2 - 2 E t E p).
    """
    parts = np.split(drawn, 7, axis=1)
    apart = [part.sum(axis=1, keepdims=True) for part in parts]
    each, pooled = _quadratic(parts[:5], n[:, None]), _quadratic(apart[:5], n[:, None] * codes)
    return each, pooled[:, 0], ratio(apart[6], apart[5])[:, 0]


def _quadratic(sums: list[Floats], n: Floats) -> Floats:
    true, guess, true2, guess2, product = sums
    squares = true2 + guess2
    chance = squares - 2 * ratio(true * guess, np.broadcast_to(n, true.shape))
    found: Floats = 1 - ratio(squares - 2 * product, np.where(chance > LEAST * squares, chance, 0.0))
    return found
