"""Sequences -> one batch of tensors for shared-prefix training.

The prompt's prefix is the same for every document, so a batch holds only what differs: the document, and after it, as a
tree (see ``ml_backend.token_tree``), each question with its right answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ml_backend.layout import Layout
from ml_backend.token_tree import TokenTree
from trainer.sequences import Sequenced

IGNORED = -100  # the target of a place where nothing is learned, by torch's convention


@dataclass(frozen=True)
class Collator:
    """Makes batches of sequences over a prefix of ``prefix`` tokens."""

    prefix: int

    def __call__(self, rows: Sequence[Sequenced]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``positions``, ``targets`` and ``weights`` [batch, tokens], ``allowed`` [.., prefix + tokens].

        ``targets`` holds at each place the answer's token that comes next, -100 where none is learned, ``weights`` what
        it counts in the loss. An answer's last token is no input, since nothing follows it.
        """
        trees = [TokenTree.build(path[:-1] for path, _ in row.paths) for row in rows]
        layout = Layout.of([row.document for row in rows], trees, self.prefix)
        targets = torch.full_like(layout.ids, IGNORED)
        weights = torch.zeros(layout.ids.shape)
        for i, (row, tree) in enumerate(zip(rows, trees, strict=True)):
            for (path, start), weight in zip(row.paths, row.weights, strict=True):
                for length in range(start, len(path)):
                    at = layout.width + tree.nodes[path[:length]]
                    targets[i, at], weights[i, at] = path[length], weight
        return {
            "input_ids": layout.ids,
            "positions": layout.positions,
            "allowed": layout.allowed,
            "targets": targets,
            "weights": weights,
        }
