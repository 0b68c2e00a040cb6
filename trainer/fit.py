"""Fine-tune a LoRA adapter, and ask it and what it would replace about the holdout. Runs in a process of its own.

    python -m trainer.fit ROUND_FOLDER [REQUEST_ID]

reads ``plan.json``, ``codebook.yaml`` and ``examples.parquet``; prints progress as JSON lines; writes ``adapter/``,
which is whole or not there, and, last, ``outcome.json``. Started again on the same folder it goes on: from the newest
checkpoint, or, once there is an adapter, with asking. On several devices (``trainer.launching``) one process for each
does this; the first alone writes, tells and judges.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import set_seed

from label_configs.codebook import Codebook, load_codebook
from label_configs.errors import TrainingError, WinnowError, reason
from label_configs.records import VerifiedExample
from ml_backend.atomic import sync, write_atomically
from ml_backend.causal_model import can_share
from ml_backend.devices import DeviceFacts, device_facts, set_threads
from ml_backend.prompts import Prompt
from ml_backend.request_ids import under
from ml_backend.settings import load_settings
from ml_backend.snapshot import read_examples
from trainer.base_model import load_trainable, resolved
from trainer.checkpoints import Checkpoints
from trainer.first_batch import begin_with_what_fits
from trainer.fit_plan import EXAMPLES_FILE, FitPlan
from trainer.judging import chosen, judge_holdout
from trainer.logs import log_to_stderr
from trainer.recipe import LoraRecipe, Quantization
from trainer.tether import tie
from trainer.training import Emit, StartAgain, train

ADAPTER, TRAINED = "adapter", "trained.json"


def run(folder: Path, emit: Emit) -> None:
    """The round in ``folder``, from plan to outcome. Raises WinnowError with what hinders it."""
    plan = FitPlan.read(folder)
    facts = device_facts()
    processes = PartialState(cpu=facts.kind == "cpu")
    if not processes.is_main_process:
        emit = _silent
    threads = set_threads(plan.threads)
    recipe = resolved(plan.recipe, facts)
    codebook = load_codebook(plan.codebook)
    examples = read_examples(folder / EXAMPLES_FILE)
    if not (folder / ADAPTER).is_dir():
        training = [e for e in examples if not e.holdout]
        _fine_tune(folder, plan, recipe, codebook, training, facts, emit)
    if not processes.is_main_process:
        return
    emit({"stage": "judge", "holdout": sum(e.holdout for e in examples)})
    judged = judge_holdout(folder / ADAPTER, codebook, examples, plan, facts, lambda text: emit({"note": text}))
    outcome = {
        **json.loads((folder / TRAINED).read_text(encoding="utf-8")),
        "device": facts.name,
        "devices": processes.num_processes,
        "threads": threads,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": recipe.precision.value,
        "predictions": {who: [list(labels) for labels in chosen(codebook, rows)] for who, rows in judged.items()},
        "probabilities": judged,
    }
    write_atomically(folder / "outcome.json", json.dumps(outcome))
    emit({"stage": "done"})


def _fine_tune(
    folder: Path,
    plan: FitPlan,
    recipe: LoraRecipe,
    codebook: Codebook,
    training: Sequence[VerifiedExample],
    facts: DeviceFacts,
    emit: Emit,
) -> None:
    """Load, train, and leave the adapter and what the training came to; what was loaded is let go of."""
    emit({"stage": "load"})
    set_seed(recipe.seed)
    model, tokenizer = load_trainable(plan.base, recipe, facts)
    model.eval()
    if not can_share(model.get_base_model(), quantised=recipe.quantization is not Quantization.NONE):
        raise TrainingError(
            f"base {plan.base}: its layers cannot share a prompt's beginning, which training needs; use another base"
        )
    prompt = Prompt(recipe.prompt, codebook, tokenizer, recipe.max_document_tokens)
    checkpoints = Checkpoints(folder / "checkpoints")
    if plan.micro_batch_size is None and PartialState().is_main_process:
        begin_with_what_fits(model, prompt, training, recipe, facts, checkpoints, emit, negatives=plan.negatives)
    PartialState().wait_for_everyone()
    emit({"stage": "train", "training": len(training)})
    started = time.monotonic()
    loss = train(
        model,
        prompt,
        training,
        recipe,
        folder,
        emit,
        negatives=plan.negatives,
        balance=plan.balance,
        checkpoint_seconds=plan.checkpoint_seconds,
        micro_batch_size=plan.micro_batch_size,
    )
    if PartialState().is_main_process:
        trained = {
            "loss": loss,
            "training_seconds": round(time.monotonic() - started, 1),
            "micro_batch_size": checkpoints.micro_batch_size or plan.micro_batch_size or recipe.micro_batch_size,
            "resumed": checkpoints.resumed,
        }
        write_atomically(folder / TRAINED, json.dumps(trained))
        save_adapter(model, folder / ADAPTER)
        checkpoints.clear()


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter to ``folder``, which is whole or not there.

    The same weights give the same bytes, and so the same adapter id. Raises TrainingError when it cannot be written.
    """
    writing = folder.with_name(f".{folder.name}.writing")
    try:
        shutil.rmtree(writing, ignore_errors=True)
        model.save_pretrained(str(writing), save_embedding_layers=False)  # else it asks the model hub
        path = writing / "adapter_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["target_modules"] = sorted(config["target_modules"])  # peft writes a set, in any order
        path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        for file in (*writing.iterdir(), writing):
            sync(file)
        os.replace(writing, folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk's OSError
        raise TrainingError(
            f"{folder}: the adapter cannot be written ({reason(error)}); free some disk space"
        ) from None


def main() -> int:
    """Entry of the round's process: 0, or 2 with one JSON line that holds the error; 3 to be started again."""

    def emit(progress: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(dict(progress)) + "\n")
        sys.stdout.flush()

    launched = torch.distributed.is_torchelastic_launched()
    if launched:
        tie(os.getppid())  # the launcher may be killed without a word to its processes
    try:
        log_to_stderr(load_settings())
        with under(sys.argv[2:]):
            run(Path(sys.argv[1]), emit)
    except WinnowError as error:
        emit({"error": str(error)})
    except torch.OutOfMemoryError as error:
        emit({"error": f"the device has too little memory ({reason(error)}); lower micro_batch_size in the recipe"})
    except StartAgain:
        return 3  # the launcher starts all processes again
    else:
        return 0
    if launched:
        os.kill(os.getppid(), signal.SIGTERM)  # else the launcher would start all again, to meet the same error
    return 2


def _silent(progress: Mapping[str, Any]) -> None:
    del progress


if __name__ == "__main__":
    sys.exit(main())
