"""A source at another temperature: what it proposes is the same, how sure it is of it is mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from label_configs.codebook import Codebook
from label_configs.records import Document, Proposal
from ml_backend.calibration import tempered
from ml_backend.probabilities import probabilities_of
from ml_backend.sources.base import Source, ranked


class CalibratedSource:
    """Any source with its probabilities at ``temperature``; see ``ml_backend.calibration``.

    A proposal without any label stays as it is. Of a graded codebook the order of labels of different codes may change,
    within a code it does not.
    """

    def __init__(self, source: Source, temperature: float, codebook: Codebook) -> None:
        self.source = source
        self._temperature = temperature
        self._codebook = codebook

    @property
    def name(self) -> str:
        """The name in winnow.yaml."""
        return self.source.name

    @property
    def version(self) -> str:
        """That of the source, which names the temperature."""
        return self.source.version

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order. Raises what the source raises."""
        return self.mended(self.source.propose(documents))

    def mended(self, proposals: Sequence[Proposal]) -> list[Proposal]:
        """Proposals of ``source``, however they were made, at this temperature."""
        rows = tempered(probabilities_of(proposals, self._codebook), self._temperature, self._codebook)
        return [
            replace(p, labels=ranked(self._codebook, row.tolist())) if p.labels else p
            for p, row in zip(proposals, rows, strict=True)
        ]
