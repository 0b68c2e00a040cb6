"""Seconds per step and peak memory of the GPU recipes on models of random weights: needs a CUDA device.

    python tests/benchmarks/gpu_memory.py

Llama 2's shape of 7 billion parameters by ``gpu-7b-qlora``, one of 3 billion by ``gpu-3b``, both made on the device:
time and memory do not depend on what the weights are. Documents of 113 tokens (the 243-token prompt) and of 1,024; the
codebook's 124 tokens stand before each. Micro-batches of the recipe's size, halved where they do not fit. Prints one
JSON object last: for each, seconds per optimiser step, seconds per document and peak memory, beside it that of the
weights alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from training_setup import SHAPES, Setup
from transformers import AutoModelForCausalLM

from ml_backend.prompts import Prompt
from trainer.base_model import quantization, resolved, weights_dtype
from trainer.recipe import LoraRecipe, Precision, load_recipe
from trainer.training import train

RECIPES = {"gpu-7b-qlora": "llama-7b", "gpu-3b": "llama-3b"}
DOCUMENT_TOKENS = (113, 1024)
STEPS = 4  # the first is not counted


def base_model(recipe: LoraRecipe, setup: Setup, shape: str) -> Any:
    """The base of random weights on the device, held as the recipe has it."""
    torch.manual_seed(0)
    config, bits = SHAPES[shape](), quantization(recipe)
    config.vocab_size = max(config.vocab_size, len(setup.prompt.tokenizer))
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config, dtype=weights_dtype(recipe))
    if bits is None:
        return model
    _quantise(model, bits.bnb_4bit_compute_dtype)
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def _quantise(model: Any, compute: torch.dtype) -> None:
    """Put NF4 in place of every linear layer but the last, as transformers does when it loads weights."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    model.is_loaded_in_4bit = True
    for name, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear) or name == "lm_head":
            continue
        made = Linear4bit(
            module.in_features, module.out_features, bias=False, compute_dtype=compute, compress_statistics=True,
            quant_type="nf4", device="meta",
        )  # fmt: skip
        made.weight = Params4bit(
            module.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
        ).to("cuda")
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, made)
        module.weight = None


def measured(name: str, shape: str, tokens: int, model_folder: Path) -> dict[str, Any]:
    """One recipe at one length of document."""
    setup = Setup.of(model_folder, shape=shape, batch=8, book_tokens=None, precision=Precision.BF16)
    recipe = replace(
        resolved(load_recipe(name), setup.facts), epochs=1, validation_share=0.0, max_document_tokens=tokens
    )
    model = base_model(recipe, setup, shape)
    tuned = get_peft_model(
        model,
        LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout, target_modules="all-linear",
                   task_type="CAUSAL_LM"),
    )  # fmt: skip
    torch.cuda.synchronize()
    weights = torch.cuda.memory_allocated()
    prompt = Prompt(setup.prompt.name, setup.prompt.codebook, setup.prompt.tokenizer, tokens)
    examples = [replace(e, text=f"{e.text} " * (1 + 2000 // 113)) for e in setup.some(STEPS * recipe.batch_size)]
    ends: list[float] = []
    notes: list[str] = []

    def emit(progress: Mapping[str, Any]) -> None:
        if "seconds_left" in progress:
            torch.cuda.synchronize()
            ends.append(time.perf_counter())
        if "note" in progress:
            notes.append(progress["note"])

    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        train(tuned, prompt, examples, recipe, Path(folder), emit)
    seconds = median(after - before for before, after in pairwise(ends))
    return {
        "recipe": name, "shape": shape, "document_tokens": tokens, "prefix_tokens": len(prompt.prefix_ids),
        "batch_size": recipe.batch_size, "micro_batch_size": recipe.micro_batch_size,
        "seconds_per_step": round(seconds, 3), "seconds_per_document": round(seconds / recipe.batch_size, 4),
        "weights_mb": round(weights / 1e6), "peak_mb": round(torch.cuda.max_memory_allocated() / 1e6), "notes": notes,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(".demo/models/smollm2"), help="whose tokenizer is used")
    parser.add_argument("--recipes", nargs="+", choices=sorted(RECIPES), default=sorted(RECIPES))
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device; run it on a machine with one")
    found = []
    for name in arguments.recipes:
        for tokens in DOCUMENT_TOKENS:
            found.append(measured(name, RECIPES[name], tokens, arguments.model))
            sys.stderr.write(f"{found[-1]}\n")
            gc.collect()
            torch.cuda.empty_cache()
    sys.stdout.write(json.dumps({"rows": found, "device": torch.cuda.get_device_name(), "torch": torch.__version__}))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
