"""Is the new adapter better than what proposes now? A paired bootstrap over the documents of the holdout.

Both are asked about the same documents. These are drawn with replacement ``samples`` times, and the metric of both is
computed on every draw; the share of draws in which the new one is ahead, ties counted half, is read as the probability
that it is better (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 16; paired as in Koehn, Statistical
Significance Tests for Machine Translation Evaluation, EMNLP 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from label_configs.errors import TrainingError

GateMetric = Literal["macro_f1", "accuracy"]
LabelSets = Sequence[tuple[str, ...]]
Floats = npt.NDArray[np.float64]

_METRIC_NAMES: dict[GateMetric, str] = {"macro_f1": "macro-F1", "accuracy": "accuracy"}
_DRAWS_AT_ONCE = 256  # bounds memory: 256 draws of 10,000 documents are 20 MB


class Verdict(StrEnum):
    """``promoted``: better with the probability asked for; ``kept``: not so; ``undecidable``: too few documents."""

    PROMOTED = "promoted"
    KEPT = "kept"
    UNDECIDABLE = "undecidable"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The verdict with what it rests on. ``reason`` is one sentence with figures, for a person.

    ``new`` and ``current`` are the metric on the holdout, ``probability`` that the new one is better; None when
    undefined (no documents, or none of them carries a label) or not computed. ``n`` counts documents.
    """

    verdict: Verdict
    reason: str
    metric: GateMetric
    n: int
    new: float | None
    current: float | None
    probability: float | None


def judge(
    truth: LabelSets,
    new: LabelSets,
    current: LabelSets,
    *,
    probability: float = 0.9,
    minimum: int = 20,
    samples: int = 2000,
    seed: int = 0,
    metric: GateMetric = "macro_f1",
) -> GateVerdict:
    """Compare two sets of predictions of the same holdout; the three sequences are in the same order of documents.

    A document has one label (exclusive) or several or none. Macro-F1 is the mean over labels with support in the truth,
    in each draw anew; accuracy is the share of documents whose set of labels is exactly right. Fewer than ``minimum``
    documents are undecidable. The same arguments give the same verdict. Raises TrainingError when the lengths differ.
    """
    n = len(truth)
    if not n == len(new) == len(current):
        raise TrainingError(f"gate: {n} truths, {len(new)} new and {len(current)} current predictions; give one each")
    name = _METRIC_NAMES[metric]
    counts = _counts(truth, new, current, metric)
    whole = counts.metric(np.ones((1, n)))[:, 0]
    new_value, current_value = (None if np.isnan(value) else float(value) for value in whole)
    if n < minimum:
        reason = f"Only {n} holdout documents, at least {minimum} are needed to compare: verify more documents."
        return GateVerdict(Verdict.UNDECIDABLE, reason, metric, n, new_value, current_value, None)
    if new_value is None or current_value is None:
        reason = f"None of the {n} holdout documents carries a label, so {name} is undefined: verify more documents."
        return GateVerdict(Verdict.UNDECIDABLE, reason, metric, n, None, None, None)

    chance = _chance_of_better(counts, n, samples, seed)
    verdict = Verdict.PROMOTED if chance >= probability else Verdict.KEPT
    relation = "at least" if verdict is Verdict.PROMOTED else "less than"
    reason = (
        f"{name} {new_value:.3f} against {current_value:.3f} on {n} holdout documents: better with probability "
        f"{chance:.3f}, {relation} the {probability:g} asked for."
    )
    return GateVerdict(verdict, reason, metric, n, new_value, current_value, chance)


@dataclass(frozen=True, slots=True)
class _Counts:
    """What each document adds to the metric: ``hits`` [2, documents, columns] and ``sizes`` [2, documents, columns].

    Index 0 is the new one, 1 the current. The metric is the mean over columns of hits / sizes, summed over documents.
    Macro-F1 has a column per label: hits = 2 TP and sizes = 2 TP + FP + FN, that is predicted + true. ``support``
    [documents, columns] says which columns count: those with a true label in the draw.
    """

    hits: Floats
    sizes: Floats
    support: Floats

    def metric(self, weights: Floats) -> Floats:
        """Weights [draws, documents], how often each was drawn -> metric [2, draws], nan where undefined."""
        supported = weights @ self.support > 0
        columns = supported.sum(axis=1)
        hits: Floats = weights @ self.hits
        sizes: Floats = weights @ self.sizes
        scores = np.divide(hits, sizes, out=np.zeros_like(hits), where=supported & (sizes > 0))
        means: Floats = np.full((2, len(weights)), np.nan)
        np.divide(scores.sum(axis=2), columns, out=means, where=columns > 0)
        return means


def _counts(truth: LabelSets, new: LabelSets, current: LabelSets, metric: GateMetric) -> _Counts:
    if metric == "accuracy":
        right = [
            [float(set(guess) == set(labels)) for guess, labels in zip(guesses, truth, strict=True)]
            for guesses in (new, current)
        ]
        hits = np.array(right).reshape(2, len(truth), 1)
        return _Counts(hits, np.ones_like(hits), np.ones((len(truth), 1)))
    labels = sorted({label for documents in (truth, new, current) for document in documents for label in document})
    true = _indicators(truth, labels)
    guessed = np.stack([_indicators(new, labels), _indicators(current, labels)])
    return _Counts(2 * true * guessed, true + guessed, true)


def _indicators(documents: LabelSets, labels: Sequence[str]) -> Floats:
    column = {label: index for index, label in enumerate(labels)}
    indicators = np.zeros((len(documents), len(labels)))
    for row, document in enumerate(documents):
        for label in document:
            indicators[row, column[label]] = 1
    return indicators


def _chance_of_better(counts: _Counts, n: int, samples: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    ahead, defined = 0.0, 0
    for start in range(0, samples, _DRAWS_AT_ONCE):
        draws = min(_DRAWS_AT_ONCE, samples - start)
        weights = generator.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
        new, current = counts.metric(weights)
        # A sum in another order may differ in the last bit; such a difference is a tie.
        tied = np.isclose(new, current, rtol=0, atol=1e-12)
        ahead += float(np.sum((new > current) & ~tied) + 0.5 * np.sum(tied))
        # A draw without any labelled document has no macro-F1 and says nothing.
        defined += int(np.sum(~np.isnan(new)))
    return ahead / defined if defined else 0.5
