"""Probabilities of labels under a causal language model: nothing is generated, nothing is parsed.

A prompt's prefix is computed once; a document and all questions about it are one pass, in which the questions share the
document (``token_tree``) and the output layer is computed only where, and for the tokens of which, an answer is read
(``label_trie``). Several prompts with the same prefix share the document too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Cache

from label_configs.errors import ModelError
from ml_backend.layout import Layout, over_prefix, prefix_cache, to_device, with_documents
from ml_backend.log_events import LogEvent, tell
from ml_backend.logits import logits_of
from ml_backend.prompts import Prompt
from ml_backend.questions import label_probabilities
from ml_backend.token_tree import Path, TokenTree, common_beginning, trees_of
from ml_backend.whole_prompt import whole_prompt_answers

log = logging.getLogger(__name__)

TREE_NODES = 96  # measured on 46 questions: fewer make the products small, more make attention large
CACHED = 4  # tokens held in the cache for each token computed in a batch, at most
PAIRS = 16_000  # pairs of tokens in a batch's attention mask for each token of the budget, at most
CONTENT_FREE = ("N/A", "", "[MASK]")  # the documents without content of Zhao et al. (2021), arXiv 2102.09690

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """One document's probabilities ``[labels]``, tokens computed for it, tokens left out, its share of seconds."""

    probabilities: Floats
    tokens: int
    truncated: int
    seconds: float


def share_a_pass(prompt: Prompt, other: Prompt) -> bool:
    """Whether two prompts of one tokenizer differ only in what follows the document."""
    if callable(prompt.shots) or callable(other.shots) or prompt.max_document_tokens != other.max_document_tokens:
        return False
    # Any document shows whether the same spaces stand at its head.
    return prompt.prefix_ids == other.prefix_ids and prompt.document_ids("x") == other.document_ids("x")


