"""A causal language model with a prompt, and optionally a LoRA adapter, as a source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from label_configs.codebook import Codebook, Kind
from label_configs.records import Document, Proposal
from ml_backend.causal_model import CausalModel
from ml_backend.prompts import Prompt
from ml_backend.questions import Floats
from ml_backend.scoring import CausalScorer, share_a_pass
from ml_backend.sources.base import ranked


class CausalSource:
    """Scores every label of the codebook under the model; the base model is shared with other sources.

    ``adapter_folder`` is asked for the adapter's files whenever they are loaded.

    ``contextual`` divides by what the model says of documents without content (Zhao et al. 2021, arXiv 2102.09690).
    """

    def __init__(
        self,
        name: str,
        version: str,
        model: CausalModel,
        prompt: Prompt,
        *,
        adapter_id: str | None = None,
        adapter_folder: Callable[[], Path] | None = None,
        contextual: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.prompt = prompt
        self._model = model
        self._codebook: Codebook = prompt.codebook
        self._adapter = (adapter_id, adapter_folder)
        self._contextual = contextual
        self._prior: Floats | None = None
        self._scorers: dict[tuple[str, ...], CausalScorer] = {}

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order."""
        return self.propose_with([], documents)[0]

    def shares_with(self, other: CausalSource) -> bool:
        """Whether one pass over a document serves both sources."""
        same = self._model is other._model and self._adapter[0] == other._adapter[0]
        return same and share_a_pass(self.prompt, other.prompt)

    def propose_with(self, others: Sequence[CausalSource], documents: Sequence[Document]) -> list[list[Proposal]]:
        """The proposals of this source and of ``others`` that it shares a pass with: for each source one list."""
        sources = [self, *others]
        versions = tuple(source.version for source in sources)
        with self._model.using(*self._adapter) as model:
            if versions not in self._scorers:
                self._scorers[versions] = CausalScorer(
                    model,
                    [source.prompt for source in sources],
                    token_budget=self._model.facts.token_budget,
                    shared=self._model.shares_prefix,
                )
            scorer = self._scorers[versions]
            if any(source._contextual and source._prior is None for source in sources):
                for source, prior in zip(sources, scorer.content_free(), strict=True):
                    source._prior = prior
            scored = scorer.score_all([d.text for d in documents])
        return [
            [
                Proposal(
                    d.id, source.name, source.version, ranked(source._codebook, source._calibrated(s.probabilities)),
                    s.tokens, s.seconds, truncated=s.truncated,
                )
                for d, s in zip(documents, own, strict=True)
            ]
            for source, own in zip(sources, scored, strict=True)
        ]  # fmt: skip

    def _calibrated(self, probabilities: Floats) -> list[float]:
        if self._contextual and self._prior is not None:
            probabilities = without_prior(self._codebook, probabilities, self._prior)
        return [float(p) for p in probabilities]


def without_prior(codebook: Codebook, probabilities: Floats, prior: Floats) -> Floats:
    """Probabilities ``[labels]`` with the model's bias ``prior`` ``[labels]`` divided out, and normalised again.

    Over all labels of an exclusive codebook; else for each code over its labels and "does not hold".
    """
    floor = 1e-12  # a label that the model never gives would else take all
    weights = np.maximum(probabilities, floor) / np.maximum(prior, floor)
    if codebook.kind is Kind.EXCLUSIVE:
        return np.asarray(weights / weights.sum())
    levels = max(1, len(codebook.levels))
    absent, absent_prior = (np.maximum(1 - p.reshape(-1, levels).sum(1), floor) for p in (probabilities, prior))
    by_code = weights.reshape(-1, levels)
    return np.asarray((by_code / (by_code.sum(1) + absent / absent_prior)[:, None]).reshape(-1))
