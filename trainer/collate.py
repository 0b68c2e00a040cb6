"""Verified examples -> batches for shared-prefix training.

The prompt's prefix is the same for every document, so a batch holds only what differs: the document's suffix and the
tokens of its label's word. The model computes the prefix once per batch (see fit.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from label_configs.records import VerifiedExample
from ml_backend.prompts import Prompt
from ml_backend.scoring import LabelTrie


@dataclass(frozen=True, slots=True)
class Sequenced:
    """One training sequence: the tokens of the suffix, and after them those of the label."""

    suffix: tuple[int, ...]
    label: tuple[int, ...]


def sequences(examples: Sequence[VerifiedExample], prompt: Prompt, trie: LabelTrie) -> list[Sequenced]:
    """One sequence for each label of each example; a document without labels gives none."""
    index = {key: i for i, key in enumerate(prompt.codebook.label_keys)}
    return [
        Sequenced(tuple(prompt.suffix_ids(example.text)[0]), trie.sequences[index[label]])
        for example in examples
        for label in example.labels
    ]


def collate(rows: Sequence[Sequenced]) -> dict[str, torch.Tensor]:
    """Right-padded tensors.

    ``input_ids`` and ``mask`` are ``[batch, tokens]``: suffix and label, its last token left out, since nothing follows
    it. ``targets`` ``[batch, tokens]`` holds at each position the label's token that comes next, -100 where none is
    learned.
    """
    width = max(len(r.suffix) + len(r.label) - 1 for r in rows)
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    targets = torch.full((len(rows), width), -100, dtype=torch.long)
    for i, row in enumerate(rows):
        ids = (*row.suffix, *row.label[:-1])
        input_ids[i, : len(ids)] = torch.tensor(ids)
        mask[i, : len(ids)] = 1
        start = len(row.suffix) - 1
        targets[i, start : start + len(row.label)] = torch.tensor(row.label)
    return {"input_ids": input_ids, "mask": mask, "targets": targets}


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
