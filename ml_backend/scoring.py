"""Probabilities of labels under a causal language model: nothing is generated, nothing is parsed.

The tokens of the labels' words form a trie. A label's probability is the product, over the branch points on its way, of
the softmax over the branches there:

    P(label) = prod over branch points b on the label's path of  exp(z_b[next]) / sum over branches c of exp(z_b[c])

It is what decoding constrained to the labels samples from. Forced tokens cost nothing, so long labels are not at a
disadvantage, and labels that share a beginning pay for it once. The prompt's prefix is computed once and its keys and
values are expanded to each batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from label_configs.errors import CodebookError
from ml_backend.prompts import Prompt

CACHED = 4  # tokens held in the cache for each token computed in a batch, at most


@dataclass(frozen=True)
class LabelTrie:
    """The labels' token sequences, and where they part.

    ``sequences[i]`` are the tokens of label ``i``, with the end token where another label goes on from it.
    ``branches`` maps the tokens read so far to the tokens that may follow, at branch points only.
    """

    sequences: tuple[tuple[int, ...], ...]
    branches: dict[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def build(cls, label_ids: Sequence[tuple[int, ...]], end_id: int | None) -> LabelTrie:
        """The trie of the labels' tokens; ValueError where two labels have the same tokens or one has none."""
        if any(not ids for ids in label_ids) or len(set(label_ids)) != len(label_ids):
            raise ValueError("labels must have tokens, and no two the same")
        inner = {ids[:n] for ids in label_ids for n in range(1, len(ids))}
        if end_id is None and not inner.isdisjoint(label_ids):
            raise ValueError("one is the beginning of another, and the model has no end token")
        sequences = tuple((*ids, end_id) if end_id is not None and ids in inner else tuple(ids) for ids in label_ids)
        if len(set(sequences)) != len(sequences):
            raise ValueError("the end token stands in a label")
        following: dict[tuple[int, ...], dict[int, None]] = {}
        for ids in sequences:
            for n, token in enumerate(ids):
                following.setdefault(ids[:n], {})[token] = None
        return cls(sequences, {at: tuple(tokens) for at, tokens in following.items() if len(tokens) > 1})

    def combine(self, log_branches: dict[tuple[int, ...], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Probabilities ``[documents, labels]`` from log-probabilities ``[documents, branches]`` by branch point."""
        documents = next(iter(log_branches.values())).shape[0]
        total = np.zeros((documents, len(self.sequences)))
        for i, ids in enumerate(self.sequences):
            for n, token in enumerate(ids):
                if (tokens := self.branches.get(ids[:n])) is not None:
                    total[:, i] += log_branches[ids[:n]][:, tokens.index(token)]
        return np.asarray(np.exp(total))


def trie_of(prompt: Prompt) -> LabelTrie:
    """The trie of a prompt's labels. Raises CodebookError where the model cannot tell them apart."""
    try:
        return LabelTrie.build(prompt.label_ids, prompt.tokenizer.eos_token_id)
    except ValueError as error:
        raise CodebookError(
            f"codebook {prompt.codebook.name}: the model cannot tell its words apart ({error}); change them"
        ) from None


@dataclass(frozen=True, slots=True)
class Scored:
    """One document's probabilities ``[labels]``, tokens computed for it, tokens left out, its share of seconds."""

    probabilities: NDArray[np.float64]
    tokens: int
    truncated: int
    seconds: float


def expand_cache(prefix: Any, documents: int) -> DynamicCache:
    """A cache that begins with the prefix's keys and values for each document; gradients flow back to the prefix."""
    cache = DynamicCache()
    for i, layer in enumerate(prefix.layers):
        cache.update(layer.keys.expand(documents, -1, -1, -1), layer.values.expand(documents, -1, -1, -1), i)
    return cache


class CausalScorer:
    """Scores documents with one model in the state that ``model`` is in (base, or an adapter active).

    The prefix is computed at the first batch and kept, so a scorer belongs to one adapter. ``token_budget`` bounds
    documents × longest suffix of a batch, and four times as much documents × (prefix + longest suffix), what the cache
    holds.
    """

    def __init__(self, model: Any, prompt: Prompt, *, token_budget: int = 2048) -> None:
        self.model = model
        self.prompt = prompt
        self.token_budget = token_budget
        self.trie = trie_of(prompt)
        self._prefix: Any = None

    @torch.inference_mode()
    def score(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> list[Scored]:
        """Score ``texts``; results are in their order. ``on_batch`` hears how many documents were just done."""
        suffixes = [self.prompt.suffix_ids(text) for text in texts]
        results: list[Scored | None] = [None] * len(texts)
        branched = sum(len(at) for at in self.trie.branches)
        for rows in self._batches([len(ids) for ids, _ in suffixes]):
            started = time.perf_counter()
            probabilities = self._batch([suffixes[i][0] for i in rows])
            seconds = (time.perf_counter() - started) / len(rows)
            for row, i in enumerate(rows):
                ids, cut = suffixes[i]
                results[i] = Scored(probabilities[row], len(ids) + branched, cut, seconds)
            if on_batch:
                on_batch(len(rows))
        return [r for r in results if r is not None]

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Indices of documents of similar length, each batch within the token budget."""
        batches: list[list[int]] = []
        prefix = len(self.prompt.prefix_ids)
        for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
            rows, longest = (len(batches[-1]) + 1, lengths[batches[-1][0]]) if batches else (0, 0)
            if batches and max(rows * longest, rows * (prefix + longest) // CACHED) <= self.token_budget:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def _batch(self, suffixes: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Probabilities ``[documents, labels]`` of one batch."""
        device = self.model.device
        if self._prefix is None:
            ids = torch.tensor([self.prompt.prefix_ids], device=device)
            self._prefix = self.model.base_model(input_ids=ids, use_cache=True).past_key_values
        n, prefix = len(suffixes), len(self.prompt.prefix_ids)
        lengths = torch.tensor([len(s) for s in suffixes], device=device)
        width = int(lengths.max())
        ids = torch.zeros(n, width, dtype=torch.long, device=device)
        for row, suffix in enumerate(suffixes):
            ids[row, : len(suffix)] = torch.tensor(suffix, device=device)
        real = torch.arange(width, device=device)[None] < lengths[:, None]
        mask = torch.cat([torch.ones(n, prefix, dtype=torch.long, device=device), real.long()], 1)
        cache = expand_cache(self._prefix, n)
        hidden = self.model.base_model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            position_ids=torch.arange(width, device=device)[None] + prefix,
        ).last_hidden_state
        last = hidden[torch.arange(n, device=device), lengths - 1]
        found = {at: self._branch(at, tokens, last, cache, mask, lengths) for at, tokens in self.trie.branches.items()}
        return self.trie.combine(found) if found else np.ones((n, 1))

    def _branch(
        self,
        at: tuple[int, ...],
        tokens: tuple[int, ...],
        last: torch.Tensor,
        cache: DynamicCache,
        mask: torch.Tensor,
        lengths: torch.Tensor,
    ) -> NDArray[np.float64]:
        """Log-probabilities ``[documents, branches]`` after the tokens ``at``; the cache is left as it was."""
        if at:
            n, device, steps = len(last), last.device, len(at)
            position = (lengths + len(self.prompt.prefix_ids))[:, None] + torch.arange(steps, device=device)[None]
            last = self.model.base_model(
                input_ids=torch.tensor([at], device=device).expand(n, -1),
                attention_mask=torch.cat([mask, mask.new_ones(n, steps)], 1),
                past_key_values=cache,
                position_ids=position,
            ).last_hidden_state[:, -1]
            cache.crop(-steps)
        return np.asarray(torch.log_softmax(self._logits(last, tokens), 1).cpu().double())

    def _logits(self, hidden: torch.Tensor, tokens: tuple[int, ...]) -> torch.Tensor:
        """Logits ``[documents, tokens]`` of these tokens alone: a plain output layer's other rows are not computed."""
        head = self.model.get_output_embeddings()
        wanted = torch.tensor(tokens, device=hidden.device)
        if type(head) is torch.nn.Linear:
            bias = None if head.bias is None else head.bias[wanted]
            return torch.nn.functional.linear(hidden, head.weight[wanted], bias).float()
        return torch.as_tensor(
            head(hidden)[:, wanted]
        ).float()  # an adapter over the output layer, or quantised weights
