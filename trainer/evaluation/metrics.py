"""Figures of merit of predicted labels against verified ones, computed by scikit-learn on indicator matrices.

A figure without anything to compute it from is None, never 0: all figures of a code that no document carries, the
precision of a code that nobody predicted. Macro-F1 is the mean F1 over the labels with support in the truth, which is
scikit-learn's ``f1_score(average="macro", labels=<labels in y_true>)``: an absent label has no F1, and a mean over the
whole codebook would count it as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    jaccard_score,
    multilabel_confusion_matrix,
)

from label_configs.codes import Kind
from label_configs.errors import CodebookError, TrainingError

LabelSets = Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class CodeMetrics:
    """One label against all others. ``n`` counts the documents that carry it in the truth.

    With TP, FP, FN, TN counted over documents: sensitivity (recall) = TP / (TP + FN), specificity = TN / (TN + FP),
    precision = TP / (TP + FP), f1 = 2 TP / (2 TP + FP + FN). None where the divisor is 0, and all of them where n is 0.
    """

    label: str
    n: int
    sensitivity: float | None
    specificity: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures over ``n`` documents, each in [0, 1], None where undefined; see ``measure`` for what each one means."""

    n: int
    accuracy: float | None
    macro_f1: float | None
    micro_f1: float | None
    balanced_accuracy: float | None
    hamming_loss: float | None
    jaccard: float | None
    at_least_one: float | None
    codes: tuple[CodeMetrics, ...]


def measure(truth: LabelSets, predicted: LabelSets, labels: Sequence[str], *, kind: Kind) -> Metrics:
    """Compare label sets, in the same order of documents, over the codebook's ``labels`` (keys, in its order).

    - accuracy: share of documents whose whole set is right;
    - macro_f1: mean F1 of the labels with support in the truth; micro_f1: F1 over all pairs of document and label;
    - balanced_accuracy: exclusive, mean sensitivity over labels with support; otherwise mean of (sensitivity +
      specificity) / 2 over labels that some documents carry and others do not (Brodersen et al., ICPR 2010);
    - hamming_loss: share of wrong pairs of document and label;
    - jaccard: mean over documents of intersection / union of true and predicted, 1 where both are empty;
    - at_least_one: share of the documents with any true label for which one of them was predicted.

    Raises TrainingError when the lengths differ, CodebookError for a label that is not among ``labels``.
    """
    if len(truth) != len(predicted):
        raise TrainingError(f"metrics: {len(truth)} truths and {len(predicted)} predictions; give one per document")
    true, guessed = _indicators(truth, labels), _indicators(predicted, labels)
    codes = _per_code(true, guessed, labels) if len(truth) else tuple(_undefined(label) for label in labels)
    f1_scores = [code.f1 for code in codes if code.f1 is not None]
    labelled = true.any(axis=1)
    return Metrics(
        n=len(truth),
        accuracy=float(accuracy_score(true, guessed)) if len(truth) else None,
        macro_f1=_mean(f1_scores),
        micro_f1=float(f1_score(true, guessed, average="micro")) if (true | guessed).any() else None,
        balanced_accuracy=_balanced_accuracy(codes, kind),
        hamming_loss=float(np.mean((true != guessed)[:, : len(labels)])) if len(truth) else None,
        jaccard=float(jaccard_score(true, guessed, average="samples", zero_division=1)) if len(truth) else None,
        at_least_one=float(np.mean((true & guessed)[labelled].any(axis=1))) if labelled.any() else None,
        codes=codes,
    )


def _indicators(documents: LabelSets, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """[documents, labels], true where a document has the label; an empty column is added to a single one."""
    column = {label: index for index, label in enumerate(labels)}
    # scikit-learn would take a single column for two exclusive classes.
    indicators = np.zeros((len(documents), max(2, len(labels))), dtype=np.bool_)
    for row, document in enumerate(documents):
        for label in document:
            if label not in column:
                raise CodebookError(
                    f"metrics: label '{label}' is not in the codebook; evaluate with the codebook in use"
                )
            indicators[row, column[label]] = True
    return indicators


def _per_code(
    true: npt.NDArray[np.bool_], guessed: npt.NDArray[np.bool_], labels: Sequence[str]
) -> tuple[CodeMetrics, ...]:
    # [labels, 2, 2] with the truth in rows: [[TN, FP], [FN, TP]].
    matrices = multilabel_confusion_matrix(true, guessed)
    rows = []
    for label, ((tn, fp), (fn, tp)) in zip(labels, matrices.tolist(), strict=False):
        if not tp + fn:
            rows.append(_undefined(label))
            continue
        f1 = 2 * tp / (2 * tp + fp + fn)
        rows.append(CodeMetrics(label, tp + fn, _ratio(tp, tp + fn), _ratio(tn, tn + fp), _ratio(tp, tp + fp), f1))
    return tuple(rows)


def _undefined(label: str) -> CodeMetrics:
    return CodeMetrics(label, 0, None, None, None, None)


def _balanced_accuracy(codes: Sequence[CodeMetrics], kind: Kind) -> float | None:
    if kind is Kind.EXCLUSIVE:
        return _mean([code.sensitivity for code in codes if code.sensitivity is not None])
    return _mean(
        [
            (code.sensitivity + code.specificity) / 2
            for code in codes
            if code.sensitivity is not None and code.specificity is not None
        ]
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
