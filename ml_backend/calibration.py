"""Does a probability of 0.8 hold eight times in ten? Its measure (ECE), and the temperature that mends it.

A codebook puts questions to a document: an exclusive one asks which label holds, a multilabel one of each code whether
it holds, a graded one of each code at which level, if any. Temperature T divides the log-probabilities of a question's
answers, which are then made to add up to 1 again (Guo et al., On Calibration of Modern Neural Networks, ICML 2017):

    q(a) = p(a)^(1/T) / sum over answers b of p(b)^(1/T)

For a question that is answered by yes or no, that is the logit divided by T. T > 1 tempers a model that is too sure.
What a question's most probable answer is stays what it is, whatever T.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from label_configs.codebook import Codebook, Kind
from ml_backend.probabilities import Floats

Bools = npt.NDArray[np.bool_]
LabelSets = Sequence[tuple[str, ...]]

MINIMUM = 20  # documents; fewer say too little about a temperature
FOLDS = 5
RANGE = (0.05, 20.0)  # of temperatures
_LEAST = 1e-7  # probability; a proposal's are rounded to six digits, so that its 0 may be anything below 5e-7
_ALONG = 1e-6  # precision of log T


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """How far a source's probabilities can be relied on, over ``n`` documents.

    ``ece`` is the expected calibration error as it is, ``ece_tempered`` with the temperature fitted on other documents
    than those it is judged on (five folds). ``temperature`` is the one that fits all documents, None where that did not
    help on those it was not fitted on: where either the cross-fitted likelihood or ``ece_tempered`` is no better.
    All are None where undefined: no document for ``ece``, fewer than 20 for the others.
    """

    n: int
    ece: float | None
    temperature: float | None
    ece_tempered: float | None


def tempered(probabilities: Floats, temperature: float, codebook: Codebook) -> Floats:
    """The probabilities ``[documents, labels]``, labels in the codebook's order, at another temperature.

    A temperature of 1 changes nothing but that an exclusive codebook's probabilities come to add up to 1.
    """
    logs = np.log(np.maximum(_answers(probabilities, codebook), _LEAST)) / temperature
    powers = np.exp(logs - logs.max(axis=2, keepdims=True))
    answers = powers / powers.sum(axis=2, keepdims=True)
    return _labels(answers, codebook)


def fit_temperature(probabilities: Floats, truth: LabelSets, codebook: Codebook) -> float | None:
    """The temperature between 0.05 and 20 at which the true answers are most likely; None for fewer than 20 documents.

    Minimises the mean negative log-likelihood of the answers to all questions, to three digits after the point.
    Probabilities are ``[documents, labels]``; ``truth`` holds the keys of the labels that hold. Never worse than 1.
    """
    return _fitted(probabilities, indicators(truth, codebook), codebook) if len(truth) >= MINIMUM else None


def expected_calibration_error(confidence: Floats, correct: Bools, bins: int = 10) -> float | None:
    """Mean over bins of equal width, weighted by their size, of |share correct - mean confidence|; None without any.

    Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015; bins are
    closed on the right as in Guo et al. (2017), and the first holds 0 as well.
    """
    if not len(confidence):
        return None
    bin_of = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1).astype(np.int64)
    excess = np.bincount(bin_of, weights=confidence - correct, minlength=bins)
    return float(np.abs(excess).sum() / len(confidence))


def calibration_error(probabilities: Floats, truth: LabelSets, codebook: Codebook) -> float | None:
    """The expected calibration error of probabilities ``[documents, labels]``; None without documents.

    Exclusive: of each document's most probable label (Guo et al. 2017). Otherwise, several labels may hold: of every
    pair of document and label, its probability against whether it holds (Naeini et al. 2015).
    """
    return _error(probabilities, indicators(truth, codebook), codebook)


def temperature_fit(probabilities: Floats, truth: LabelSets, codebook: Codebook) -> TemperatureFit:
    """Measure a source's calibration and find the temperature that mends it. See ``TemperatureFit``."""
    n, held = len(truth), indicators(truth, codebook)
    before = _error(probabilities, held, codebook)
    if n < MINIMUM or before is None:
        return TemperatureFit(n, before, None, None)
    crossed = _cross_fitted(probabilities, held, codebook)
    after = _error(crossed, held, codebook)
    likelier = _surprise(crossed, held, codebook) < _surprise(tempered(probabilities, 1, codebook), held, codebook)
    helps = likelier and after is not None and after < before
    return TemperatureFit(n, before, _fitted(probabilities, held, codebook) if helps else None, after)


def indicators(truth: LabelSets, codebook: Codebook) -> Bools:
    """``[documents, labels]``: which labels hold. Raises CodebookError for a label that the codebook has not."""
    column = {key: index for index, key in enumerate(codebook.label_keys)}
    held = np.zeros((len(truth), len(column)), dtype=np.bool_)
    for row, keys in enumerate(truth):
        for key in keys:
            held[row, column[codebook.label(key).key]] = True
    return held


def _fitted(probabilities: Floats, held: Bools, codebook: Codebook) -> float:
    def loss(log_temperature: float) -> float:
        return _surprise(tempered(probabilities, math.exp(log_temperature), codebook), held, codebook)

    bounds = tuple(math.log(end) for end in RANGE)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": _ALONG})
    temperature = round(math.exp(float(found.x)), 3)
    return temperature if loss(math.log(temperature)) < loss(0.0) else 1.0


def _cross_fitted(probabilities: Floats, held: Bools, codebook: Codebook) -> Floats:
    """Every fifth document tempered by what fits the other four fifths."""
    fold_of = np.arange(len(held)) % FOLDS
    crossed = np.empty_like(probabilities)
    for fold in range(FOLDS):
        own, others = fold_of == fold, fold_of != fold
        crossed[own] = tempered(probabilities[own], _fitted(probabilities[others], held[others], codebook), codebook)
    return crossed


def _error(probabilities: Floats, held: Bools, codebook: Codebook) -> float | None:
    if codebook.kind is not Kind.EXCLUSIVE or not len(held):
        return expected_calibration_error(probabilities.ravel(), held.ravel())
    rows, first = np.arange(len(held)), probabilities.argmax(axis=1)
    return expected_calibration_error(probabilities[rows, first], held[rows, first])


def _surprise(probabilities: Floats, held: Bools, codebook: Codebook) -> float:
    """Mean over documents and questions of -log of the right answer's probability."""
    right = _answers(held.astype(np.float64), codebook) > 0
    return float(-np.log(np.maximum(_answers(probabilities, codebook), _LEAST)[right]).mean())


def _answers(probabilities: Floats, codebook: Codebook) -> Floats:
    """``[documents, labels]`` -> ``[documents, questions, answers]``.

    Where a code may not hold at all, the last answer says so, with what is missing to 1.
    """
    if codebook.kind is Kind.EXCLUSIVE:
        return probabilities[:, None, :]
    by_code = probabilities.reshape(len(probabilities), len(codebook.codes), max(1, len(codebook.levels)))
    return np.concatenate([by_code, np.clip(1 - by_code.sum(axis=2, keepdims=True), 0, 1)], axis=2)


def _labels(answers: Floats, codebook: Codebook) -> Floats:
    """The way back from ``_answers``."""
    held = answers if codebook.kind is Kind.EXCLUSIVE else answers[:, :, :-1]
    return held.reshape(len(answers), len(codebook.label_keys))
