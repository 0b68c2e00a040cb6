"""What a model is asked about a document, and how its answers become probabilities of labels.

Either one question, whose answers are the labels' words, or one question for each code: does it hold, or in a graded
codebook, at which level. Several codes may hold at once in a multilabel or graded codebook, so there each code is asked
about by itself: one distribution over all labels could not say that two of them are certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from label_configs.codebook import Code, Codebook, Kind

YES, NO, NONE = "yes", "no", "none"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """One question: about the ``code``, or with None about the whole codebook; its answers are words."""

    code: Code | None
    answers: tuple[str, ...]


def questions(codebook: Codebook, *, each_code: bool) -> tuple[Question, ...]:
    """The questions of a codebook, in the order of its codes. ``each_code`` asks one for each even where one holds."""
    if codebook.kind is Kind.GRADED:
        return tuple(Question(code, (NONE, *codebook.levels)) for code in codebook.codes)
    if each_code or codebook.kind is Kind.MULTILABEL:
        return tuple(Question(code, (YES, NO)) for code in codebook.codes)
    return (Question(None, tuple(label.word for label in codebook.labels)),)


def true_answers(codebook: Codebook, asked: Sequence[Question], labels: Sequence[str]) -> tuple[int, ...]:
    """For each question the index of the answer that is right for a document with these ``labels``.

    Raises ValueError where the one question about the codebook has not exactly one right answer.
    """
    held = {codebook.label(key).code: codebook.label(key) for key in labels}
    if asked[0].code is None:
        (label,) = held.values()
        return (codebook.label_keys.index(label.key),)
    right = []
    for question in asked:
        assert question.code is not None
        label_of = held.get(question.code.key)
        if codebook.kind is Kind.GRADED:
            right.append(0 if label_of is None else 1 + codebook.levels.index(label_of.level or ""))
        else:
            right.append(question.answers.index(NO if label_of is None else YES))
    return tuple(right)


def label_probabilities(codebook: Codebook, asked: Sequence[Question], answered: Sequence[Floats]) -> Floats:
    """Probabilities ``[documents, labels]`` from those of each question's answers ``[documents, answers]``.

    Multilabel: that the code holds. Graded: that it holds at that level; what is missing to 1 over a code's levels is
    the probability that it does not. Exclusive and asked about each code: the answers are taken as independent but for
    exactly one code holding, so a code's probability is in proportion to its odds p / (1 - p).
    """
    if asked[0].code is None:
        return answered[0]
    if codebook.kind is Kind.GRADED:
        return np.concatenate([answer[:, 1:] for answer in answered], axis=1)
    holds = np.stack([answer[:, 0] for answer in answered], axis=1)
    if codebook.kind is Kind.MULTILABEL:
        return holds
    certain = np.finfo(np.float64).eps
    log_odds = np.log(np.clip(holds, certain, 1)) - np.log(np.clip(1 - holds, certain, 1))
    odds = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
