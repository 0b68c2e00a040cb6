"""The training of an adapter: steps over shared-prefix batches, which may be broken off and taken up again."""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from label_configs.errors import TrainingError, reason
from label_configs.records import VerifiedExample
from ml_backend.prompts import Prompt
from ml_backend.training_config import Balance, Negatives
from trainer.batches import MicroBatches, accumulation_of, row_length, steps_of
from trainer.checkpoints import Checkpoints, Keeping
from trainer.collate import Collator
from trainer.loss import SharedPrefixLoss
from trainer.recipe import LoraRecipe, Precision
from trainer.sequences import Sequenced, sequences
from trainer.stopping import Stopping
from trainer.validation import Validation, validation_split

Emit = Callable[[Mapping[str, Any]], None]

CHECKPOINT_SECONDS = 60.0
NOT_FINITE = "the loss is no longer finite; lower learning_rate in the recipe, or use precision fp32"


class StartAgain(Exception):
    """All processes of a training have to start again, with the smaller micro-batches that one of them left word of."""


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers is not typed for us
    """Says after each step how far the training has come, and stops one whose loss is no number."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._started, self._first = time.monotonic(), 0
        self.updating = False  # whether weights and optimiser may hold half a step

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, at whatever step."""
        del args, control, kwargs
        self._started, self._first = time.monotonic(), state.global_step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The weights change from here on."""
        del args, state, control, kwargs
        self.updating = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The step is whole."""
        del args, state, control, kwargs
        self.updating = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **kw: Any) -> None:
        """Report step, steps, loss and the seconds that are left at this process's pace."""
        del args, kw
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        pace = (time.monotonic() - self._started) / max(1, state.global_step - self._first)
        left = round(pace * (state.max_steps - state.global_step), 1)
        self._emit({"step": state.global_step, "steps": state.max_steps, "loss": loss, "seconds_left": left})
        if not math.isfinite(loss):
            control.should_training_stop, control.should_save = True, False


class RoundTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer over batches that are laid out beforehand, with checkpoints that are whole or not there."""

    def __init__(self, checkpoints: Checkpoints, validation: Validation, progress: Progress, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._checkpoints, self.validation, self._progress = checkpoints, validation, progress
        for callback in (progress, validation):
            self.add_callback(callback)
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[dict[str, torch.Tensor]]:
        """This process's micro-batches in their order; they need no further dealing out."""
        return torch.utils.data.DataLoader(self.train_dataset, batch_size=1, collate_fn=_only)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter's weights, as they are and as they were best."""
        del _internal_call
        if self.args.should_save:
            folder = Path(str(output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            save_file(self.model.state_dict(), folder / "model.safetensors")
            self.validation.save(folder)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        step = self.state.global_step
        try:
            super()._save_checkpoint(*args, **kwargs)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self._checkpoints.publish(step)
        except torch.OutOfMemoryError:
            raise
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap a full disk's OSError
            raise TrainingError(
                f"{self._checkpoints.folder}: the checkpoint of step {step} cannot be written ({reason(error)}); "
                "free some disk space"
            ) from None

    def keep(self) -> None:
        """Write a checkpoint of the last whole step, if there is one, none is half done, and this is one process."""
        if self.state.global_step and not self._progress.updating and self.args.world_size == 1:
            self._save_checkpoint(self.model, None)

    def compute_loss(self, model: Any, inputs: Mapping[str, torch.Tensor], *args: Any, **kwargs: Any) -> torch.Tensor:
        """A micro-batch's part of the step's loss, which is the parts' sum.

        It is multiplied by what it is divided by afterwards, as if it were a mean: by the micro-batches of a step, and
        by the processes, whose gradients are averaged.
        """
        del args, kwargs
        loss = torch.as_tensor(model(**inputs)["loss"])
        return loss * int(self.args.world_size * self.args.gradient_accumulation_steps)


def train(
    model: Any,
    prompt: Prompt,
    examples: Sequence[VerifiedExample],
    recipe: LoraRecipe,
    folder: Path,
    emit: Emit,
    *,
    negatives: Negatives = Negatives.ALL,
    balance: Balance = Balance.NONE,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    micro_batch_size: int | None = None,
) -> float:
    """Train the adapter that ``model`` (a PeftModel) carries and return the loss of the last step.

    Goes on from the newest whole checkpoint in ``folder``, and writes one about every ``checkpoint_seconds``. Where the
    device's memory is too small, micro-batches are halved, which a note says; ``micro_batch_size`` documents they hold
    at first, by default as many as the recipe says. Raises TrainingError when loss or weights
    are no longer finite, when one document at a time is too much, or when a checkpoint cannot be written. Raises
    StartAgain where memory was too small for one of several processes.
    """
    learned, validated = validation_split(examples, recipe.validation_share)
    rows = sequences(learned, prompt, negatives=negatives, balance=balance, seed=recipe.seed)
    if not rows:
        raise TrainingError("no training document has a label to learn; verify more documents")
    loss = SharedPrefixLoss(model, prompt.prefix_ids, recompute=recipe.gradient_checkpointing)
    checkpoints = Checkpoints(folder / "checkpoints")
    attempt = _Attempt(loss, rows, sequences(validated, prompt), recipe, checkpoints, emit)
    processes = PartialState().num_processes
    most = min(micro_batch_size or recipe.micro_batch_size, math.ceil(recipe.batch_size / processes))
    while True:
        micro = checkpoints.micro_batch_size or most
        trainer = attempt.trainer(micro, checkpoint_seconds)
        trouble = attempt.run(trainer)
        if not trouble:
            break
        del trainer
        if micro == 1:
            raise TrainingError(
                f"the device has too little memory for one document ({trouble}); lower max_document_tokens, or set "
                "gradient_checkpointing: true or quantization: nf4, in the recipe"
            )
        checkpoints.micro_batch_size = micro // 2
        if processes > 1:
            raise StartAgain(trouble)
        gc.collect()
        torch.cuda.empty_cache()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    finite = all(bool(torch.isfinite(p).all()) for p in model.parameters() if p.requires_grad)
    if not losses or not math.isfinite(losses[-1]) or not finite:
        raise TrainingError(NOT_FINITE)
    trainer.validation.restore()
    return float(losses[-1])


class _Attempt:
    """What stays the same when a training is tried again with smaller micro-batches.

    ``rows`` are learned, those of ``validated`` validated on.
    """

    def __init__(
        self,
        loss: SharedPrefixLoss,
        rows: Sequence[Sequenced],
        validated: Sequence[Sequenced],
        recipe: LoraRecipe,
        checkpoints: Checkpoints,
        emit: Emit,
    ) -> None:
        self._loss, self._rows, self._recipe, self._emit = loss, rows, recipe, emit
        self._validated = sorted(validated, key=row_length)
        self._collator = Collator(loss.prefix_length)
        self._checkpoints = checkpoints
        self._steps = steps_of(len(rows), recipe.batch_size, recipe.epochs, recipe.seed)

    def trainer(self, micro: int, checkpoint_seconds: float) -> RoundTrainer:
        """A trainer whose micro-batches hold ``micro`` documents at most."""
        use_cpu = next(self._loss.parameters()).device.type == "cpu"
        arguments = training_arguments(self._recipe, self._checkpoints.writing, use_cpu=use_cpu)
        process, processes = arguments.process_index, arguments.world_size
        accumulation = accumulation_of(self._recipe.batch_size, micro, processes)
        arguments.gradient_accumulation_steps = accumulation
        trainer = RoundTrainer(
            self._checkpoints,
            self._validation(micro),
            Progress(self._emit),
            model=self._loss,
            args=arguments,
            train_dataset=MicroBatches(self._rows, self._collator, self._steps, accumulation, process, processes),
            callbacks=[Keeping(checkpoint_seconds), Stopping()],
        )
        set_seed(self._recipe.seed + process)  # each process drops out other activations
        return trainer

    def run(self, trainer: RoundTrainer) -> str:
        """Train to the end, from the newest checkpoint; "" or, where memory ran out, what torch said of it."""
        newest = self._checkpoints.newest(self._note)
        if (found := self._checkpoints.micro_batch_size) is not None:
            self._note(f"the device has too little memory for the recipe; micro_batch_size is {found} from here on")
        if newest is not None:
            self._note(f"training goes on from {newest.name}")
            trainer.validation.load(newest)
        if trainer.args.should_save:
            if newest is not None:
                self._checkpoints.going_on(newest)
            shutil.rmtree(self._checkpoints.writing, ignore_errors=True)  # what an earlier process left half-written
        try:
            trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        except torch.OutOfMemoryError as error:
            trainer.keep()
            return reason(error)
        return ""

    def _validation(self, micro: int) -> Validation:
        rows = self._validated
        batches = [self._collator(rows[at : at + micro]) for at in range(0, len(rows), micro)]
        every = len(self._steps) // self._recipe.epochs
        return Validation(self._loss, batches, every, self._recipe.patience, self._emit)

    def _note(self, text: str) -> None:
        self._emit({"note": text})


def training_arguments(recipe: LoraRecipe, folder: Path, *, use_cpu: bool) -> TrainingArguments:
    """A recipe as transformers' Trainer takes it; all epochs are one, laid out beforehand."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=recipe.micro_batch_size,
        num_train_epochs=1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.scheduler.value,
        warmup_steps=recipe.warmup_ratio,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim=recipe.optimizer.value,
        seed=recipe.seed,
        bf16=recipe.precision is Precision.BF16,
        fp16=recipe.precision is Precision.FP16,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would report a finite loss in place of NaN
        save_strategy="no",  # ``Keeping`` says when
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        disable_tqdm=True,
        use_cpu=use_cpu,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs have a process each, never one that deals out to threads
    return arguments


def _only(batches: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    [batch] = batches
    return batch
