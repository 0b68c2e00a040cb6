"""A probe as a source: logistic regression on a sentence encoder's embeddings of verified documents.

It is fitted in seconds whenever there are new ones, and so it is also the bar that a fine-tuned adapter has to pass.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from label_configs.codebook import Codebook
from label_configs.errors import TrainingError
from label_configs.records import Document, Proposal
from ml_backend.log_events import LogEvent, tell
from ml_backend.regressions import Answerable, Regressions
from ml_backend.sentence_encoder import MAX_TOKENS, SentenceEncoder
from ml_backend.snapshot import read_examples
from ml_backend.sources.base import ranked

log = logging.getLogger(__name__)


class ProbeSource:
    """Probabilities of regressions (``ml_backend.regressions``) fitted on a snapshot's verified examples.

    The holdout is not among them. The same examples in any order make the same probe. Examples with labels that the
    codebook no longer has are left out.

    Raises TrainingError where the snapshot cannot be read or holds no example of the codebook.
    """

    def __init__(
        self,
        name: str,
        version: str,
        encoder: SentenceEncoder,
        codebook: Codebook,
        snapshot: Path,
        max_document_tokens: int = MAX_TOKENS,
    ) -> None:
        self.name = name
        self.version = version
        self._encoder = encoder
        self._codebook = codebook
        self._max_tokens = max_document_tokens
        self._regressions = self._fitted(snapshot)

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order."""
        if not documents:
            return []
        started = time.perf_counter()
        embedded = self._encoder.embed([d.text for d in documents], self._max_tokens)
        probabilities = self._regressions.probabilities(embedded.vectors.numpy()).tolist()
        seconds = (time.perf_counter() - started) / len(documents)
        return [
            Proposal(d.id, self.name, self.version, ranked(self._codebook, p), tokens, seconds, truncated=truncated)
            for d, p, tokens, truncated in zip(
                documents, probabilities, embedded.tokens, embedded.truncated, strict=True
            )
        ]

    def _fitted(self, snapshot: Path) -> Regressions:
        started = time.perf_counter()
        found = Answerable.of(read_examples(snapshot), self._codebook)
        if found.left_out:
            tell(log, LogEvent.EXAMPLES_LEFT_OUT, source=self.name, documents=found.left_out)
        if not found.texts:
            raise TrainingError(f"{snapshot}: no example of the codebook {self._codebook.name}; code documents by it")
        vectors = self._encoder.embed(found.texts, self._max_tokens).vectors.numpy()
        made = Regressions(vectors, found.right, self._codebook)
        seconds = round(time.perf_counter() - started, 1)
        tell(log, LogEvent.SOURCE_FITTED, source=self.name, documents=len(found.texts), seconds=seconds, fit=made.fit)
        return made
