"""A sentence encoder in memory: texts to unit vectors, embedded once and kept on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from ml_backend.causal_model import HAVE_FILES, LOADING_ERRORS
from ml_backend.devices import DeviceFacts
from ml_backend.embeddings import Embedding, EmbeddingCache
from ml_backend.log_events import LogEvent, tell
from ml_backend.model_code import loading_fault, runs_own_code

log = logging.getLogger(__name__)

BATCH = 32  # texts
MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was trained with

UNTOLD = {"_name_or_path", "transformers_version"}  # of a configuration: they change nothing of what it computes


@dataclass(frozen=True, slots=True)
class Embedded:
    """Unit vectors ``[texts, dimensions]``, float32 on the CPU; of each text the tokens read and those left out."""

    vectors: torch.Tensor
    tokens: list[int]
    truncated: list[int]


class SentenceEncoder:
    """Texts to unit vectors, by the mean over their tokens' last hidden states.

    Mean pooling as in Reimers and Gurevych (2019), Sentence-BERT. With a ``cache``, what was embedded before, in this
    process or another, is read from it. Raises ModelError when the files are missing or do not load.
    """

    def __init__(self, model: str, facts: DeviceFacts, cache: EmbeddingCache | None = None) -> None:
        self._device = facts.kind
        self._cache = cache
        try:
            own_code = runs_own_code(model)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=own_code)
            loaded: Any = AutoModel.from_pretrained(model, use_safetensors=True, trust_remote_code=own_code)
        except LOADING_ERRORS as error:
            raise loading_fault(model, error, HAVE_FILES) from None
        self._model = loaded.eval()
        self.version = self._digest()
        self._model.to(facts.kind)
        self._limit = min(MAX_TOKENS, int(self._tokenizer.model_max_length))
        tell(log, LogEvent.ENCODER_LOADED, model=model, device=facts.kind)

    def _digest(self) -> str:
        """16 hexadecimal digits of weights, configuration and tokenizer: a folder's name says not what is in it."""
        told = {k: v for k, v in self._model.config.to_dict().items() if k not in UNTOLD}
        found = hashlib.sha256(repr(sorted(told.items())).encode())
        found.update(repr(sorted(self._tokenizer.get_vocab().items())).encode())
        if backend := getattr(self._tokenizer, "backend_tokenizer", None):
            found.update(backend.to_str().encode())  # how it splits, lower-cases and strips
        for name, weights in self._model.state_dict().items():
            found.update(name.encode())
            found.update(weights.contiguous().reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()[:16]

    def embed(self, texts: Sequence[str], max_tokens: int = MAX_TOKENS) -> Embedded:
        """Embed the first ``max_tokens`` tokens of each text, and no more than 256 or what the encoder can read."""
        limit = min(max_tokens, self._limit)
        unique = list(dict.fromkeys(texts))
        known = self._cache.get(self.version, limit, unique) if self._cache else {}
        if missing := [text for text in unique if text not in known]:
            made = self._compute(missing, limit)
            if self._cache:
                self._cache.put(self.version, limit, made)
            known |= made
        rows = [known[text] for text in texts]
        vectors = (
            torch.stack([torch.from_numpy(row.vector) for row in rows])
            if rows
            else torch.empty(0, self._model.config.hidden_size)
        )
        return Embedded(vectors, [row.tokens for row in rows], [row.truncated for row in rows])

    @torch.inference_mode()
    def _compute(self, texts: Sequence[str], max_tokens: int) -> dict[str, Embedding]:
        lengths = [len(ids) for ids in self._tokenizer(list(texts), verbose=False)["input_ids"]]
        order = sorted(range(len(texts)), key=lambda i: lengths[i])
        found: dict[str, Embedding] = {}
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = self._tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
            ).to(self._device)
            mask = batch["attention_mask"]
            hidden = self._model(**batch).last_hidden_state
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            unit = torch.nn.functional.normalize(mean.float(), dim=1).cpu().numpy()
            for i, vector, tokens in zip(rows, unit, mask.sum(1).tolist(), strict=True):
                found[texts[i]] = Embedding(vector, tokens, lengths[i] - tokens)
        return found
