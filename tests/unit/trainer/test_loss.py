"""Sharing the prefix changes the cost of a step, not the step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import VerifiedExample
from ml_backend.prompts import Prompt
from ml_backend.scoring import trie_of
from trainer.collate import Sequenced, collate, sequences
from trainer.loss import PromptLoss, SharedPrefixLoss, WholePromptLoss

TEXTS = ["wheat", "a tanker left the port of Rotterdam", "x" * 60, "rails"]
BOOK = Codebook(
    "small",
    Kind.EXCLUSIVE,
    (Code("s", "S", "Ships.", "ship"), Code("t", "T", "Freight.", "shipping"), Code("g", "G", "Wheat.", "grain")),
)


@pytest.fixture
def prompt(tiny_llama: Path) -> Prompt:
    return Prompt("definitions", BOOK, AutoTokenizer.from_pretrained(tiny_llama))


@pytest.fixture
def rows(prompt: Prompt) -> list[Sequenced]:
    examples = [VerifiedExample("d", text, (key,), (), False) for text, key in zip(TEXTS, "gstg", strict=True)]
    return sequences(examples, prompt, trie_of(prompt))


@pytest.fixture
def model(tiny_llama: Path) -> Any:
    torch.manual_seed(0)
    tuned: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_llama),
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return tuned


def by_whole_prompts(model: Any, prompt: Prompt, rows: list[Sequenced]) -> torch.Tensor:
    """The causal model's own logits over each whole prompt, one at a time, without padding."""
    terms = []
    for row in rows:
        ids = torch.tensor([[*prompt.prefix_ids, *row.suffix, *row.label]])
        logits = model(input_ids=ids).logits[0, -len(row.label) - 1 : -1]
        terms.append(torch.nn.functional.cross_entropy(logits, torch.tensor(row.label), reduction="sum"))
    return torch.stack(terms).sum() / sum(len(row.label) for row in rows)


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert len(found) == 2 * 7 * 2, "A and B of seven linear modules in two layers"
    return found


@pytest.mark.parametrize("kind", [SharedPrefixLoss, WholePromptLoss])
def test_loss_and_gradients_equal_those_of_whole_prompts(
    model: Any, prompt: Prompt, rows: list[Sequenced], kind: type[PromptLoss]
) -> None:
    reference = by_whole_prompts(model, prompt, rows)
    expected = gradients(model, reference)
    loss = kind(model, prompt.prefix_ids)(**collate(rows))["loss"]
    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    found = gradients(model, loss)
    for name, gradient in expected.items():
        assert gradient.norm() > 0, name
        assert (found[name] - gradient).norm() / gradient.norm() < 1e-4, name


def test_the_prefix_is_computed_once(model: Any, prompt: Prompt, rows: list[Sequenced]) -> None:
    shapes: list[tuple[int, ...]] = []
    handle = model.get_base_model().base_model.register_forward_pre_hook(
        lambda _module, _arguments, keywords: shapes.append(tuple(keywords["input_ids"].shape)), with_kwargs=True
    )
    batch = collate(rows)
    SharedPrefixLoss(model, prompt.prefix_ids)(**batch)
    handle.remove()
    assert shapes == [(1, len(prompt.prefix_ids)), tuple(batch["input_ids"].shape)]


def test_padding_is_not_read(model: Any, prompt: Prompt, rows: list[Sequenced]) -> None:
    batch = collate(rows)
    loss = SharedPrefixLoss(model, prompt.prefix_ids)
    before = loss(**batch)["loss"].item()
    batch["input_ids"][batch["mask"] == 0] = 77
    assert loss(**batch)["loss"].item() == pytest.approx(before, rel=1e-6)
