"""A probe as a source: logistic regression on a sentence encoder's embeddings of verified documents.

It is fitted in seconds whenever there are new ones, and so it is also the bar that a fine-tuned adapter has to pass.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from label_configs.codebook import Codebook
from label_configs.errors import CodebookError, TrainingError
from label_configs.records import Document, Proposal, VerifiedExample
from ml_backend.questions import Floats, label_probabilities, questions, true_answers
from ml_backend.sentence_encoder import MAX_TOKENS, SentenceEncoder
from ml_backend.snapshot import read_examples
from ml_backend.sources.base import ranked

log = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]
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


# Chosen among by cross-validated likelihood. Topics that are told apart with certainty want the last (Reuters R8, 200
# documents: log loss .24 against .59 with the first), judgements on which coders differ the first (46 dimensions of
# tweets, 300 documents: .26 against .38 with the last, whose weights make rare codes too likely).
FITS = (Fit(1, False), Fit(10, False), Fit(100, True))


class ProbeSource:
    """Probabilities of a regression fitted on a snapshot's verified examples; the holdout is not among them.

    Exclusive: one multinomial regression over the codes. Multilabel: one regression for each code, graded: one
    multinomial regression for each code over "does not hold" and its levels; so each code has probabilities of its own.
    An answer that no example gives has probability 0; where all n examples give the same answer, nothing can be fitted
    and it has (n + 1) / (n + 2), Laplace's rule of succession. Strength of the penalty and weights of the answers are
    chosen among ``FITS`` by three-fold cross-validation, the same for all codes. The same examples in any order make
    the same probe. Examples with labels that the codebook no longer has are left out.

    Raises TrainingError where the snapshot cannot be read or holds no example of the codebook.
    """

    def __init__(
        self,
        name: str,
        version: str,
        encoder: SentenceEncoder,
        codebook: Codebook,
        snapshot: Path,
        max_document_tokens: int = MAX_TOKENS,
    ) -> None:
        self.name = name
        self.version = version
        self._encoder = encoder
        self._codebook = codebook
        self._max_tokens = max_document_tokens
        self._questions = questions(codebook, each_code=False)
        self._models = self._fitted(snapshot)

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order."""
        if not documents:
            return []
        started = time.perf_counter()
        embedded = self._encoder.embed([d.text for d in documents], self._max_tokens)
        with threadpool_limits(1):
            answered = [model.answer(embedded.vectors.numpy()) for model in self._models]
        probabilities = label_probabilities(self._codebook, self._questions, answered).tolist()
        seconds = (time.perf_counter() - started) / len(documents)
        return [
            Proposal(d.id, self.name, self.version, ranked(self._codebook, p), tokens, seconds, truncated=truncated)
            for d, p, tokens, truncated in zip(
                documents, probabilities, embedded.tokens, embedded.truncated, strict=True
            )
        ]

    def _fitted(self, snapshot: Path) -> list[_Model]:
        started = time.perf_counter()
        texts, right = self._read(snapshot)
        vectors = self._encoder.embed(texts, self._max_tokens).vectors.numpy()
        numbers = [len(question.answers) for question in self._questions]
        # One thread: the matrices are so small that more of them cost ten times what they give.
        with threadpool_limits(1):
            best = min(FITS, key=lambda fit: _surprise(vectors, right, numbers, fit)) if len(texts) > FOLDS else FITS[0]
            models = _models(vectors, right, numbers, best)
        log.info("source %s: fitted on %s verified documents in %.1f s (C %g, %s)", self.name, len(texts),
                 time.perf_counter() - started, best.c, "balanced" if best.balanced else "as they are")  # fmt: skip
        return models

    def _read(self, snapshot: Path) -> tuple[list[str], Indices]:
        """Texts, and the right answers ``[documents, questions]``, in the order of the documents' ids."""
        texts, right = [], []
        examples = sorted(read_examples(snapshot), key=lambda e: (e.document_id, e.text))
        for example in examples:
            if (answers := self._answers(example)) is not None:
                texts.append(example.text)
                right.append(answers)
        if len(texts) < len(examples):
            log.warning("source %s: %s verified documents are of another codebook, they are left out", self.name,
                        len(examples) - len(texts))  # fmt: skip
        if not texts:
            raise TrainingError(f"{snapshot}: no example of the codebook {self._codebook.name}; code documents by it")
        return texts, np.array(right, dtype=np.int64)

    def _answers(self, example: VerifiedExample) -> tuple[int, ...] | None:
        try:
            return true_answers(self._codebook, self._questions, example.labels)
        except (CodebookError, ValueError):  # a label that is no more, or several where one may hold
            return None


@dataclass(frozen=True, slots=True)
class _Model:
    """Answers one of ``answers`` questions' answers: by ``regression``, or always ``constant`` with ``certainty``."""

    answers: int
    regression: LogisticRegression | None
    constant: int = 0
    certainty: float = 1.0

    def answer(self, vectors: Vectors) -> Floats:
        """Probabilities ``[documents, answers]``."""
        found = np.zeros((len(vectors), self.answers))
        if self.regression is None:
            found[:, self.constant] = self.certainty
        else:
            found[:, self.regression.classes_] = self.regression.predict_proba(vectors)
        return found


def _models(vectors: Vectors, right: Indices, numbers: Sequence[int], fit: Fit) -> list[_Model]:
    """One model for each question; ``right`` is ``[documents, questions]``, ``numbers`` how many answers each has."""
    return [_model(vectors, column, number, fit) for column, number in zip(right.T, numbers, strict=True)]


def _model(vectors: Vectors, right: Indices, answers: int, fit: Fit) -> _Model:
    if len(given := np.unique(right)) == 1:
        return _Model(answers, None, int(given[0]), (len(right) + 1) / (len(right) + 2))
    weights = "balanced" if fit.balanced else None
    regression = LogisticRegression(C=fit.c, class_weight=weights, max_iter=ITERATIONS)
    return _Model(answers, regression.fit(vectors, right))


def _surprise(vectors: Vectors, right: Indices, numbers: Sequence[int], fit: Fit) -> float:
    """Mean of -log of the right answers' probabilities under models fitted on the other two thirds."""
    usual = np.array([np.bincount(column).max() for column in right.T])
    varied = np.argsort(usual, kind="stable")[:COMPARED]
    right, numbers = right[:, varied], [numbers[question] for question in varied]
    fold_of = np.arange(len(right)) % FOLDS
    total = 0.0
    for fold in range(FOLDS):
        own, others = fold_of == fold, fold_of != fold
        for question, model in enumerate(_models(vectors[others], right[others], numbers, fit)):
            answered = model.answer(vectors[own])[np.arange(own.sum()), right[own, question]]
            total -= float(np.log(np.maximum(answered, LEAST)).sum())
    return total / right.size
