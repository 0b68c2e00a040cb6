"""How large a causal language model is, from its ``config.json`` alone: no weights are read and torch is not loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from label_configs.errors import ModelError

NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_size": ("head_dim",),
    "inner": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocabulary": ("vocab_size",),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "active": ("num_experts_per_tok",),
}
"""The same sizes by the names that different models give them."""
UNGATED = ("gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "falcon", "bloom", "phi", "starcoder2", "mpt")
"""Models whose feed-forward layers are two matrices; the others' are three, one of which is a gate."""


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder: ``inner`` is the feed-forward layers' width, ``tied`` whether words go in and out alike."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    vocabulary: int
    tied: bool = True
    gated: bool = True
    experts: int = 1
    active: int = 1

    @classmethod
    def of_config(cls, config: Mapping[str, Any], where: str = "config.json") -> ModelShape:
        """The shape that a model's configuration says. Raises ModelError where it does not say it."""
        text = config.get("text_config")
        if isinstance(text, Mapping):  # a model of texts and images
            config = {**config, **text}
        found = {
            size: next((config[n] for n in names if isinstance(config.get(n), int)), None)
            for size, names in NAMES.items()
        }
        layers, hidden, heads, vocabulary = (found[n] for n in ("layers", "hidden", "heads", "vocabulary"))
        if not (layers and hidden and heads and vocabulary):
            raise ModelError(f"{where}: does not say how large the model is; no memory is estimated for it")
        return cls(
            layers, hidden, heads, found["kv_heads"] or heads, found["head_size"] or hidden // heads,
            found["inner"] or 4 * hidden, vocabulary, bool(config.get("tie_word_embeddings", True)),
            config.get("model_type") not in UNGATED, found["experts"] or 1, found["active"] or 1,
        )  # fmt: skip

    @property
    def query(self) -> int:
        """Width of a layer's queries: all heads together."""
        return self.heads * self.head_size

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """A layer's linear modules that LoRA can be put on, by the name that most models give them: inputs, outputs.

        Experts are no such modules: their weights are held together.
        """
        kv, inner = self.kv_heads * self.head_size, self.inner
        found = {
            "q_proj": (self.hidden, self.query), "k_proj": (self.hidden, kv), "v_proj": (self.hidden, kv),
            "o_proj": (self.query, self.hidden),
        }  # fmt: skip
        if self.experts == 1:
            found |= {"gate_proj": (self.hidden, inner)} if self.gated else {}
            found |= {"up_proj": (self.hidden, inner), "down_proj": (inner, self.hidden)}
        return found

    @property
    def linear_weights(self) -> int:
        """Number of weights in all layers' linear modules, experts included."""
        own = sum(inputs * outputs for inputs, outputs in self.linear.values())
        if self.experts > 1:
            own += self.experts * (3 if self.gated else 2) * self.hidden * self.inner + self.hidden * self.experts
        return self.layers * own

    @property
    def other_weights(self) -> int:
        """Number of all other weights: words in and out, norms. Biases are left out."""
        words = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return words + (2 * self.layers + 1) * self.hidden


def shape_of(model: str) -> ModelShape | None:
    """The shape of a model in a folder, or of a hub model as far as this machine has fetched it; else None.

    Raises ModelError where its configuration cannot be read or does not say.
    """
    path = Path(model) / "config.json"
    if not Path(model).is_absolute():
        try:
            found = try_to_load_from_cache(model, "config.json")
        except HFValidationError:
            found = None
        if not isinstance(found, str):
            return None
        path = Path(found)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError
    except (OSError, ValueError):
        raise ModelError(f"{path}: cannot be read; download the model whole") from None
    return ModelShape.of_config(config, str(path))
