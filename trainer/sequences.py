"""Verified examples -> what is learned of each: its tokens, and after them the questions with their right answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from label_configs.codebook import Kind
from label_configs.records import VerifiedExample
from ml_backend.prompts import Prompt
from ml_backend.questions import true_answers
from ml_backend.token_tree import Path


@dataclass(frozen=True)
class Sequenced:
    """One document: its tokens, and the question-and-answer paths after it, each learned from ``start`` on.

    ``weights`` are what the paths' answers count in the loss, one for each path.
    """

    document: tuple[int, ...]
    paths: tuple[tuple[Path, int], ...]
    weights: tuple[float, ...]


def sequences(examples: Sequence[VerifiedExample], prompt: Prompt) -> list[Sequenced]:
    """One sequence for each example; an example without a label, where exactly one must hold, gives none."""
    rows = []
    for example in examples:
        if prompt.codebook.kind is Kind.EXCLUSIVE and len(example.labels) != 1:
            continue
        right = true_answers(prompt.codebook, prompt.questions, example.labels)
        paths = tuple(
            (tail + trie.sequences[answer], len(tail))
            for tail, trie, answer in zip(prompt.tails, prompt.tries, right, strict=True)
        )
        document = tuple(prompt.document_ids(example.text)[0])
        rows.append(Sequenced(document, paths, (example.weight,) * len(paths)))
    return rows
