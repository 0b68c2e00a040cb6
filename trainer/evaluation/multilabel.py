"""Figures of predictions where none, one or several codes hold for a document."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from label_configs.errors import TrainingError
from trainer.evaluation.code_rates import Tally, averages, code_rates, mean, ratio
from trainer.evaluation.draws import distinct, totals
from trainer.evaluation.figure import Figure
from trainer.evaluation.measured import Measured, by_code, figures
from trainer.evaluation.resampling import SAMPLES, SEED, Floats, Ints

Bools = npt.NDArray[np.bool_]

TOP = (1, 2, 3, 5)
_FIXED = 5  # statistics of a document beside those of its codes


def multilabel_figures(truth: Bools, predicted: Bools, samples: int = SAMPLES, seed: int = SEED) -> dict[str, Figure]:
    """All figures by name, those of one code as ``f1:3``; see ``multilabel``."""
    return multilabel(truth, predicted, samples=samples, seed=seed).flat()


def multilabel(
    truth: Bools,
    predicted: Bools,
    *,
    ranks: Ints | None = None,
    weights: Floats | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> Measured:
    """Judge ``predicted`` [documents, codes] against ``truth`` [documents, codes]: which codes hold.

    ``ranks`` [documents] is the best place of a true code in the prediction's list, from 1, 0 for none: ``top_k`` is
    the share, of the documents with a true code, that have one among the first k. ``weights`` [documents] are how
    many documents each stands for. Figures of codes and their averages are as in ``code_rates``, and

    - accuracy: share of documents whose whole set is right (subset accuracy);
    - at_least_one: share, of the documents with a true code, for which one of them was predicted;
    - jaccard: mean over documents of intersection / union, 1 where both are empty (Jaccard 1912); macro_jaccard: mean
      of the codes' own;
    - hamming_loss: share of wrong pairs of document and code (Schapire and Singer, Mach. Learn. 1999);
    - balanced_accuracy, macro_kappa, macro_mcc: mean of the codes' own.

    Raises TrainingError where the shapes differ.
    """
    truth, predicted = np.asarray(truth, dtype=np.bool_), np.asarray(predicted, dtype=np.bool_)
    if truth.shape != predicted.shape:
        raise TrainingError(f"metrics: truths {truth.shape} and predictions {predicted.shape} differ in shape")
    n, codes = truth.shape
    by = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    tops = tuple(k for k in TOP if k < codes) if ranks is not None else ()
    places = np.zeros(n, dtype=np.int64) if ranks is None else np.asarray(ranks, dtype=np.int64)
    first, counts = distinct([truth, predicted, places, by])
    own, other = truth[first], predicted[first]
    statistics = np.concatenate([set_statistics(own, other), _top_hits(places[first], tops)], axis=1)
    drawn = totals(statistics * by[first][:, None], counts, samples=samples, seed=seed)
    overall, rates = set_values(drawn, codes)
    labelled = drawn[:, 3]
    overall |= {f"top_{k}": ratio(drawn[:, width(codes) + at], labelled) for at, k in enumerate(tops)}
    return _measured(overall, rates, truth, predicted)


def set_statistics(truth: Bools, predicted: Bools) -> Floats:
    """What figures of sets are sums of: [documents, 5 + 3 codes].

    One; exact; intersection / union; has a true code; one of them was predicted; hit, truth, prediction of each code.
    """
    hits = truth & predicted
    common, union = hits.sum(axis=1), (truth | predicted).sum(axis=1)
    found = np.empty((len(truth), width(truth.shape[1])))
    found[:, 0] = 1
    found[:, 1] = common == union
    found[:, 2] = np.divide(common, union, out=np.ones(len(truth)), where=union > 0)
    found[:, 3] = truth.any(axis=1)
    found[:, 4] = common > 0
    found[:, _FIXED:] = np.concatenate([hits, truth, predicted], axis=1)
    return found


def width(codes: int) -> int:
    """How many statistics a document has."""
    return _FIXED + 3 * codes


def set_values(drawn: Floats, codes: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """From sums of ``set_statistics`` [draws, ...]: the figures over all [draws], and the codes' [draws, codes]."""
    n = drawn[:, 0]
    tally = Tally(n, *np.split(drawn[:, _FIXED : width(codes)], 3, axis=1))
    rates = code_rates(tally)
    _, wrong, missed, _ = tally.cells
    overall = {
        "accuracy": ratio(drawn[:, 1], n),
        "at_least_one": ratio(drawn[:, 4], drawn[:, 3]),
        "jaccard": ratio(drawn[:, 2], n),
        "macro_jaccard": mean(rates["jaccard"]),
        "hamming_loss": ratio((wrong + missed).sum(axis=1), n * codes),
        "balanced_accuracy": mean(rates["balanced_accuracy"]),
        "macro_kappa": mean(rates["kappa"]),
        "macro_mcc": mean(rates["mcc"]),
        **averages(tally, rates),
    }
    return overall, rates


def _top_hits(places: Ints, tops: tuple[int, ...]) -> Floats:
    found = np.zeros((len(places), len(tops)))
    for at, k in enumerate(tops):
        found[:, at] = (places > 0) & (places <= k)
    return found


def _measured(overall: dict[str, Floats], rates: dict[str, Floats], truth: Bools, predicted: Bools) -> Measured:
    n, held, called = len(truth), truth.sum(axis=0), predicted.sum(axis=0)
    labelled = int(truth.any(axis=1).sum())
    found = figures(overall, n, {name: labelled for name in overall if name == "at_least_one" or name[:4] == "top_"})
    return Measured(n, found, by_code(rates, n, held, called), held, called, (truth & predicted).sum(axis=0))
