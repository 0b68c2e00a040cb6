"""The output layer, for the tokens that are read and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def logits_of(model: Any, hidden: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Logits ``[..., tokens]`` in float32 from last hidden states ``[..., size]``.

    A plain output layer's other rows are not computed. Scaled and capped as the model's own forward pass does it.
    """
    head = model.get_output_embeddings()
    wanted = torch.tensor(tokens, device=hidden.device)
    if type(head) is torch.nn.Linear:
        bias = None if head.bias is None else head.bias[wanted]
        found = torch.nn.functional.linear(hidden, head.weight[wanted], bias)
    else:  # an adapter over the output layer, or quantised weights
        found = torch.as_tensor(head(hidden)[..., wanted])
    return scaled(model.config, found).float()


def scaled(config: Any, logits: torch.Tensor) -> torch.Tensor:
    """What some models do to the output layer's product: Granite divides it, Cohere multiplies it, Gemma 2 caps it."""
    if divisor := getattr(config, "logits_scaling", None):
        logits = logits / divisor
    if factor := getattr(config, "logit_scale", None):
        logits = logits * factor
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = torch.tanh(logits / cap) * cap
    return logits
