"""Documents with their trees of questions as one batch of tensors, over a prefix that is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicCache, DynamicLayer

from ml_backend.token_tree import TokenTree


@dataclass(frozen=True)
class Layout:
    """``ids`` and ``positions`` [batch, tokens]; ``allowed`` [batch, tokens, prefix + tokens]: who may see whom.

    Documents take the first ``width`` columns, padded on the right, their trees the rest.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    allowed: torch.Tensor
    width: int

    @classmethod
    def after(cls, lengths: Sequence[int], tree: TokenTree, prefix: int) -> Layout:
        """The layout of one tree after documents of these lengths, which are cached behind the prefix, padded."""
        rows, longest, nodes = len(lengths), max(lengths), len(tree)
        documents = torch.tensor(lengths)
        allowed = torch.zeros(rows, nodes, prefix + longest + nodes, dtype=torch.bool)
        seen = torch.arange(longest)[None] < documents[:, None]
        allowed[:, :, :prefix] = True
        allowed[:, :, prefix : prefix + longest] = seen[:, None]
        allowed[:, :, prefix + longest :] = torch.from_numpy(tree.ancestors)
        positions = torch.from_numpy(tree.depths)[None] + prefix + documents[:, None]
        return cls(torch.from_numpy(tree.tokens).repeat(rows, 1), positions, allowed, 0)

    @classmethod
    def of(cls, documents: Sequence[Sequence[int]], trees: Sequence[TokenTree], prefix: int) -> Layout:
        """The layout of documents (tokens) and what follows each, after ``prefix`` tokens."""
        width, most = max(map(len, documents)), max(map(len, trees))
        rows, tokens = len(documents), width + most
        ids = torch.zeros(rows, tokens, dtype=torch.long)
        positions = torch.arange(prefix, prefix + tokens).repeat(rows, 1)
        allowed = torch.zeros(rows, tokens, prefix + tokens, dtype=torch.bool)
        allowed[:, :, :prefix] = True
        # Padding sees what is before it too: a row that sees nothing would be no number.
        allowed[:, :width, prefix : prefix + width] = torch.ones(width, width, dtype=torch.bool).tril()
        allowed[:, width:, prefix + width :] = torch.eye(most, dtype=torch.bool)
        for row, (document, tree) in enumerate(zip(documents, trees, strict=True)):
            length, nodes = len(document), len(tree)
            ids[row, :length] = torch.tensor(document, dtype=torch.long)
            ids[row, width : width + nodes] = torch.from_numpy(tree.tokens)
            positions[row, width : width + nodes] = torch.from_numpy(tree.depths) + prefix + length
            allowed[row, width:, prefix : prefix + length] = True
            allowed[row, width : width + nodes, prefix + width : prefix + width + nodes] = torch.from_numpy(
                tree.ancestors
            )
        return cls(ids, positions, allowed, width)


def attention_masks(
    config: Any, allowed: torch.Tensor, positions: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor | dict[str, torch.Tensor]:
    """The additive mask [batch, 1, tokens, prefix + tokens] that a model takes as it is.

    Where some layers see a sliding window only, one mask for each kind of layer. ``positions`` are the keys' as far as
    they belong to the batch; the prefix stands before them.
    """
    mask = _additive(allowed, dtype)
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    if "sliding_attention" not in kinds or not window:
        return mask
    prefix = allowed.shape[-1] - positions.shape[-1]
    before = torch.arange(prefix, device=positions.device).expand(len(positions), -1)
    keys = torch.cat([before, positions], 1)
    near = positions[:, :, None] - keys[:, None, :] < window
    return {"full_attention": mask, "sliding_attention": _additive(allowed & near, dtype)}


def _additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]


class _Kept(DynamicLayer):  # type: ignore[misc]  # transformers is not typed for us
    """One layer's keys and values of a prefix, kept as they are first computed.

    When the layer is computed anew in the backward pass (gradient checkpointing), nothing changes.
    """

    is_initialized: bool

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep the first keys and values; return those that were given."""
        del args, kwargs
        if not self.is_initialized:
            self.keys, self.values = key_states, value_states
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        return key_states, value_states


class _Read(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values of a prefix, before those of whoever reads on, and none of theirs."""

    def __init__(self, prefix: DynamicLayer) -> None:
        super().__init__()
        self.keys, self.values = prefix.keys, prefix.values
        self.dtype, self.device, self.is_initialized = prefix.keys.dtype, prefix.keys.device, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The prefix's and the given ones, which are not kept; gradients flow back to both."""
        del args, kwargs
        rows = len(key_states)
        keys, values = self.keys.expand(rows, -1, -1, -1), self.values.expand(rows, -1, -1, -1)
        return torch.cat([keys, key_states], -2), torch.cat([values, value_states], -2)


def prefix_cache(backbone: Any, ids: torch.Tensor) -> Cache:
    """Keys and values of the prefix ``ids`` [1, tokens], every layer's in full; empty where there is no prefix."""
    cache = Cache(layer_class_to_replicate=_Kept)
    if ids.shape[1]:
        backbone(input_ids=ids, past_key_values=cache, use_cache=True)
    return cache


def with_documents(backbone: Any, prefix: Cache, layout: Layout) -> Cache:
    """Keys and values of the prefix and behind it those of a layout's documents, for each of them."""
    cache = DynamicCache()
    for i, layer in enumerate(prefix.layers):
        rows = len(layout.ids)
        cache.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), i)
    _run(backbone, cache, layout)
    return cache


def over_prefix(backbone: Any, prefix: Cache, layout: Layout) -> torch.Tensor:
    """Last hidden states ``[batch, tokens, size]`` of a layout (on the model's device), the prefix being cached.

    The cache is read and left as it is; gradients flow back to it.
    """
    layers = [_Read(layer) for layer in prefix.layers]
    return _run(backbone, Cache(layers=layers) if layers else Cache(layer_class_to_replicate=_Kept), layout)


def _run(backbone: Any, cache: Cache, layout: Layout) -> torch.Tensor:
    found = backbone(
        input_ids=layout.ids,
        attention_mask=attention_masks(backbone.config, layout.allowed, layout.positions, backbone.dtype),
        past_key_values=cache,
        position_ids=layout.positions,
    )
    return torch.as_tensor(found.last_hidden_state)


def to_device(layout: Layout, device: Any) -> Layout:
    """The same layout on a device."""
    return Layout(layout.ids.to(device), layout.positions.to(device), layout.allowed.to(device), layout.width)
