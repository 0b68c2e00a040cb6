"""Early stopping: a slice of the training documents that is not learned from says when to stop, and what was best.

The holdout has no part in this: what is held out is judged once, by the gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from label_configs.drawing import is_holdout
from label_configs.records import VerifiedExample

BEST_FILE = "best.safetensors"
LOSS = "validation_loss"


def validation_split(
    examples: Sequence[VerifiedExample], share: float
) -> tuple[list[VerifiedExample], list[VerifiedExample]]:
    """The training documents to learn from, and those to validate on: about ``share``, drawn by document id.

    Silver documents are never validated on: no coder saw them.
    """
    drawn = [not e.silver and is_holdout(e.document_id, share, salt="winnow-validation") for e in examples]
    parts: tuple[list[VerifiedExample], list[VerifiedExample]] = ([], [])
    for example, validated in zip(examples, drawn, strict=True):
        parts[validated].append(example)
    return parts


class Validation(TrainerCallback):  # type: ignore[misc]  # transformers is not typed for us
    """Measures the loss on ``batches`` every so many steps, keeps the best weights, stops after ``patience`` failures.

    A failure is a loss that is not below the best before it. ``loss`` is a PromptLoss, ``batches`` are as ``Collator``
    makes them.
    """

    def __init__(
        self,
        loss: torch.nn.Module,
        batches: Sequence[Mapping[str, torch.Tensor]],
        every: int,
        patience: int,
        emit: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._loss, self._batches, self._every, self._patience, self._emit = loss, batches, every, patience, emit
        self._best: dict[str, torch.Tensor] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validate at an epoch's end."""
        del kwargs
        if not self._batches or state.global_step % self._every:
            return
        measured = broadcast(self._measured(args.device))  # all processes decide alike
        value = float(measured)
        before = [entry[LOSS] for entry in state.log_history if LOSS in entry]
        state.log_history.append({LOSS: value, "step": state.global_step})
        self._emit({"step": state.global_step, "steps": state.max_steps, LOSS: value})
        if value < min(before, default=math.inf):
            self._best = {name: weight.detach().cpu().clone() for name, weight in self._loss.state_dict().items()}
        losses = [*before, value]
        control.should_training_stop |= len(losses) - 1 - losses.index(min(losses)) >= self._patience

    @torch.no_grad()
    def _measured(self, device: torch.device) -> torch.Tensor:
        self._loss.eval()
        summed = torch.zeros((), device=device)
        for batch in self._batches:
            one = {name: tensor.to(device) for name, tensor in batch.items()}
            summed += self._loss(**one, total=torch.ones((), device=device))["loss"].float()
        self._loss.train()
        return summed / sum(float(batch["weights"].sum()) for batch in self._batches)

    def restore(self) -> None:
        """Give the model the best weights; nothing happens where nothing was validated."""
        if self._best:
            self._loss.load_state_dict(self._best)

    def save(self, folder: Path) -> None:
        """Write the best weights, if there are any. Raises OSError or SafetensorError."""
        if self._best:
            save_file(self._best, folder / BEST_FILE)

    def load(self, folder: Path) -> None:
        """Take the best weights from a checkpoint."""
        path = folder / BEST_FILE
        self._best = load_file(path) if path.exists() else {}