class CausalScorer:
    """Scores documents with one model in the state that ``model`` is in (base, or an adapter active).

    ``prompts`` share their prefix (``share_a_pass``), which is computed at the first batch and kept: a scorer belongs
    to one adapter. ``token_budget`` bounds the tokens of a pass: documents × (longest document + questions), and four
    times as much what the cache holds. Questions that fill more than ``tree_nodes`` are asked in several passes over
    the documents' cache. A pass that does not fit the memory is halved, and so is the budget from then on. ``shared``
    False reads every whole prompt instead, for models that cannot share a prefix.
    """

    def __init__(
        self,
        model: Any,
        prompts: Prompt | Sequence[Prompt],
        *,
        token_budget: int = 2048,
        tree_nodes: int = TREE_NODES,
        shared: bool = True,
    ) -> None:
        self.model = model
        self.prompts = (prompts,) if isinstance(prompts, Prompt) else tuple(prompts)
        self.token_budget = token_budget
        self._shared = shared
        questions = [paths for p in self.prompts for paths in p.reads]
        self._common = common_beginning([path for paths in questions for path in paths])
        start = len(self._common)
        self._trees = trees_of([[path[start:] for path in paths] for paths in questions], tree_nodes)
        self._nodes, self._tokens, self._columns = _reads(self.prompts)
        self._prefix: Cache | None = None

    def score(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> list[Scored]:
        """Score ``texts`` with the first prompt; results are in their order."""
        return self.score_all(texts, on_batch)[0]

    @torch.inference_mode()
    def score_all(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> list[list[Scored]]:
        """For each prompt the scored ``texts``, in their order; ``on_batch`` hears how many were just done.

        A document's tokens and seconds are those of the pass, divided among the prompts that shared it.
        """
        documents = [self._document(text) for text in texts]
        results: list[list[Scored | None]] = [[None] * len(texts) for _ in self.prompts]
        batches = self._batches([len(ids) for ids, _ in documents])
        while batches:
            rows = batches.pop()
            started = time.perf_counter()
            try:
                made = self._answers([documents[i][0] for i in rows])
            except (torch.OutOfMemoryError, RuntimeError) as error:
                batches += self._halved(rows, error)
                continue
            seconds = (time.perf_counter() - started) / len(rows) / len(self.prompts)
            for own, prompt, answers in zip(results, self.prompts, made, strict=True):
                probabilities = label_probabilities(prompt.codebook, prompt.questions, answers)
                for row, i in enumerate(rows):
                    tokens = (len(documents[i][0]) + sum(map(len, self._trees))) // len(self.prompts)
                    own[i] = Scored(probabilities[row], tokens, documents[i][1], seconds)
            if on_batch:
                on_batch(len(rows))
        return [[r for r in own if r is not None] for own in results]

    @torch.inference_mode()
    def content_free(self) -> list[Floats]:
        """For each prompt the mean probabilities ``[labels]`` of documents without content."""
        made = self._answers([self._document(text)[0] for text in CONTENT_FREE])
        return [
            label_probabilities(prompt.codebook, prompt.questions, answers).mean(axis=0)
            for prompt, answers in zip(self.prompts, made, strict=True)
        ]

    def _document(self, text: str) -> tuple[list[int], int]:
        """The document's tokens with those that every question begins with, and how many were left out."""
        ids, cut = self.prompts[0].document_ids(text)
        return ([*ids, *self._common], cut) if self._shared else (ids, cut)

    def _batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Indices of documents of similar length, each batch within the token budget; the longest come last."""
        batches: list[list[int]] = []
        tree, prefix = max(map(len, self._trees)), len(self.prompts[0].prefix_ids)
        for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
            if batches:
                rows, longest = len(batches[-1]) + 1, lengths[batches[-1][0]]
                width = longest + tree if len(self._trees) == 1 else max(longest, tree)
                held = prefix + longest + tree
                if (
                    max(rows * width, rows * held // CACHED) <= self.token_budget
                    and rows * width * held <= self.token_budget * PAIRS
                ):
                    batches[-1].append(i)
                    continue
            batches.append([i])
        return batches[::-1]

    def _halved(self, rows: list[int], error: Exception) -> list[list[int]]:
        """Two batches in place of one that did not fit the memory; raises ``error`` where it is another one."""
        if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
            raise error
        if len(rows) == 1:
            raise ModelError(
                "the device has too little memory for one document; lower max_document_tokens of the source"
            ) from None
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        self.token_budget = max(1, self.token_budget // 2)
        tell(log, LogEvent.BATCH_HALVED, documents=len(rows), token_budget=self.token_budget)
        half = len(rows) // 2
        return [rows[half:], rows[:half]]

    def _answers(self, documents: Sequence[Sequence[int]]) -> list[list[Floats]]:
        """For each prompt and question the probabilities ``[documents, answers]``."""
        if not self._shared:
            return [whole_prompt_answers(self.model, prompt, documents) for prompt in self.prompts]
        logits = self._logits(documents)
        made = []
        for prompt in self.prompts:
            answers = []
            for tail, trie in zip(prompt.tails, prompt.tries, strict=True):
                found = {at: self._log_softmax(logits, tail + at, tokens) for at, tokens in trie.branches.items()}
                answers.append(trie.combine(found) if found else np.ones((len(documents), 1)))
            made.append(answers)
        return made

    def _log_softmax(self, logits: torch.Tensor, path: Path, tokens: Sequence[int]) -> Floats:
        columns = [self._columns[token] for token in tokens]
        chosen = logits[:, self._nodes[path], columns]
        return np.asarray(torch.log_softmax(chosen.double(), 1).numpy())

    def _logits(self, documents: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits ``[documents, reads, tokens read]`` on the CPU."""
        model, prefix = self.model, self.prompts[0].prefix_ids
        if self._prefix is None:
            ids = torch.tensor([prefix], dtype=torch.long, device=model.device)
            self._prefix = prefix_cache(model.base_model, ids)
        return logits_of(model, self._hidden(documents, self._prefix, len(prefix)), self._tokens).cpu()

    def _hidden(self, documents: Sequence[Sequence[int]], prefix: Cache, length: int) -> torch.Tensor:
        """Last hidden states ``[documents, reads, size]``: in one pass, or tree by tree over the documents' cache."""
        backbone, device = self.model.base_model, self.model.device
        if len(self._trees) == 1:
            [tree] = self._trees
            layout = to_device(Layout.of(documents, [tree] * len(documents), length), device)
            nodes = [layout.width + tree.nodes[path[len(self._common) :]] for path in self._nodes]
            return over_prefix(backbone, prefix, layout)[:, nodes]
        alone = to_device(Layout.of(documents, [TokenTree.build(())] * len(documents), length), device)
        cache = with_documents(backbone, prefix, alone)
        read: dict[Path, torch.Tensor] = {}
        for tree in self._trees:
            layout = to_device(Layout.after([len(ids) for ids in documents], tree, length), device)
            hidden = over_prefix(backbone, cache, layout)
            for path in self._nodes:
                if (node := tree.nodes.get(path[len(self._common) :])) is not None:
                    read[path] = hidden[:, node]
        return torch.stack([read[path] for path in self._nodes], dim=1)


def _reads(prompts: Sequence[Prompt]) -> tuple[dict[Path, int], list[int], dict[int, int]]:
    """Where branches are read (path -> row), which tokens are read there, and the column of each."""
    nodes: dict[Path, int] = {}
    columns: dict[int, int] = {}
    for prompt in prompts:
        for tail, trie in zip(prompt.tails, prompt.tries, strict=True):
            for at, tokens in trie.branches.items():
                nodes.setdefault(tail + at, len(nodes))
                for token in tokens:
                    columns.setdefault(token, len(columns))
    return nodes, list(columns), columns
