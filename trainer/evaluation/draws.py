"""Sums over documents, and over many samples of them at once: what every figure of a bootstrap is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation.resampling import Floats, Ints

HELD = 4_000_000  # cells of the samples' weights that are held at once
RARE = 12  # documents for a pattern: below, drawing documents one by one is faster than drawing every pattern's count


def totals(statistics: Floats, counts: Ints, *, samples: int, seed: int) -> Floats:
    """Sums of ``statistics`` [patterns, k] over all documents, and over each of ``samples`` draws: [1 + samples, k].

    Row 0 is of the documents as they are, ``counts`` [patterns] of them with each pattern. The others are of as many
    documents drawn with replacement, the bootstrap by document (Efron and Tibshirani 1993, chapter 6).
    """
    number = int(counts.sum())
    found = np.zeros((1 + samples, statistics.shape[1]))
    found[0] = counts @ statistics
    if not number:
        return found
    generator = np.random.default_rng(seed)
    documents = np.repeat(np.arange(len(counts)), counts)
    rare = number < RARE * len(counts)
    step = max(1, HELD // len(counts))
    for first in range(1, 1 + samples, step):
        size = min(step, 1 + samples - first)
        if rare:
            drawn: Floats = np.empty((size, len(counts)))
            for row in drawn:
                row[:] = np.bincount(documents[generator.integers(number, size=number)], minlength=len(counts))
        else:
            drawn = generator.multinomial(number, counts / number, size=size).astype(np.float64)
        found[first : first + size] = drawn @ statistics
    return found


def distinct(columns: Sequence[npt.NDArray[Any]]) -> tuple[Ints, Ints]:
    """Documents that are the same in all columns: the first of each pattern [patterns], and how many they are.

    A column is of whole numbers or floats [documents], or of booleans [documents, width].
    """
    rows = np.concatenate([_bytes(column) for column in columns], axis=1)
    if not len(rows):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    keys = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).ravel()
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    return first.astype(np.int64), counts.astype(np.int64)


def _bytes(column: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if column.dtype == np.bool_:
        return np.packbits(column, axis=1)
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), column.dtype.itemsize)
