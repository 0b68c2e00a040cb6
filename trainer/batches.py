"""Which documents make an optimiser step, and what of it each process computes at a time.

The order is drawn from the recipe's seed alone: a step holds the same documents however it is cut, into micro-batches
and over processes, and wherever a round is taken up again. Within a step, documents of like length share a micro-batch,
so that little is computed for padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from trainer.collate import Collator
from trainer.sequences import Sequenced


def steps_of(documents: int, batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """The documents (by number) of every optimiser step of all epochs, each document once an epoch.

    Every epoch has a new order, drawn at random. A step is never drawn by length: length goes with the code (short
    newswire is about earnings), and steps that each hold few codes train worse. The last step of an epoch may be
    smaller.
    """
    steps = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(documents).tolist()
        steps += [order[at : at + batch_size] for at in range(0, documents, batch_size)]
    return steps


class MicroBatches(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Every micro-batch that one process of several computes, in order, as ``Collator`` makes it.

    Each step has the same number of them, ``accumulation``, and their ``total`` is the weight of the whole step's
    answers. A part of a small step that has no document gets one of weight 0.
    """

    def __init__(
        self,
        rows: Sequence[Sequenced],
        collator: Collator,
        steps: Sequence[Sequence[int]],
        accumulation: int,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.accumulation = accumulation
        self._rows, self._collator, self._steps = rows, collator, steps
        self._process, self._processes = process, processes

    def __len__(self) -> int:
        return len(self._steps) * self.accumulation

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        at, part = divmod(index, self.accumulation)
        step = sorted(self._steps[at], key=lambda i: row_length(self._rows[i]))
        parts = np.array_split(np.array(step), self.accumulation * self._processes)
        own = [self._rows[i] for i in parts[part * self._processes + self._process]]
        total = math.fsum(row_weight(self._rows[i]) for i in step)
        return {**self._collator(own or [_unweighted(self._rows[step[0]])]), "total": torch.tensor(total)}


def accumulation_of(batch_size: int, micro_batch_size: int, processes: int) -> int:
    """How many micro-batches each process computes for a step."""
    return math.ceil(batch_size / (micro_batch_size * processes))


def row_length(row: Sequenced) -> int:
    """Tokens of a document and of the questions after it."""
    return len(row.document) + sum(len(path) for path, _ in row.paths)


def row_weight(row: Sequenced) -> float:
    """What a document's answers count in the loss: the sum over their tokens."""
    counts = (weight * (len(path) - start) for (path, start), weight in zip(row.paths, row.weights, strict=True))
    return math.fsum(counts)


def _unweighted(row: Sequenced) -> Sequenced:
    return replace(row, weights=(0.0,) * len(row.weights))
