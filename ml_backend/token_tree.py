"""What follows a document: several continuations of it as one tree of tokens, each shared beginning once.

All of them are computed in one pass. A token attends to the document and to the tokens on its own way, never to another
branch, and stands where it would stand if its branch were alone (tree attention, as in Miao et al. 2023, SpecInfer).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Path = tuple[int, ...]


@dataclass(frozen=True)
class TokenTree:
    """``tokens`` [nodes], ``depths`` [nodes] from 0, ``ancestors`` [nodes, nodes].

    ``ancestors`` says whether column is on row's way, itself included; ``nodes`` maps a path to its last node.
    """

    tokens: NDArray[np.int64]
    depths: NDArray[np.int64]
    ancestors: NDArray[np.bool_]
    nodes: Mapping[Path, int]

    @classmethod
    def build(cls, paths: Iterable[Path]) -> TokenTree:
        """The tree that holds each of ``paths`` as a way from its root."""
        nodes: dict[Path, int] = {}
        parents: list[int] = []
        for path in paths:
            for length in range(1, len(path) + 1):
                if path[:length] not in nodes:
                    nodes[path[:length]] = len(nodes)
                    parents.append(nodes[path[: length - 1]] if length > 1 else -1)
        ancestors = np.zeros((len(nodes), len(nodes)), dtype=np.bool_)
        for node, parent in enumerate(parents):  # a parent always comes before its children
            if parent >= 0:
                ancestors[node] = ancestors[parent]
            ancestors[node, node] = True
        tokens = np.array([path[-1] for path in nodes], dtype=np.int64)
        depths = np.array([len(path) - 1 for path in nodes], dtype=np.int64)
        return cls(tokens, depths, ancestors, nodes)

    def __len__(self) -> int:
        return len(self.tokens)


def common_beginning(paths: Sequence[Path]) -> Path:
    """The longest beginning that all paths share and that leaves at least one token of each; empty without paths."""
    if not paths:
        return ()
    first, last = min(paths), max(paths)
    most = min(map(len, paths)) - 1
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: min(same, most)]


def trees_of(questions: Iterable[Sequence[Path]], most: int) -> list[TokenTree]:
    """The paths of all questions in as few trees as have at most ``most`` nodes each, in their order.

    A question's paths stay together. Attention within one tree grows with the square of its nodes, though no branch
    sees another: several small trees cost less than a large one.
    """
    groups: list[list[Path]] = []
    nodes: set[Path] = set()
    for paths in questions:
        own = {path[:length] for path in paths for length in range(1, len(path) + 1)}
        if not groups or len(nodes | own) > most:
            groups.append([])
            nodes = set()
        groups[-1] += paths
        nodes |= own
    return [TokenTree.build(group) for group in groups]
