"""Verified examples -> what is learned of each: its tokens, and after them the questions with their right answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from label_configs.codebook import Codebook, Kind
from label_configs.records import VerifiedExample
from ml_backend.prompts import Prompt
from ml_backend.questions import Question, true_answers
from ml_backend.token_tree import Path
from ml_backend.training_config import Balance, Negatives
from trainer.balancing import answer_weights, times_seen

FEWEST_OTHERS = 4  # questions drawn beside those that a document's coders answered, where there are so many


@dataclass(frozen=True)
class Sequenced:
    """One document: its tokens, and the question-and-answer paths after it, each learned from ``start`` on.

    ``weights`` are what the paths' answers count in the loss, one for each path.
    """

    document: tuple[int, ...]
    paths: tuple[tuple[Path, int], ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question put to a document: its number, the number of the right answer, what that counts in the loss."""

    question: int
    answer: int
    weight: float


def sequences(
    examples: Sequence[VerifiedExample],
    prompt: Prompt,
    *,
    negatives: Negatives = Negatives.ALL,
    balance: Balance = Balance.NONE,
    seed: int = 0,
) -> list[Sequenced]:
    """One sequence for each example; an example without a label, where exactly one must hold, gives none.

    With ``Balance.SAMPLING`` a document of a rare label gives several, one after the other (``times_seen``); so a
    validation slice has to be cut from the examples, not from the sequences. An answer counts its example's weight,
    times what it stands for (``asked_of``), with ``Balance.WEIGHTS`` times ``answer_weights``.
    """
    if prompt.codebook.kind is Kind.EXCLUSIVE:
        examples = [example for example in examples if len(example.labels) == 1]
    times = times_seen(examples, seed) if balance is Balance.SAMPLING else [1] * len(examples)
    rows = [(e, copy) for e, number in zip(examples, times, strict=True) for copy in range(number)]
    asked = [_asked(example, prompt, negatives, f"{seed} {copy}") for example, copy in rows]
    weights = {}
    if balance is Balance.WEIGHTS:
        weights = answer_weights((one.question, one.answer, one.weight) for row in asked for one in row)
    found = []
    for (example, _), row in zip(rows, asked, strict=True):
        document = tuple(prompt.document_ids(example.text)[0])
        paths = tuple(_path(prompt, one) for one in row)
        counts = tuple(one.weight * weights.get((one.question, one.answer), 1.0) for one in row)
        found.append(Sequenced(document, paths, counts))
    return found


def asked_of(
    example: VerifiedExample, codebook: Codebook, questions: Sequence[Question], draw: str
) -> dict[int, float]:
    """The questions that a document is asked under ``Negatives.HARD``, with what the answer to each stands for.

    Of questions about single codes these are: those about codes that hold and about codes that coders struck out, each
    standing for itself, and of the others as many again, but no fewer than 4, drawn by the document's id and ``draw``.
    Each drawn one stands for as many as there are others, divided by how many were drawn, so that the expected loss is
    that of asking all: what is certain anyway costs less, and no probability is shifted, as it would be by showing
    the model more codes that hold than there are. Where one question is about the whole codebook, that is all: the
    codes that were struck out stand against the right one in its softmax.
    """
    every = dict.fromkeys(range(len(questions)), 1.0)
    if questions[0].code is None:
        return every
    answered = {codebook.label(label).code for label in (*example.labels, *example.rejected)}
    sure = [i for i in every if (code := questions[i].code) is not None and code.key in answered]
    others = [i for i in every if i not in sure]
    number = min(len(others), max(FEWEST_OTHERS, len(sure)))
    drawn = random.Random(f"winnow-negatives {draw} {example.document_id}").sample(others, number)
    return {i: 1.0 if i in sure else len(others) / number for i in sorted((*sure, *drawn))}


def _asked(example: VerifiedExample, prompt: Prompt, negatives: Negatives, draw: str) -> list[_Asked]:
    codebook, questions = prompt.codebook, prompt.questions
    right = true_answers(codebook, questions, example.labels)
    if negatives is Negatives.ALL:
        return [_Asked(question, answer, example.weight) for question, answer in enumerate(right)]
    stands_for = asked_of(example, codebook, questions, draw)
    return [_Asked(question, right[question], example.weight * weight) for question, weight in stands_for.items()]


def _path(prompt: Prompt, one: _Asked) -> tuple[Path, int]:
    tail = prompt.tails[one.question]
    return tail + prompt.tries[one.question].sequences[one.answer], len(tail)
