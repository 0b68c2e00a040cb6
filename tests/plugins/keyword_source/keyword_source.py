"""A kind of source for Winnow: a code is as probable as its definition has words in common with the document.

sources:
  - {name: keywords, kind: keyword, options: {shortest: 4, smoothing: 0.5}}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from label_configs.codebook import Codebook
from label_configs.records import Document, Proposal
from ml_backend.sources.base import ranked
from ml_backend.sources.plugin import SourcePlugin


@dataclass(frozen=True)
class KeywordOptions:
    """What ``options:`` may say: the ``shortest`` word that counts, in letters, and what each code begins with."""

    shortest: int = 4
    smoothing: float = 0.5

    def __post_init__(self) -> None:
        if self.shortest < 1:
            raise ValueError("shortest: counts letters; use 1 or more")
        if self.smoothing <= 0:
            raise ValueError("smoothing: must be above 0, or a document without such words has no probabilities")


class KeywordSource:
    """Counts words; needs no model."""

    def __init__(self, name: str, version: str, codebook: Codebook, options: KeywordOptions) -> None:
        self.name, self.version = name, version
        self._codebook, self._options = codebook, options
        words = {code.key: self._split(f"{code.name} {code.definition} {code.word}") for code in codebook.codes}
        self._words = [words[label.code] for label in codebook.labels]

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order."""
        return [self._proposal(document) for document in documents]

    def _proposal(self, document: Document) -> Proposal:
        found = self._split(document.text)
        counts = [self._options.smoothing + len(words & found) for words in self._words]
        probabilities = [count / sum(counts) for count in counts]
        return Proposal(document.id, self.name, self.version, ranked(self._codebook, probabilities), len(found))

    def _split(self, text: str) -> set[str]:
        return {word for word in re.findall(r"\w+", text.casefold()) if len(word) >= self._options.shortest}


plugin = SourcePlugin(make=KeywordSource, sends_documents_away=False, options=KeywordOptions)
