"""A sentence encoder as a source: how near a document is to each code's name and definition. It learns nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from label_configs.codebook import Codebook, Kind
from label_configs.records import Document, Proposal
from ml_backend.sentence_encoder import MAX_TOKENS, SentenceEncoder
from ml_backend.sources.base import ranked

TEMPERATURE = 0.05  # cosines of sentence encoders lie close together; this spreads them over [0, 1]


class SimilaritySource:
    """Probabilities from the cosine similarity s between a document and each code; t is 0.05.

    - Exclusive: the softmax of s / t over the codes.
    - Multilabel: each code by itself, 1 / (1 + exp(-(s - r) / t)). The reference r is the mean similarity between two
      different codes of the codebook: a document that is nearer to a code than the codes are to each other is more
      likely than not to carry it.
    - Graded: the same, with the levels as a proportional-odds model (McCullagh 1980) whose k-th threshold, counted from
      0, is r + k t: P(at least level k) = 1 / (1 + exp(-(s - r - k t) / t)). A code's levels share its one definition,
      so the nearer the document, the higher the level.

    Of a document the first ``max_document_tokens`` are read, and no more than 256, the encoder's own limit.
    """

    def __init__(
        self,
        name: str,
        version: str,
        encoder: SentenceEncoder,
        codebook: Codebook,
        max_document_tokens: int = MAX_TOKENS,
    ) -> None:
        self.name = name
        self.version = version
        self._codebook = codebook
        self._encoder = encoder
        self._max_tokens = max_document_tokens
        self._codes = encoder.embed([f"{code.name}: {code.definition}" for code in codebook.codes]).vectors

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order."""
        if not documents:
            return []
        started = time.perf_counter()
        embedded = self._encoder.embed([d.text for d in documents], self._max_tokens)
        probabilities = self._probabilities(embedded.vectors @ self._codes.T).tolist()
        seconds = (time.perf_counter() - started) / len(documents)
        return [
            Proposal(d.id, self.name, self.version, ranked(self._codebook, p), tokens, seconds, truncated=truncated)
            for d, p, tokens, truncated in zip(
                documents, probabilities, embedded.tokens, embedded.truncated, strict=True
            )
        ]

    def _probabilities(self, similarities: torch.Tensor) -> torch.Tensor:
        """``[documents, codes]`` -> ``[documents, labels]``."""
        if self._codebook.kind is Kind.EXCLUSIVE:
            return torch.softmax(similarities / TEMPERATURE, 1)
        excess = (similarities - self._reference()) / TEMPERATURE
        if self._codebook.kind is Kind.MULTILABEL:
            return torch.sigmoid(excess)
        levels = len(self._codebook.levels)
        at_least = torch.sigmoid(excess[..., None] - torch.arange(levels))  # [documents, codes, levels]
        above = torch.nn.functional.pad(at_least[..., 1:], (0, 1))
        return (at_least - above).flatten(1)

    def _reference(self) -> float:
        """Mean cosine similarity between two different codes."""
        number = len(self._codes)
        between = self._codes @ self._codes.T
        return float((between.sum() - between.trace()) / (number * (number - 1)))
