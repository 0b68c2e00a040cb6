"""Fine-tune a LoRA adapter, and ask it and what it would replace about the holdout. Runs in a process of its own.

    python -m trainer.fit ROUND_FOLDER

reads ``plan.json`` and ``examples.jsonl``; prints progress as JSON lines; writes ``adapter/`` and, last,
``outcome.json``.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from label_configs.codebook import load_codebook
from label_configs.errors import TrainingError, WinnowError, reason
from label_configs.records import VerifiedExample
from ml_backend.atomic import write_atomically
from ml_backend.causal_model import can_share
from ml_backend.devices import device_facts, set_threads
from ml_backend.prompts import Prompt
from ml_backend.snapshot import read_examples
from trainer.base_model import load_trainable, resolved
from trainer.collate import Collator, SequenceDataset
from trainer.fit_plan import FitPlan
from trainer.judging import chosen, judge_holdout
from trainer.loss import SharedPrefixLoss, WholePromptLoss
from trainer.recipe import LoraRecipe, Precision, Quantization
from trainer.sequences import sequences

Emit = Callable[[Mapping[str, Any]], None]


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers is not typed for us
    """Says after each step how far the training has come."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._started = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report step, steps and the seconds that are left at this pace."""
        del args, control, kwargs
        pace = (time.monotonic() - self._started) / state.global_step
        left = pace * (state.max_steps - state.global_step)
        self._emit({"step": state.global_step, "steps": state.max_steps, "seconds_left": round(left, 1)})

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **kw: Any) -> None:
        """Report the loss, and stop at one that is no number."""
        del args, kw
        loss = (logs or {}).get("loss")
        if loss is not None:
            self._emit({"step": state.global_step, "steps": state.max_steps, "loss": loss})
            control.should_training_stop = control.should_training_stop or not math.isfinite(loss)


def train(
    model: Any, prompt: Prompt, examples: Sequence[VerifiedExample], recipe: LoraRecipe, folder: Path, emit: Emit
) -> float:
    """Train the adapter that ``model`` (a PeftModel) carries and return the last step's loss.

    Raises TrainingError when loss or weights are no longer finite.
    """
    rows = sequences(examples, prompt)
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=recipe.micro_batch_size,
        gradient_accumulation_steps=recipe.batch_size // recipe.micro_batch_size,
        num_train_epochs=recipe.epochs,
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
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        use_cpu=next(model.parameters()).device.type == "cpu",
    )
    loss = WholePromptLoss if recipe.gradient_checkpointing else SharedPrefixLoss
    trainer = Trainer(
        model=loss(model, prompt.prefix_ids),
        args=arguments,
        train_dataset=SequenceDataset(rows),
        data_collator=Collator(len(prompt.prefix_ids)),
        callbacks=[Progress(emit)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    finite = all(bool(torch.isfinite(p).all()) for p in model.parameters() if p.requires_grad)
    if not losses or not math.isfinite(losses[-1]) or not finite:
        raise TrainingError("the loss is no longer finite; lower learning_rate in the recipe, or use precision fp32")
    return float(losses[-1])


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter; the same weights give the same bytes, and so the same adapter id."""
    model.save_pretrained(str(folder), save_embedding_layers=False)  # else it asks the model hub
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])  # peft writes a set, in any order
    write_atomically(path, json.dumps(config, indent=2, sort_keys=True))


def run(folder: Path, emit: Emit) -> None:
    """The round in ``folder``, from plan to outcome. Raises WinnowError with what hinders it."""
    plan = FitPlan.read(folder)
    facts = device_facts()
    set_threads(plan.threads)
    recipe = resolved(plan.recipe, facts)
    set_seed(recipe.seed)
    codebook = load_codebook(plan.codebook)
    examples = read_examples(folder / "examples.jsonl")
    training = [e for e in examples if not e.holdout]
    holdout = [e for e in examples if e.holdout]
    emit({"stage": "load"})
    model, tokenizer = load_trainable(plan.base, recipe, facts)
    model.eval()
    if not can_share(model.get_base_model(), quantised=recipe.quantization is not Quantization.NONE):
        raise TrainingError(
            f"base {plan.base}: its layers cannot share a prompt's beginning, which training needs; use another base"
        )
    prompt = Prompt(recipe.prompt, codebook, tokenizer, recipe.max_document_tokens)
    emit({"stage": "train", "training": len(training)})
    started = time.monotonic()
    loss = train(model, prompt, training, recipe, folder, emit)
    seconds = time.monotonic() - started
    save_adapter(model, folder / "adapter")
    emit({"stage": "judge", "holdout": len(holdout)})
    judged = judge_holdout(model, prompt, holdout, plan, facts.token_budget)
    outcome = {
        "loss": loss,
        "training_seconds": round(seconds, 1),
        "device": facts.name,
        "precision": recipe.precision.value,
        "predictions": {who: [list(labels) for labels in chosen(codebook, rows)] for who, rows in judged.items()},
        "probabilities": judged,
    }
    write_atomically(folder / "outcome.json", json.dumps(outcome))
    emit({"stage": "done"})


def main() -> int:
    """Entry of the round's process: 0, or 2 with one JSON line that holds the error."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")

    def emit(progress: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(dict(progress)) + "\n")
        sys.stdout.flush()

    try:
        run(Path(sys.argv[1]), emit)
    except WinnowError as error:
        emit({"error": str(error)})
        return 2
    except torch.OutOfMemoryError as error:
        emit({"error": f"the device has too little memory ({reason(error)}); lower micro_batch_size in the recipe"})
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
