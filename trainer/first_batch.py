"""How many documents a training computes at a time at first: as many as memory is estimated to hold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from label_configs.errors import ModelError
from label_configs.records import VerifiedExample
from ml_backend.devices import DeviceFacts
from ml_backend.log_events import LogEvent, tell
from ml_backend.prompts import Prompt
from ml_backend.training_config import Negatives
from trainer.batches import row_length
from trainer.checkpoints import Checkpoints
from trainer.free_memory import free_memory
from trainer.memory_estimate import Plan, Tokens, gigabytes
from trainer.model_shape import ModelShape
from trainer.recipe import LoraRecipe
from trainer.sequences import sequences
from trainer.training import Emit

log = logging.getLogger(__name__)


def begin_with_what_fits(
    model: Any,
    prompt: Prompt,
    examples: Sequence[VerifiedExample],
    recipe: LoraRecipe,
    facts: DeviceFacts,
    checkpoints: Checkpoints,
    emit: Emit,
    *,
    negatives: Negatives = Negatives.ALL,
    free: int | None = None,
) -> None:
    """Log what training will take, and have it begin with smaller micro-batches where that is more than is free.

    A CPU's memory would else be found too small by the death of the process. ``model`` is loaded; ``free`` is in bytes,
    asked of the device where None. What was found before stays.
    """
    if free is None:
        free = torch.cuda.mem_get_info()[0] if facts.kind == "cuda" else free_memory()
    if free is None or checkpoints.micro_batch_size is not None:
        return
    try:
        shape = ModelShape.of_config(model.config.to_dict())
    except ModelError:
        return
    rows = sequences(examples, prompt, negatives=negatives, seed=recipe.seed)
    if not rows:
        return
    learned = max(sum(len(path) - start for path, start in row.paths) for row in rows)
    tokens = Tokens(len(prompt.prefix_ids), max(map(row_length, rows)), learned)
    plan = Plan(shape, recipe, tokens, facts.kind == "cuda", facts.bf16)
    estimate = plan.estimate()
    there = free + estimate.weights  # which are loaded, and so no longer free
    micro = max(1, plan.fitting(there))
    needed, known = gigabytes(estimate.total), gigabytes(there)
    tell(log, LogEvent.TRAINING_MEMORY, needed=needed, free=known, micro_batch_size=micro)
    if micro < recipe.micro_batch_size:
        emit({"note": f"training as the recipe says needs about {needed} of memory, {known} are free"})
        checkpoints.micro_batch_size = micro
