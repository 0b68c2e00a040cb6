"""Rates of each code against all others, and their averages, for all samples at once; undefined is NaN, never 0.

Of one code, with documents counted as TP (has it, predicted), FN (has it, not predicted), FP and TN:

    sensitivity = TP / (TP + FN)        specificity = TN / (TN + FP)        (Yerushalmy, Public Health Rep. 1947)
    precision   = TP / (TP + FP)        NPV         = TN / (TN + FN)        F1 = 2 TP / (2 TP + FP + FN)  (van
    Rijsbergen, Information Retrieval, 1979)                                Jaccard = TP / (TP + FP + FN) (Jaccard 1912)
    balanced accuracy = (sensitivity + specificity) / 2                     (Brodersen et al., ICPR 2010)
    kappa: Cohen (Educ. Psychol. Meas. 1960); MCC: Matthews (Biochim. Biophys. Acta 1975)

A code absent from the truth has no rate at all. Averages are over the codes that are present: macro counts each the
same, weighted by its documents, micro pools all pairs of document and code (Sokolova and Lapalme, Inf. Process. Manag.
2009). A rate that is undefined for a code, as precision where it is never predicted, is left out of macro and weighted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.resampling import Floats

AVERAGED = ("sensitivity", "specificity", "precision", "npv", "f1")
RATES = (*AVERAGED, "jaccard", "balanced_accuracy", "kappa", "mcc")
LEAST = 1e-12  # relative; below, what is left of a difference is rounding


@dataclass(frozen=True)
class Tally:
    """Documents in each draw: ``n`` [draws]; with each code in truth and prediction (``hits``), in the ``truth``, in
    the prediction (``predicted``): [draws, codes]. Whole numbers, or sums of weights."""

    n: Floats
    hits: Floats
    truth: Floats
    predicted: Floats

    @property
    def cells(self) -> tuple[Floats, Floats, Floats, Floats]:
        """TP, FP, FN, TN: each [draws, codes]."""
        missed, wrong = self.truth - self.hits, self.predicted - self.hits
        return self.hits, wrong, missed, self.n[:, None] - self.hits - missed - wrong


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where the whole is 0."""
    found: Floats = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return found


def mean(values: Floats, weights: Floats | None = None) -> Floats:
    """Mean over the last axis of what is defined, by ``weights``; NaN where nothing is."""
    by = np.isfinite(values) * (1.0 if weights is None else weights)
    return ratio((np.where(np.isfinite(values), values, 0.0) * by).sum(axis=-1), by.sum(axis=-1))


def code_rates(tally: Tally) -> dict[str, Floats]:
    """Each rate of each code, [draws, codes]; NaN for all rates of a code that is absent from the truth."""
    tp, fp, fn, tn = tally.cells
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    found = {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "jaccard": ratio(tp, tp + fp + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "kappa": _kappa(tally),
        "mcc": _mcc(tp, fp, fn, tn),
    }
    present = tally.truth > 0
    return {name: np.where(present, values, np.nan) for name, values in found.items()}


def averages(tally: Tally, rates: Mapping[str, Floats]) -> dict[str, Floats]:
    """``macro_``, ``weighted_`` and ``micro_`` of the five rates: each [draws]."""
    # Pooled over all codes, the absent ones with what was wrongly predicted of them.
    tp, fp, fn, tn = (cells.sum(axis=1, keepdims=True) for cells in tally.cells)
    together = Tally((tp + fp + fn + tn)[:, 0], tp, tp + fn, tp + fp)
    micro = code_rates(together)
    found: dict[str, Floats] = {}
    for name in AVERAGED:
        found[f"macro_{name}"] = mean(rates[name])
        found[f"micro_{name}"] = micro[name][:, 0]
        found[f"weighted_{name}"] = mean(rates[name], tally.truth)
    return found


def cohen_kappa(tally: Tally) -> Floats:
    """Of one code for each document, [draws]; NaN where truth and prediction both have one and the same code only."""
    expected = (tally.truth * tally.predicted).sum(axis=1)
    return _above_chance(tally.hits.sum(axis=1) * tally.n, expected, tally.n**2)


def matthews(tally: Tally) -> Floats:
    """Of one code for each document (Gorodkin, Comput. Biol. Chem. 2004), [draws]; NaN where either has one code only.

    What is predicted and is none of the codes counts as one more.
    """
    n, other = tally.n, tally.n - tally.predicted.sum(axis=1)
    above = tally.hits.sum(axis=1) * n - (tally.truth * tally.predicted).sum(axis=1)
    left_true = n**2 - (tally.truth**2).sum(axis=1)
    left_predicted = n**2 - (tally.predicted**2).sum(axis=1) - other**2
    return _over_root(above, left_true, left_predicted, n**2)


def _kappa(tally: Tally) -> Floats:
    tp, fp, fn, tn = tally.cells
    n = tally.n[:, None]
    expected = (tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)
    return _above_chance((tp + tn) * n, expected, np.broadcast_to(n**2, tp.shape))


def _mcc(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    n = tp + fp + fn + tn
    return _over_root(tp * tn - fp * fn, (tp + fn) * (fp + tn), (tp + fp) * (fn + tn), n**2)


def _above_chance(observed: Floats, expected: Floats, whole: Floats) -> Floats:
    left = np.where(whole - expected > LEAST * whole, whole - expected, 0.0)
    return ratio(observed - expected, left)


def _over_root(above: Floats, one: Floats, other: Floats, scale: Floats) -> Floats:
    defined = (one > LEAST * scale) & (other > LEAST * scale)
    return ratio(above, np.where(defined, np.sqrt(np.abs(one)) * np.sqrt(np.abs(other)), 0.0))
