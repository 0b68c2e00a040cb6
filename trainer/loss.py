"""The loss of a batch: cross-entropy over the answers' tokens, the prompt's prefix computed once or for each document.

Shared prefix: with the prompt's prefix P the same for all B documents of a batch, keys and values of P are computed
once, expanded to B, and the documents attend to them. The gradient with respect to P's keys and values is the sum over
the batch, as it would be with P repeated B times, so the step is exact and costs |P| + B |S| tokens instead of B (|P| +
|S|). With dropout, the documents of a batch share the prefix's mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from ml_backend.layout import Layout, attention_masks, over_prefix, prefix_cache
from ml_backend.logits import scaled
from trainer.collate import IGNORED


class PromptLoss(torch.nn.Module, ABC):
    """Weighted mean cross-entropy over the tokens of the answers of a batch as ``Collator`` makes it.

    ``model`` is a PeftModel. A module, so that whatever wraps a model for several devices wraps the whole of it; its
    state is the adapter's weights alone. With ``recompute`` activations within the layers are computed twice
    (gradient checkpointing) and only those between them are held.
    """

    def __init__(self, model: Any, prefix_ids: Sequence[int], *, recompute: bool = False) -> None:
        super().__init__()
        self.model = model
        self.recompute = recompute
        self.register_buffer("prefix_ids", torch.tensor([prefix_ids], dtype=torch.long), persistent=False)

    def forward(
        self,
        input_ids: torch.Tensor,
        positions: torch.Tensor,
        allowed: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
        total: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """``{"loss": scalar}``: the tokens' weighted losses over ``total``, the batch's own weight where it is None.

        Logits are computed only where a token is learned.
        """
        causal = self.model.get_base_model()
        learned = targets != IGNORED
        with _recomputed(causal) if self.recompute and torch.is_grad_enabled() else nullcontext():
            hidden = self._hidden(causal, Layout(input_ids, positions, allowed, 0))
        logits = scaled(causal.config, causal.get_output_embeddings()(hidden[learned]))
        losses = torch.nn.functional.cross_entropy(logits.float(), targets[learned], reduction="none")
        return {"loss": (losses * weights[learned]).sum() / (weights.sum() if total is None else total)}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # which is overloaded
        """The trained weights: the frozen ones are the base's, and stay as they are."""
        del args, kwargs
        return {name: parameter.detach() for name, parameter in self.named_parameters() if parameter.requires_grad}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take the trained weights back. Raises RuntimeError when they are not exactly this module's."""
        del strict
        own = self.state_dict()
        if wrong := sorted(own.keys() ^ state_dict.keys()):
            raise RuntimeError(f"{len(wrong)} weights have no counterpart, such as {wrong[0]}")
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        found.missing_keys.clear()  # the frozen weights
        return found

    @abstractmethod
    def _hidden(self, causal: Any, layout: Layout) -> torch.Tensor:
        """Last hidden states ``[batch, tokens, size]`` of a layout."""

    @property
    def prefix_length(self) -> int:
        """Tokens of the prompt's prefix."""
        return self._prefix.shape[1]

    @property
    def _prefix(self) -> torch.Tensor:
        prefix: Any = self.prefix_ids
        return torch.as_tensor(prefix)


class SharedPrefixLoss(PromptLoss):
    """The prefix is computed once per batch."""

    def _hidden(self, causal: Any, layout: Layout) -> torch.Tensor:
        return over_prefix(causal.base_model, prefix_cache(causal.base_model, self._prefix), layout)


class WholePromptLoss(PromptLoss):
    """The prefix is computed for each document: what ``SharedPrefixLoss`` is measured against."""

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


@contextmanager
def _recomputed(model: Any) -> Iterator[None]:
    """Each decoder layer that runs within forgets its activations until the backward pass computes them again.

    transformers' own way to do so takes the cache from the layers, and with it the shared prefix. Here they keep it:
    computing a layer twice leaves both of ``ml_backend.layout``'s caches as they are.
    """
    layers: list[Any] = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    own = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward
