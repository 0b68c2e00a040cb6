"""The tokens of the words that may be answered, and where they part.

A word's probability is the product, over the branch points on its way, of the softmax over the branches there:

    P(word) = prod over branch points b on the word's path of  exp(z_b[next]) / sum over branches c of exp(z_b[c])

It is what decoding constrained to the words samples from. Forced tokens cost nothing, so long words are not at a
disadvantage, and words that share a beginning pay for it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelTrie:
    """The labels' token sequences, and where they part.

    ``sequences[i]`` are the tokens of label ``i``, with the end token where another label goes on from it.
    ``branches`` maps the tokens read so far to the tokens that may follow, at branch points only.
    """

    sequences: tuple[tuple[int, ...], ...]
    branches: dict[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def build(cls, label_ids: Sequence[tuple[int, ...]], end_id: int | None) -> LabelTrie:
        """The trie of the labels' tokens; ValueError where two labels have the same tokens or one has none."""
        if any(not ids for ids in label_ids) or len(set(label_ids)) != len(label_ids):
            raise ValueError("labels must have tokens, and no two the same")
        inner = {ids[:n] for ids in label_ids for n in range(1, len(ids))}
        if end_id is None and not inner.isdisjoint(label_ids):
            raise ValueError("one is the beginning of another, and the model has no end token")
        sequences = tuple((*ids, end_id) if end_id is not None and ids in inner else tuple(ids) for ids in label_ids)
        if len(set(sequences)) != len(sequences):
            raise ValueError("the end token stands in a label")
        following: dict[tuple[int, ...], dict[int, None]] = {}
        for ids in sequences:
            for n, token in enumerate(ids):
                following.setdefault(ids[:n], {})[token] = None
        return cls(sequences, {at: tuple(tokens) for at, tokens in following.items() if len(tokens) > 1})

    def combine(self, log_branches: Mapping[tuple[int, ...], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Probabilities ``[documents, labels]`` from log-probabilities ``[documents, branches]`` by branch point."""
        documents = next(iter(log_branches.values())).shape[0]
        total = np.zeros((documents, len(self.sequences)))
        for i, ids in enumerate(self.sequences):
            for n, token in enumerate(ids):
                if (tokens := self.branches.get(ids[:n])) is not None:
                    total[:, i] += log_branches[ids[:n]][:, tokens.index(token)]
        return np.asarray(np.exp(total))
