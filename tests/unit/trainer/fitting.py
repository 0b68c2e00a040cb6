"""A task so easy that a tiny model learns it in seconds, for tests of training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from label_configs.codebook import Code, Codebook, Kind, dump_codebook
from label_configs.records import VerifiedExample
from ml_backend.devices import DeviceFacts
from ml_backend.prompts import Prompt
from ml_backend.snapshot import write_examples
from trainer.base_model import load_trainable
from trainer.fit_plan import EXAMPLES_FILE
from trainer.recipe import LoraRecipe, Precision
from trainer.training import train

SHORT = str(Path(__file__).parent / "short.j2")  # so short that a tiny model finds the document in it
CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)
BOOK = Codebook(
    "small", Kind.EXCLUSIVE, (Code("s", "Ships", "About ships.", "ship"), Code("g", "Corn", "About corn.", "corn"))
)
QUICK = LoraRecipe(
    rank=8,
    alpha=32,
    learning_rate=1e-2,
    epochs=4,
    batch_size=8,
    micro_batch_size=8,
    max_document_tokens=32,
    precision=Precision.FP32,
    prompt=SHORT,
)


def make_loud_llama(tiny_llama: Path, folder: Path) -> Path:
    """The tiny model with embeddings so large that its logits can part two words."""
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(10)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return folder


def examples(number: int, *, holdout: bool = False) -> list[VerifiedExample]:
    """Documents of one letter, which gives the code away."""
    return [
        VerifiedExample(f"{'h' if holdout else 't'}{n}", "sg"[n % 2] * (20 + n % 5), ("sg"[n % 2],), ("c",), holdout)
        for n in range(number)
    ]


def silent(progress: Mapping[str, Any]) -> None:
    del progress


def trainable(base: Path, recipe: LoraRecipe) -> tuple[Any, Prompt]:
    """A base with a fresh adapter, and the prompt."""
    torch.manual_seed(recipe.seed)
    model, tokenizer = load_trainable(str(base), recipe, CPU)
    return model, Prompt(recipe.prompt, BOOK, tokenizer, recipe.max_document_tokens)


def fitted(base: Path, recipe: LoraRecipe, folder: Path, rows: list[VerifiedExample]) -> tuple[Any, Prompt, float]:
    """A model trained on ``rows``, its prompt and its last loss."""
    model, prompt = trainable(base, recipe)
    return model, prompt, train(model, prompt, rows, recipe, folder, silent)


def planned(
    folder: Path, base: Path, current: Path | None = None, recipe: LoraRecipe = QUICK, number: int = 32
) -> Path:
    """A round's folder as the job that supervises it leaves it: ``number`` documents to learn, ten held out."""
    folder.mkdir()
    plan = {
        "base": str(base),
        "recipe": asdict(recipe),
        "current": current.name if current else None,
        "current_folder": str(current) if current else None,
        "threads": 1,
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "codebook.yaml").write_text(dump_codebook(BOOK))
    write_examples(folder / EXAMPLES_FILE, [*examples(number), *examples(10, holdout=True)])
    return folder
