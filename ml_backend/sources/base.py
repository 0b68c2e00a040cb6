"""What a source is: documents in, one proposal each out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from label_configs.codebook import Codebook
from label_configs.errors import ModelError
from label_configs.records import Document, Proposal, ScoredLabel


class Source(Protocol):
    """A model with a prompt. ``version`` is ``model/prompt@adapter-id``: same version, same document, same proposal."""

    @property
    def name(self) -> str:
        """The name in winnow.yaml."""

    @property
    def version(self) -> str:
        """What the proposals depend on."""

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order. Raises ModelError when the model cannot be loaded."""


@runtime_checkable
class Failing(Source, Protocol):
    """A source that may fail for single documents."""

    def propose_each(self, documents: Sequence[Document]) -> list[Proposal | ModelError]:
        """For each document, in order, a proposal, or why there is none."""


@runtime_checkable
class Sharing(Source, Protocol):
    """A source that can propose in one pass with others of its kind."""

    def shares_with(self, other: Any) -> bool:
        """Whether one pass over a document serves both."""

    def propose_with(self, others: Any, documents: Sequence[Document]) -> list[list[Proposal]]:
        """The proposals of this source and of ``others`` that it shares with: for each source one list."""


@runtime_checkable
class Mending(Source, Protocol):
    """A source that changes what another one proposes."""

    @property
    def source(self) -> Source:
        """The other one."""

    def mended(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        """Its proposals, however they were made, changed."""


def ranked(codebook: Codebook, probabilities: Sequence[float]) -> tuple[ScoredLabel, ...]:
    """Labels with their probabilities, most probable first; equal ones in the codebook's order.

    Rounded to six digits, so that a proposal is the same whether it was just made or kept for a while.
    """
    pairs = [(key, round(float(p), 6)) for key, p in zip(codebook.label_keys, probabilities, strict=True)]
    return tuple(ScoredLabel(key, p) for key, p in sorted(pairs, key=lambda pair: -pair[1]))
