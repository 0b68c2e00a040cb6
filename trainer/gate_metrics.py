"""The metrics that the gate compares by, for several models and many draws of the holdout's documents at once.

Each is defined as in ``trainer.evaluation.metrics.measure``, over the documents of a draw, each counted as often as it
was drawn. What is undefined is nan, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from label_configs.codes import Kind
from label_configs.errors import TrainingError

Floats = npt.NDArray[np.float64]
LabelSets = Sequence[tuple[str, ...]]

NAMES: Mapping[str, str] = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "jaccard": "Jaccard index",
}


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Which labels hold and which were predicted, as 0 and 1: ``true`` [documents, labels], ``guessed`` [models,
    documents, labels]."""

    true: Floats
    guessed: Floats
    kind: Kind

    @classmethod
    def of(cls, truth: LabelSets, predictions: Sequence[LabelSets], kind: Kind) -> LabelTable:
        """All in the same order of documents. Raises TrainingError when the numbers of documents differ."""
        if any(len(own) != len(truth) for own in predictions):
            counts = ", ".join(str(len(own)) for own in predictions)
            raise TrainingError(f"gate: {len(truth)} truths and {counts} predictions of the models; give one each")
        labels = sorted({label for documents in (truth, *predictions) for labels in documents for label in labels})
        guessed = [_indicators(own, labels) for own in predictions]
        return cls(_indicators(truth, labels), np.stack(guessed), kind)

    def scores(self, metric: str, weights: Floats) -> Floats:
        """The metric ``[models, draws]``; ``weights`` [draws, documents] say how often each document was drawn.

        - accuracy: share of documents whose whole set of labels is right;
        - macro_f1: mean F1 of the labels with support in the draw; micro_f1: F1 over all pairs of document and label;
        - balanced_accuracy: exclusive, mean recall of the labels with support in the draw; otherwise mean of (recall +
          specificity) / 2 of the labels that some of the documents carry and others do not: by recall alone, a model
          that says yes to everything would win;
        - jaccard: mean over documents of intersection / union of true and predicted, 1 where both are empty.

        Raises TrainingError for a metric that is none of these.
        """
        if metric not in _METRICS:
            raise TrainingError(f"gate: metric {metric!r} is unknown; use one of {', '.join(_METRICS)}")
        return _METRICS[metric](self, weights)


def _indicators(documents: LabelSets, labels: Sequence[str]) -> Floats:
    column = {label: index for index, label in enumerate(labels)}
    indicators = np.zeros((len(documents), len(labels)))
    for row, document in enumerate(documents):
        for label in document:
            indicators[row, column[label]] = 1
    return indicators


def _macro_f1(table: LabelTable, weights: Floats) -> Floats:
    hits = weights @ (2 * table.true * table.guessed)
    sizes = weights @ (table.true + table.guessed)  # predicted + true = 2 TP + FP + FN
    supported = np.broadcast_to(weights @ table.true > 0, hits.shape)
    return _mean(_ratio(hits, sizes), supported)


def _micro_f1(table: LabelTable, weights: Floats) -> Floats:
    hits = weights @ (2 * table.true * table.guessed).sum(axis=2)[..., None]
    sizes = weights @ (table.true + table.guessed).sum(axis=2)[..., None]
    return _ratio(hits, sizes)[..., 0]


def _accuracy(table: LabelTable, weights: Floats) -> Floats:
    return _of_documents((table.true == table.guessed).all(axis=2).astype(np.float64), weights)


def _balanced_accuracy(table: LabelTable, weights: Floats) -> Floats:
    support, drawn = weights @ table.true, weights.sum(axis=1)[:, None]
    found = weights @ (table.true * table.guessed)
    recall = _ratio(found, np.broadcast_to(support, found.shape))
    if table.kind is Kind.EXCLUSIVE:
        return _mean(recall, np.broadcast_to(support > 0, found.shape))
    spared = weights @ ((1 - table.true) * (1 - table.guessed))
    specificity = _ratio(spared, np.broadcast_to(drawn - support, spared.shape))
    both = (support > 0) & (support < drawn)
    return _mean((recall + specificity) / 2, np.broadcast_to(both, found.shape))


def _jaccard(table: LabelTable, weights: Floats) -> Floats:
    common = (table.true * table.guessed).sum(axis=2)
    union = np.maximum(table.true, table.guessed).sum(axis=2)
    return _of_documents(np.divide(common, union, out=np.ones_like(common), where=union > 0), weights)


_METRICS: Mapping[str, Callable[[LabelTable, Floats], Floats]] = {
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "jaccard": _jaccard,
}


def _of_documents(values: Floats, weights: Floats) -> Floats:
    """Mean over the drawn documents of ``values`` [models, documents]."""
    drawn = np.broadcast_to(weights.sum(axis=1), (len(values), len(weights)))
    return _ratio((weights @ values[..., None])[..., 0], drawn)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, nan where the whole is 0."""
    found: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return found


def _mean(values: Floats, counted: npt.NDArray[np.bool_]) -> Floats:
    """Mean over the last axis of what is counted, nan where nothing is."""
    sums = np.where(counted, values, 0.0).sum(axis=-1)
    return _ratio(sums, counted.sum(axis=-1).astype(np.float64))
