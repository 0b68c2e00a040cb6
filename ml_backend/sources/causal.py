"""A causal language model with a prompt, and optionally a LoRA adapter, as a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from label_configs.codebook import Codebook
from label_configs.records import Document, Proposal
from ml_backend.causal_model import CausalModel
from ml_backend.prompts import Prompt
from ml_backend.scoring import CausalScorer
from ml_backend.sources.base import ranked


class CausalSource:
    """Scores every label of the codebook under the model; the base model is shared with other sources."""

    def __init__(
        self,
        name: str,
        version: str,
        model: CausalModel,
        prompt: Prompt,
        *,
        adapter_id: str | None = None,
        adapter_folder: Path | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self._model = model
        self._codebook: Codebook = prompt.codebook
        self._adapter = (adapter_id, adapter_folder)
        self._scorer = CausalScorer(model.base, prompt, token_budget=model.facts.token_budget)

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order."""
        with self._model.using(*self._adapter):
            scored = self._scorer.score([d.text for d in documents])
        return [
            Proposal(
                d.id, self.name, self.version, ranked(self._codebook, s.probabilities.tolist()), s.tokens, s.seconds
            )
            for d, s in zip(documents, scored, strict=True)
        ]
