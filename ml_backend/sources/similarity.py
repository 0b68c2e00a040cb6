"""A sentence encoder as a source: how near a document is to each label's name and definition."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from label_configs.codebook import Codebook
from label_configs.errors import ModelError, reason
from label_configs.records import Document, Proposal
from ml_backend.causal_model import LOADING_ERRORS
from ml_backend.devices import DeviceFacts
from ml_backend.sources.base import ranked

TEMPERATURE = 0.05  # cosines of sentence encoders lie close together; this spreads them over [0, 1]
BATCH = 32  # documents
MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was trained with


class SentenceEncoder:
    """Texts to unit vectors, by the mean over their tokens' last hidden states.

    Mean pooling as in Reimers and Gurevych (2019), Sentence-BERT. Raises ModelError when the files are missing or do
    not load.
    """

    def __init__(self, model: str, facts: DeviceFacts) -> None:
        self._device = facts.kind
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
            self._model: Any = AutoModel.from_pretrained(model, use_safetensors=True).to(facts.kind).eval()
        except LOADING_ERRORS as error:
            raise ModelError(
                f"model {model}: cannot be loaded ({reason(error)}); give a folder with config, tokenizer and "
                "safetensors files, or a hub name this machine can reach"
            ) from None

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], max_tokens: int) -> tuple[torch.Tensor, list[int]]:
        """Unit embeddings ``[texts, dimensions]`` and the tokens read of each text, ``max_tokens`` at most."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: list[tuple[int, torch.Tensor, int]] = []
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = self._tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
            ).to(self._device)
            mask = batch["attention_mask"]
            hidden = self._model(**batch).last_hidden_state
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            unit = torch.nn.functional.normalize(mean.float(), dim=1)
            found += zip(rows, unit, mask.sum(1).tolist(), strict=True)
        found.sort(key=lambda row: row[0])
        return torch.stack([row[1] for row in found]), [row[2] for row in found]


class SimilaritySource:
    """Probabilities are the softmax of cosine similarity / 0.05 between a document and each label.

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
        self._max_tokens = min(max_document_tokens, MAX_TOKENS)
        self._labels, _ = encoder.embed([self._label_text(key) for key in codebook.label_keys], MAX_TOKENS)

    def _label_text(self, key: str) -> str:
        label = self._codebook.label(key)
        return f"{label.name}: {self._codebook.code(label.code).definition}"

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order."""
        if not documents:
            return []
        started = time.perf_counter()
        embeddings, tokens = self._encoder.embed([d.text for d in documents], self._max_tokens)
        probabilities = torch.softmax(embeddings @ self._labels.T / TEMPERATURE, 1).tolist()
        seconds = (time.perf_counter() - started) / len(documents)
        return [
            Proposal(d.id, self.name, self.version, ranked(self._codebook, p), t, seconds)
            for d, p, t in zip(documents, probabilities, tokens, strict=True)
        ]
