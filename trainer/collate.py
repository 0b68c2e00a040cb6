"""Verified examples -> batches for shared-prefix training.

The prompt's prefix is the same for every document, so a batch holds only what differs: the document, and after it, as a
tree (see ``ml_backend.token_tree``), each question with its right answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        """``input_ids``, ``positions`` and ``targets`` [batch, tokens], ``allowed`` [batch, tokens, prefix + tokens].

        ``targets`` holds at each place the answer's token that comes next, -100 where none is learned. An answer's
        last token is no input, since nothing follows it.
        """
        trees = [TokenTree.build(path[:-1] for path, _ in row.paths) for row in rows]
        layout = Layout.of([row.document for row in rows], trees, self.prefix)
        targets = torch.full_like(layout.ids, IGNORED)
        for i, (row, tree) in enumerate(zip(rows, trees, strict=True)):
            for path, start in row.paths:
                for length in range(start, len(path)):
                    targets[i, layout.width + tree.nodes[path[:length]]] = path[length]
        return {
            "input_ids": layout.ids,
            "positions": layout.positions,
            "allowed": layout.allowed,
            "targets": targets,
        }


class SequenceDataset(torch.utils.data.Dataset[Sequenced]):
    """A list of sequences as torch wants it."""

    def __init__(self, rows: Sequence[Sequenced]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sequenced:
        return self._rows[index]

    def __iter__(self) -> Iterator[Sequenced]:
        return iter(self._rows)
