"""The loss of a batch: cross-entropy over the answers' tokens, the prompt's prefix computed once or for each document.

Shared prefix: with the prompt's prefix P the same for all B documents of a batch, keys and values of P are computed
once, expanded to B, and the documents attend to them. The gradient with respect to P's keys and values is the sum over
the batch, as it would be with P repeated B times, so the step is exact and costs |P| + B |S| tokens instead of B (|P| +
|S|). With dropout, the documents of a batch share the prefix's mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from ml_backend.layout import Layout, attention_masks, over_prefix, prefix_cache
from ml_backend.logits import scaled
from trainer.collate import IGNORED


class PromptLoss(torch.nn.Module, ABC):
    """Mean cross-entropy over the tokens of the answers of a batch as ``Collator`` makes it.

    ``model`` is a PeftModel. A module, so that whatever wraps a model for several devices wraps the whole of it.
    """

    def __init__(self, model: Any, prefix_ids: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("prefix_ids", torch.tensor([prefix_ids], dtype=torch.long), persistent=False)

    def forward(
        self, input_ids: torch.Tensor, positions: torch.Tensor, allowed: torch.Tensor, targets: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """``{"loss": scalar}``. Logits are computed only where a token is learned."""
        causal = self.model.get_base_model()
        learned = targets != IGNORED
        hidden = self._hidden(causal, Layout(input_ids, positions, allowed, 0))
        logits = scaled(causal.config, causal.get_output_embeddings()(hidden[learned]))
        return {"loss": torch.nn.functional.cross_entropy(logits.float(), targets[learned])}

    @abstractmethod
    def _hidden(self, causal: Any, layout: Layout) -> torch.Tensor:
        """Last hidden states ``[batch, tokens, size]`` of a layout."""

    @property
    def _prefix(self) -> torch.Tensor:
        prefix: Any = self.prefix_ids
        return torch.as_tensor(prefix)


class SharedPrefixLoss(PromptLoss):
    """The prefix is computed once per batch."""

    def _hidden(self, causal: Any, layout: Layout) -> torch.Tensor:
        return over_prefix(causal.base_model, prefix_cache(causal.base_model, self._prefix), layout)


class WholePromptLoss(PromptLoss):
    """The prefix is computed for each document: with gradient checkpointing, which keeps no cache to share."""

    def _hidden(self, causal: Any, layout: Layout) -> torch.Tensor:
        rows, prefix = len(layout.ids), self._prefix.shape[1]
        before = torch.arange(prefix, device=layout.ids.device)
        own = torch.ones(prefix, prefix, dtype=torch.bool, device=layout.ids.device).tril()
        first = torch.nn.functional.pad(own, (0, layout.ids.shape[1])).expand(rows, -1, -1)
        positions = torch.cat([before.expand(rows, -1), layout.positions], 1)
        backbone = causal.base_model
        found = backbone(
            input_ids=torch.cat([self._prefix.expand(rows, -1), layout.ids], 1),
            attention_mask=attention_masks(
                backbone.config, torch.cat([first, layout.allowed], 1), positions, backbone.dtype
            ),
            position_ids=positions,
            use_cache=False,
        )
        return torch.as_tensor(found.last_hidden_state[:, prefix:])
