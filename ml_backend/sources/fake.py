"""A source without a model, for tests and for trying out a form: labels by how often their words stand in the text."""

from __future__ import annotations

from collections.abc import Sequence

from label_configs.codebook import Codebook
from label_configs.records import Document, Proposal
from ml_backend.sources.base import Source, ranked
from ml_backend.versions import ActiveSource


class FakeSource:
    """Deterministic: probability in proportion to 1 + 9 × occurrences of the label's word in the text."""

    def __init__(self, name: str, version: str, codebook: Codebook) -> None:
        self.name = name
        self.version = version
        self._codebook = codebook

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order."""
        proposals = []
        for document in documents:
            text = document.text.casefold()
            weights = [1 + 9 * text.count(label.word.casefold()) for label in self._codebook.labels]
            probabilities = [w / sum(weights) for w in weights]
            proposals.append(
                Proposal(document.id, self.name, self.version, ranked(self._codebook, probabilities), len(text.split()))
            )
        return proposals


class FakePool:
    """Fake sources in the place of any."""

    def source(self, codebook: Codebook, active: ActiveSource) -> Source:
        """A fake one, whatever its kind."""
        return FakeSource(active.config.name, active.version, codebook)
