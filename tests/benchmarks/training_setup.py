"""What the training benchmark trains: documents with codes, prompts, and models with a fresh LoRA adapter."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from questions import REAL, questions
from scoring import prompt_of
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from label_configs.codebook import Codebook, load_codebook
from label_configs.records import VerifiedExample
from ml_backend.devices import DeviceFacts, device_facts
from ml_backend.prompts import Prompt
from trainer.base_model import resolved, weights_dtype
from trainer.recipe import LoraRecipe, load_recipe

CODED = REAL.with_name("cap_llama2_7b_ft_train_predictions.csv")
TOPICS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23)
"""The Comparative Agendas Project's numbers of the codebook's topics, in its order."""

SHAPES: dict[str, Callable[[], LlamaConfig]] = {
    "llama-7b": lambda: LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        max_position_embeddings=4096,
    ),
    "llama-3b": lambda: LlamaConfig(
        vocab_size=49152, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
        num_key_value_heads=8, max_position_embeddings=8192, tie_word_embeddings=True,
    ),
    "llama-1b": lambda: LlamaConfig(
        vocab_size=49152, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=8192, tie_word_embeddings=True,
    ),
}  # fmt: skip
"""Models of random weights that ``--shape`` makes: Llama 2's 7 billion parameters, and the like of Llama 3.2's two."""


@dataclass(frozen=True)
class Setup:
    """One measurement's model, prompt, examples and recipe; ``shape`` names random weights in place of ``model``'s."""

    model: Path
    shape: str | None
    prompt: Prompt
    examples: tuple[VerifiedExample, ...]
    recipe: LoraRecipe
    facts: DeviceFacts

    @classmethod
    def of(cls, model: Path, *, shape: str | None, batch: int, book_tokens: int | None, precision: str) -> Setup:
        """The 243-token prompt, or with ``book_tokens`` the same documents after a codebook of that many."""
        tokenizer = AutoTokenizer.from_pretrained(model)
        short = prompt_of(_Tokens(tokenizer))
        prompt = short if book_tokens is None else _long(short, book_tokens)
        facts = device_facts()
        recipe = replace(load_recipe("cpu-small"), batch_size=batch, micro_batch_size=batch, precision=precision)
        return cls(model, shape, prompt, _examples(short), resolved(recipe, facts), facts)

    def some(self, number: int) -> list[VerifiedExample]:
        """That many examples; where there are fewer, they come again."""
        return [self.examples[i % len(self.examples)] for i in range(number)]

    def base(self) -> Any:
        """The base model on the device, in the recipe's precision."""
        dtype = weights_dtype(self.recipe)
        torch.manual_seed(0)
        if self.shape:
            with torch.device(self.facts.kind):
                return AutoModelForCausalLM.from_config(SHAPES[self.shape](), dtype=dtype)
        return AutoModelForCausalLM.from_pretrained(self.model, dtype=dtype).to(self.facts.kind)

    @property
    def lora(self) -> LoraConfig:
        """The recipe's adapter."""
        recipe = self.recipe
        return LoraConfig(
            r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=0.0, target_modules="all-linear",
            task_type="CAUSAL_LM",
        )  # fmt: skip

    def adapted(self) -> Any:
        """The base with a fresh adapter, whose B is not zero: so no gradient is."""
        model = get_peft_model(self.base(), self.lora)
        torch.manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.02)
        return model.train()


@dataclass(frozen=True)
class _Tokens:
    """What ``prompt_of`` asks a model for."""

    tokenizer: Any


def _long(short: Prompt, tokens: int) -> Prompt:
    """A prompt with definitions whose codebook fills ``tokens``: CAP's topics and as many dimensions as it takes."""
    cap, other = load_codebook("cap"), load_codebook("flourishing")
    for more in range(len(other.codes) + 1):
        codes = cap.codes + tuple(replace(code, word=code.name) for code in other.codes[:more])
        book = Codebook("cap-long", cap.kind, codes, cap.instruction)
        prompt = Prompt("definitions", book, short.tokenizer, short.max_document_tokens)
        if len(prompt.prefix_ids) >= tokens:
            break
    return prompt


def _examples(prompt: Prompt) -> tuple[VerifiedExample, ...]:
    """Questions that fill the prompt, with their verified codes; where the data are absent, with any codes."""
    keys = prompt.codebook.label_keys
    if CODED.exists():
        with CODED.open(encoding="utf-8", newline="") as file:
            topic = {row["idOrig"].strip(): TOPICS.index(int(row["trueCat"])) for row in csv.DictReader(file)}
        with REAL.open(encoding="utf-8", newline="") as file:
            coded = [(row["text"], keys[topic[row["id"]]]) for row in csv.DictReader(file) if row["id"] in topic]
    else:
        coded = [(text, keys[i % len(keys)]) for i, text in enumerate(questions(256)[0])]
    return tuple(
        VerifiedExample(str(i), text, (code,), (), False)
        for i, (text, code) in enumerate(coded)
        if len(prompt.document_ids(text)[0]) == prompt.max_document_tokens
    )
