"""The plain way for `judging.py`: every figure of every sample by krippendorff or scikit-learn, one after the other.

It is given the very samples that Winnow draws, as documents again, so that its figures must be the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import krippendorff
import numpy as np
from judging_data import CODERS, CODES, Made
from scipy import sparse
from sklearn import metrics

from label_configs.codebook import Kind
from trainer.evaluation.agreement_pairs import pairs
from trainer.evaluation.agreement_panel import Panel
from trainer.evaluation.agreement_ratings import Ratings
from trainer.evaluation.draws import distinct, totals
from trainer.evaluation.exclusive import exclusive_figures
from trainer.evaluation.figure import Figure
from trainer.evaluation.multilabel import multilabel_figures
from trainer.evaluation.resampling import Floats, Ints, interval

Values = dict[str, float]


class Compared:
    """``seconds`` of CPU that ``samples`` of the plain loop took, and the largest ``difference`` of any two ends of an
    interval, or values, that should be the same; ``figures`` counts them."""

    def __init__(self, samples: int) -> None:
        self.samples, self.seconds, self.difference, self.figures = samples, 0.0, 0.0, 0

    def look(self, ours: Mapping[str, Figure], drawn: Ints, plain: Callable[[Ints], Values]) -> None:
        """Compare intervals: ``plain`` computes figures of one sample, given how often each pattern comes."""
        started = time.process_time()
        values = [plain(counts) for counts in drawn]
        self.seconds += time.process_time() - started
        for name in values[0]:
            low, high = interval(np.array([one[name] for one in values]))
            figure = ours[name]
            for one, two in ((figure.low, low), (figure.high, high)):
                assert one is not None, name
                assert two is not None, name
                self.figures += 1
                self.difference = max(self.difference, abs(one - two))


def drawn(counts: Ints, samples: int) -> Ints:
    """The samples that ``totals`` draws: how often each pattern comes [samples, patterns]."""
    every = totals(sparse.eye_array(len(counts), format="csr"), counts, samples=samples, seed=0)
    return every[1:].round().astype(np.int64)


def compare(kind: Kind, made: Made, panel: Panel, samples: int) -> Compared:
    """Agreement and metrics of both ways on the same samples."""
    found = Compared(samples)
    names = panel.coders
    if panel.exclusive:
        ratings = panel.ratings(names)
        found.look(panel.overall(names, samples=samples, seed=0), drawn(ratings.counts, samples), _agreement(ratings))
        for pair in pairs(panel.ratings, CODERS, samples=samples, seed=0):
            own = panel.ratings((pair.one, pair.two))
            found.look({"kappa": pair.kappa, "percent": pair.percent}, drawn(own.counts, samples), _pooled(own))
    for code in range(CODES):
        ratings = panel.code_ratings(code, names)
        ours = ratings.figures(panel.coefficients(ratings), samples=samples)
        found.look(ours, drawn(ratings.counts, samples), _agreement(ratings))
    for coder in range(CODERS):
        coded = made.coded[coder]
        truth, said = made.truth[coded], made.said[coder][coded]
        ours = _figures(kind, truth, said, samples)
        columns = [truth.argmax(1), said.argmax(1)] if kind is Kind.EXCLUSIVE else [truth, said]
        first, counts = distinct([*columns, np.zeros(len(truth), dtype=np.int64), np.ones(len(truth))])
        plain = _exclusive if kind is Kind.EXCLUSIVE else _multilabel
        rows = [column[first] for column in columns]
        found.look(ours, drawn(counts, samples), lambda many, plain=plain, rows=rows: plain(*rows, many))  # type: ignore[misc]
    return found


def _figures(kind: Kind, truth: Ints, said: Ints, samples: int) -> dict[str, Figure]:
    if kind is Kind.EXCLUSIVE:
        return exclusive_figures(truth.argmax(1), said.argmax(1), CODES, samples)
    return multilabel_figures(truth.astype(bool), said.astype(bool), samples)


def _agreement(ratings: Ratings) -> Callable[[Ints], Values]:
    def plain(counts: Ints) -> Values:
        rows = np.repeat(ratings.rows, counts, axis=0)
        data = np.where(rows < 0, np.nan, rows).T
        domain = range(ratings.categories)
        return {"alpha": krippendorff.alpha(data, level_of_measurement="nominal", value_domain=domain), **_kappa(rows)}

    return plain


def _pooled(ratings: Ratings) -> Callable[[Ints], Values]:
    return lambda counts: _kappa(np.repeat(ratings.rows, counts, axis=0))


def _kappa(rows: Ints) -> Values:
    one, two = (np.concatenate(side) for side in zip(*_rated(rows), strict=True))
    return {"kappa": metrics.cohen_kappa_score(one, two), "percent": metrics.accuracy_score(one, two)}


def _rated(rows: Ints) -> Iterator[tuple[Ints, Ints]]:
    for one, two in combinations(range(rows.shape[1]), 2):
        both = (rows[:, one] >= 0) & (rows[:, two] >= 0)
        yield rows[both, one], rows[both, two]


def _exclusive(truth: Ints, said: Ints, counts: Ints) -> Values:
    true, guess = np.repeat(truth, counts), np.repeat(said, counts)
    return {
        "accuracy": metrics.accuracy_score(true, guess),
        "balanced_accuracy": metrics.balanced_accuracy_score(true, guess),
        "kappa": metrics.cohen_kappa_score(true, guess),
        "mcc": metrics.matthews_corrcoef(true, guess),
        **_rates(true, guess),
    }


def _multilabel(truth: Ints, said: Ints, counts: Ints) -> Values:
    true, guess = np.repeat(truth, counts, axis=0), np.repeat(said, counts, axis=0)
    return {
        "accuracy": metrics.accuracy_score(true, guess),
        "hamming_loss": metrics.hamming_loss(true, guess),
        "jaccard": metrics.jaccard_score(true, guess, average="samples", zero_division=1),
        **_rates(true, guess),
    }


def _rates(true: Ints, guess: Ints) -> Values:
    labels = range(CODES)
    found: Values = {}
    for average in ("macro", "micro", "weighted"):
        rates = metrics.precision_recall_fscore_support(true, guess, labels=labels, average=average)
        found |= {f"{average}_{name}": float(rates[place]) for place, name in enumerate(NAMES)}
    codes: tuple[Floats, ...] = metrics.precision_recall_fscore_support(true, guess, labels=labels, average=None)
    for place, name in enumerate(NAMES):
        found |= {f"{name}:{code}": float(value) for code, value in enumerate(codes[place])}
    return found


NAMES = ("precision", "sensitivity", "f1")
