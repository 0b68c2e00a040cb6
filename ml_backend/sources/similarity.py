"""A sentence encoder as a source: how near a document is to each label's name and definition."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from label_configs.codebook import Codebook
from label_configs.errors import ModelError
from label_configs.records import Document, Proposal
from ml_backend.devices import DeviceFacts
from ml_backend.sources.base import ranked

TEMPERATURE = 0.05  # cosines of sentence encoders lie close together; this spreads them over [0, 1]
BATCH = 32  # documents
MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was trained with


class SimilaritySource:
    """Probabilities are the softmax of cosine similarity / 0.05 between mean-pooled embeddings.

    Mean pooling over tokens as in Reimers and Gurevych (2019), Sentence-BERT.
    """

    def __init__(self, name: str, version: str, model: str, codebook: Codebook, facts: DeviceFacts) -> None:
        self.name = name
        self.version = version
        self._codebook = codebook
        self._device = facts.kind
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
            self._model: Any = AutoModel.from_pretrained(model, use_safetensors=True).to(facts.kind).eval()
        except (OSError, ValueError) as error:
            raise ModelError(
                f"model {model}: cannot be loaded ({str(error).splitlines()[0]}); give a folder with config, tokenizer "
                "and safetensors files, or a hub name this machine can reach"
            ) from None
        self._labels, _ = self._embed([self._label_text(key) for key in codebook.label_keys])

    def _label_text(self, key: str) -> str:
        label = self._codebook.label(key)
        return f"{label.name}: {self._codebook.code(label.code).definition}"

    @torch.inference_mode()
    def _embed(self, texts: Sequence[str]) -> tuple[torch.Tensor, list[int]]:
        """Unit embeddings ``[texts, dimensions]`` and the number of tokens of each text."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: list[tuple[int, torch.Tensor, int]] = []
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = self._tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            ).to(self._device)
            mask = batch["attention_mask"]
            hidden = self._model(**batch).last_hidden_state
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            unit = torch.nn.functional.normalize(mean.float(), dim=1)
            found += zip(rows, unit, mask.sum(1).tolist(), strict=True)
        found.sort(key=lambda row: row[0])
        return torch.stack([row[1] for row in found]), [row[2] for row in found]

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order."""
        if not documents:
            return []
        started = time.perf_counter()
        embeddings, tokens = self._embed([d.text for d in documents])
        probabilities = torch.softmax(embeddings @ self._labels.T / TEMPERATURE, 1).tolist()
        seconds = (time.perf_counter() - started) / len(documents)
        return [
            Proposal(d.id, self.name, self.version, ranked(self._codebook, p), t, seconds)
            for d, p, t in zip(documents, probabilities, tokens, strict=True)
        ]
