"""Logistic regressions that answer a codebook's questions, fitted on verified documents by their features.

The features are dense or sparse ``[documents, features]``: a sentence encoder's embeddings, or the words' weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from label_configs.codebook import Codebook
from label_configs.errors import CodebookError
from label_configs.records import VerifiedExample
from ml_backend.questions import Floats, Question, label_probabilities, questions, true_answers

Features = Any  # a float array, or a sparse one of scipy's
Indices = npt.NDArray[np.int64]

FOLDS = 3
COMPARED = 8  # questions, those whose answers vary most: enough to tell the fits apart
ITERATIONS = 1000  # of L-BFGS; 30 to 300 were seen
LEAST = 1e-4  # probability of an answer that the other folds lack, when fits are compared


@dataclass(frozen=True, slots=True)
class Fit:
    """How a regression is fitted: ``c`` is the inverse of the L2 penalty's weight, as in scikit-learn."""

    c: float
    balanced: bool  # whether rare answers weigh as much as frequent ones

    def __str__(self) -> str:
        return f"C {self.c:g}, {'balanced' if self.balanced else 'as they are'}"


# Chosen among by cross-validated likelihood. Topics that are told apart with certainty want the last (Reuters R8, 200
# documents: log loss .24 against .59 with the first), judgements on which coders differ the first (46 dimensions of
# tweets, 300 documents: .26 against .38 with the last, whose weights make rare codes too likely).
FITS = (Fit(1, False), Fit(10, False), Fit(100, True))


@dataclass(frozen=True)
class Answerable:
    """The examples whose labels are the codebook's, by document id: texts and right answers [documents, questions].

    ``left_out`` counts the others: of a label that is no more, or several where one may hold.
    """

    texts: list[str]
    right: Indices
    left_out: int

    @classmethod
    def of(cls, examples: Iterable[VerifiedExample], codebook: Codebook) -> Answerable:
        """From examples in any order."""
        asked, texts, right, left_out = questions(codebook, each_code=False), [], [], 0
        for example in sorted(examples, key=lambda e: (e.document_id, e.text)):
            try:
                right.append(true_answers(codebook, asked, example.labels))
                texts.append(example.text)
            except (CodebookError, ValueError):
                left_out += 1
        return cls(texts, np.array(right, dtype=np.int64).reshape(len(texts), len(asked)), left_out)


class Regressions:
    """One regression for each of a codebook's questions.

    Exclusive: one multinomial regression over the codes. Multilabel: one regression for each code, graded: one
    multinomial regression for each code over "does not hold" and its levels; so each code has probabilities of its own.
    An answer that no example gives has probability 0; where all n examples give the same answer, nothing can be fitted
    and it has (n + 1) / (n + 2), Laplace's rule of succession. Strength of the penalty and weights of the answers are
    chosen among ``FITS`` by three-fold cross-validation, the same for all questions.

    ``right`` is ``[documents, questions]``, one document at least, in an order that does not depend on chance.
    """

    def __init__(self, features: Features, right: Indices, codebook: Codebook) -> None:
        self._codebook = codebook
        self._questions: tuple[Question, ...] = questions(codebook, each_code=False)
        numbers = [len(question.answers) for question in self._questions]
        # One thread: the matrices are so small that more of them cost ten times what they give.
        with threadpool_limits(1):
            several = len(right) > FOLDS
            self.fit = min(FITS, key=lambda fit: _surprise(features, right, numbers, fit)) if several else FITS[0]
            self._models = _models(features, right, numbers, self.fit)

    def probabilities(self, features: Features) -> Floats:
        """``[documents, labels]``, labels in the codebook's order."""
        with threadpool_limits(1):
            answered = [model.answer(features) for model in self._models]
        return label_probabilities(self._codebook, self._questions, answered)


@dataclass(frozen=True, slots=True)
class _Model:
    """Answers one of ``answers`` questions' answers: by ``regression``, or always ``constant`` with ``certainty``."""

    answers: int
    regression: LogisticRegression | None
    constant: int = 0
    certainty: float = 1.0

    def answer(self, features: Features) -> Floats:
        """Probabilities ``[documents, answers]``."""
        found = np.zeros((features.shape[0], self.answers))
        if self.regression is None:
            found[:, self.constant] = self.certainty
        else:
            found[:, self.regression.classes_] = self.regression.predict_proba(features)
        return found


def _models(features: Features, right: Indices, numbers: Sequence[int], fit: Fit) -> list[_Model]:
    """One model for each question; ``numbers`` says how many answers each has."""
    return [_model(features, column, number, fit) for column, number in zip(right.T, numbers, strict=True)]


def _model(features: Features, right: Indices, answers: int, fit: Fit) -> _Model:
    if len(given := np.unique(right)) == 1:
        return _Model(answers, None, int(given[0]), (len(right) + 1) / (len(right) + 2))
    weights = "balanced" if fit.balanced else None
    regression = LogisticRegression(C=fit.c, class_weight=weights, max_iter=ITERATIONS)
    return _Model(answers, regression.fit(features, right))


def _surprise(features: Features, right: Indices, numbers: Sequence[int], fit: Fit) -> float:
    """Mean of -log of the right answers' probabilities under models fitted on the other two thirds."""
    usual = np.array([np.bincount(column).max() for column in right.T])
    varied = np.argsort(usual, kind="stable")[:COMPARED]
    right, numbers = right[:, varied], [numbers[question] for question in varied]
    fold_of = np.arange(len(right)) % FOLDS
    total = 0.0
    for fold in range(FOLDS):
        own, others = fold_of == fold, fold_of != fold
        for question, model in enumerate(_models(features[others], right[others], numbers, fit)):
            answered = model.answer(features[own])[np.arange(own.sum()), right[own, question]]
            total -= float(np.log(np.maximum(answered, LEAST)).sum())
    return total / right.size
