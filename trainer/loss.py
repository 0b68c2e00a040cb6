"""The loss of a batch: cross-entropy over the labels' tokens, the prompt's prefix computed once or for each document.

Shared prefix: with the prompt's prefix P the same for all B documents of a batch, keys and values of P are computed
once, expanded to B, and the suffixes attend to them. The gradient with respect to P's keys and values is the sum over
the batch, as it would be with P repeated B times, so the step is exact and costs |P| + B |S| tokens instead of B (|P| +
|S|). With dropout, the documents of a batch share the prefix's mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from ml_backend.scoring import expand_cache


class PromptLoss(torch.nn.Module, ABC):
    """Mean cross-entropy over the tokens of the labels of a batch as ``collate`` makes it.

    ``model`` is a PeftModel. A module, so that whatever wraps a model for several devices wraps the whole of it.
    """

    def __init__(self, model: Any, prefix_ids: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("prefix_ids", torch.tensor([prefix_ids]), persistent=False)

    def forward(self, input_ids: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """``{"loss": scalar}``; all three ``[batch, tokens]``. Logits are computed only where a token is learned."""
        causal = self.model.get_base_model()
        learned = targets != -100
        logits = causal.get_output_embeddings()(self._hidden(causal, input_ids, mask)[learned])
        return {"loss": torch.nn.functional.cross_entropy(logits.float(), targets[learned])}

    @abstractmethod
    def _hidden(self, causal: Any, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Last hidden states ``[batch, tokens, size]`` of the suffixes."""

    @property
    def _prefix(self) -> torch.Tensor:
        prefix: Any = self.prefix_ids
        return torch.as_tensor(prefix)


class SharedPrefixLoss(PromptLoss):
    """The prefix is computed once per batch."""

    def _hidden(self, causal: Any, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, prefix = input_ids.shape[0], self._prefix.shape[1]
        once = causal.base_model(input_ids=self._prefix, use_cache=True).past_key_values
        found = causal.base_model(
            input_ids=input_ids,
            attention_mask=torch.cat([mask.new_ones(batch, prefix), mask], 1),
            past_key_values=expand_cache(once, batch),
            position_ids=torch.arange(input_ids.shape[1], device=input_ids.device)[None] + prefix,
        )
        return torch.as_tensor(found.last_hidden_state)


class WholePromptLoss(PromptLoss):
    """The prefix is computed for each document: with gradient checkpointing, which keeps no cache to share."""

    def _hidden(self, causal: Any, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, prefix = input_ids.shape[0], self._prefix.shape[1]
        found = causal.base_model(
            input_ids=torch.cat([self._prefix.expand(batch, -1), input_ids], 1),
            attention_mask=torch.cat([mask.new_ones(batch, prefix), mask], 1),
            use_cache=False,
        )
        return torch.as_tensor(found.last_hidden_state[:, prefix:])
