"""The training benchmark's rows: the same optimiser steps by TRL, by whole prompts, and by Winnow."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from training_setup import Setup
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from trainer.collate import IGNORED
from trainer.recipe import Precision
from trainer.sequences import sequences
from trainer.training import train

Row = Callable[[int], list[float]]
"""Takes that many optimiser steps; gives the seconds of each but the first, which warms up."""


class Clock(TrainerCallback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note it once the device is done."""
        del args, state, control, kwargs
        self.tick()

    def tick(self) -> None:
        """Note the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Between two ends."""
        return [after - before for before, after in pairwise(self.ends)]


def winnow(setup: Setup) -> Row:
    """What a round does."""
    model = setup.adapted()

    def run(steps: int) -> list[float]:
        clock = Clock()

        def emit(progress: Mapping[str, Any]) -> None:
            if "seconds_left" in progress:
                clock.tick()

        once(setup, model, steps, emit)
        return clock.seconds

    return run


def once(setup: Setup, model: Any, steps: int, emit: Callable[[Mapping[str, Any]], None]) -> None:
    """One pass of Winnow's own training over ``steps`` batches."""
    recipe = replace(setup.recipe, epochs=1)
    with tempfile.TemporaryDirectory() as folder:
        train(model, setup.prompt, setup.some(steps * recipe.batch_size), recipe, Path(folder), emit)


def trl(setup: Setup, **settings: Any) -> Row:
    """SFTTrainer over prompts and completions, as a user would write it; ``settings`` of SFTConfig beyond that."""
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    prompt, tokenizer = setup.prompt, setup.prompt.tokenizer
    model = setup.base()

    def run(steps: int) -> list[float]:
        examples = setup.some(steps * setup.recipe.batch_size)
        rows = [
            {
                "prompt": tokenizer.decode([*prompt.prefix_ids, *prompt.document_ids(e.text)[0], *prompt.tails[0]]),
                "completion": prompt.codebook.label(e.labels[0]).word,
            }
            for e in examples
        ]
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            trainer = SFTTrainer(
                model=model,
                args=SFTConfig(**common(setup, folder), max_length=None, completion_only_loss=True, **settings),
                train_dataset=Dataset.from_list(rows),
                processing_class=tokenizer,
                peft_config=setup.lora,
                callbacks=[clock],
            )
            _quiet(trainer)
            trainer.train()
            trainer.model.unload()  # the next run puts its own adapter on the base
        return clock.seconds

    return run


class WholeLast(torch.nn.Module):
    """Whole prompts, padded; logits where a token is learned and nowhere else."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, targets: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """``{"loss": scalar}``, the mean over the learned tokens."""
        causal = self.model.get_base_model()
        hidden = causal.base_model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        learned = targets != IGNORED
        logits = causal.get_output_embeddings()(hidden[learned]).float()
        return {"loss": torch.nn.functional.cross_entropy(logits, targets[learned])}


def whole_last(setup: Setup) -> Row:
    """Whole prompts through transformers' own Trainer."""
    model = WholeLast(setup.adapted())

    def run(steps: int) -> list[float]:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model=model,
                args=TrainingArguments(**common(setup, folder), remove_unused_columns=False),
                train_dataset=whole(setup, steps * setup.recipe.batch_size),
                data_collator=padded,
                callbacks=[clock],
            )
            _quiet(trainer)
            trainer.train()
        return clock.seconds

    return run


def whole(setup: Setup, number: int) -> list[tuple[list[int], int]]:
    """Tokens of whole prompts with their answers, and where the answer begins."""
    prompt, rows = setup.prompt, []
    for row in sequences(setup.some(number), setup.prompt):
        [(path, start)] = row.paths
        ids = [*prompt.prefix_ids, *row.document, *path]
        rows.append((ids, len(ids) - len(path) + start))
    return rows


def padded(rows: Sequence[tuple[list[int], int]]) -> dict[str, torch.Tensor]:
    """``input_ids``, ``attention_mask`` and ``targets`` [batch, tokens]; the last token of an answer is no input."""
    longest = max(len(ids) for ids, _ in rows) - 1
    inputs = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, targets = torch.zeros_like(inputs), torch.full_like(inputs, IGNORED)
    for i, (ids, start) in enumerate(rows):
        inputs[i, : len(ids) - 1] = torch.tensor(ids[:-1])
        mask[i, : len(ids) - 1] = 1
        targets[i, start - 1 : len(ids) - 1] = torch.tensor(ids[start:])
    return {"input_ids": inputs, "attention_mask": mask, "targets": targets}


def gradient_difference(setup: Setup) -> float:
    """Norm of the difference of the adapter's gradients, Winnow's against whole prompts', over the latter's norm.

    Winnow's are caught on their way to the optimiser in a training of one step.
    """
    model = setup.adapted()
    trained = [p for p in model.parameters() if p.requires_grad]
    batch = {k: v.to(setup.facts.kind) for k, v in padded(whole(setup, setup.recipe.batch_size)).items()}
    WholeLast(model)(**batch)["loss"].backward()
    expected = torch.cat([p.grad.flatten() for p in trained])
    model.zero_grad()
    found = [torch.zeros_like(p) for p in trained]

    def noting(total: torch.Tensor) -> Callable[[torch.Tensor], None]:
        def note(gradient: torch.Tensor) -> None:
            total.add_(gradient)

        return note

    hooks = [p.register_hook(noting(total)) for p, total in zip(trained, found, strict=True)]
    once(setup, model, 1, lambda progress: None)
    for hook in hooks:
        hook.remove()
    difference = torch.cat([total.flatten() for total in found]) - expected
    return float(difference.norm() / expected.norm())


def common(setup: Setup, folder: str) -> dict[str, Any]:
    """The hyper-parameters that all rows share, by transformers' names."""
    recipe = setup.recipe
    return {
        "output_dir": folder,
        "per_device_train_batch_size": recipe.batch_size,
        "num_train_epochs": 1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.scheduler.value,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "optim": recipe.optimizer.value,
        "seed": recipe.seed,
        "bf16": recipe.precision is Precision.BF16,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "use_cpu": setup.facts.kind == "cpu",
    }


def _quiet(trainer: Trainer) -> None:
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)


ROWS: dict[str, Callable[[Setup], Row]] = {
    "trl": trl,
    "trl_no_checkpointing": lambda setup: trl(setup, gradient_checkpointing=False),
    "whole_last": whole_last,
    "winnow": winnow,
}
