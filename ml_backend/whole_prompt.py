"""Scores by reading every whole prompt: slow, right for any causal model, and what the fast way is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml_backend.prompts import Prompt
from ml_backend.token_tree import Path

ROWS = 16  # whole prompts of one forward pass; all of them are equally long, so nothing is padded


@torch.inference_mode()
def whole_prompt_answers(model: Any, prompt: Prompt, documents: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """For each question the probabilities ``[documents, answers]``, by one forward pass over each whole prompt."""
    wanted: dict[tuple[int, Path], list[int]] = {}
    for row, document in enumerate(documents):
        for paths in prompt.reads:
            for path in paths:
                wanted[row, path] = [*prompt.prefix_ids, *document, *path]
    last = _last_logits(model, list(wanted.values()))
    logits = dict(zip(wanted, last, strict=True))
    answers = []
    for tail, trie in zip(prompt.tails, prompt.tries, strict=True):
        found = {
            at: np.stack(
                [
                    torch.log_softmax(logits[row, tail + at][list(tokens)].double(), 0).cpu().numpy()
                    for row in range(len(documents))
                ]
            )
            for at, tokens in trie.branches.items()
        }
        answers.append(trie.combine(found))
    return answers


def _last_logits(model: Any, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Logits ``[vocabulary]`` after each prompt, in order."""
    by_length: dict[int, list[int]] = {}
    for i, ids in enumerate(prompts):
        by_length.setdefault(len(ids), []).append(i)
    found: dict[int, torch.Tensor] = {}
    for rows in by_length.values():
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            batch = torch.tensor([list(prompts[i]) for i in part], device=model.device)
            logits = model(input_ids=batch, use_cache=False, logits_to_keep=1).logits[:, -1].float()
            found.update(zip(part, logits, strict=True))
    return [found[i] for i in range(len(prompts))]
