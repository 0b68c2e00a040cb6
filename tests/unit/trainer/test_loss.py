"""Sharing the prefix and the document changes the cost of a step, not the step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_layers import GradientCheckpointingLayer

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import VerifiedExample
from ml_backend.layout import Layout, over_prefix, prefix_cache
from ml_backend.prompts import Prompt
from trainer.collate import Collator
from trainer.loss import PromptLoss, SharedPrefixLoss, WholePromptLoss
from trainer.sequences import Sequenced, sequences

TEXTS = ["wheat", "a tanker left the port of Rotterdam", "x" * 60, "rails"]
BOOK = Codebook(
    "small",
    Kind.EXCLUSIVE,
    (Code("s", "S", "Ships.", "ship"), Code("t", "T", "Freight.", "shipping"), Code("g", "G", "Wheat.", "grain")),
)
BOOKS = {
    Kind.EXCLUSIVE: (BOOK, ("g", "s", "t", "g")),
    Kind.MULTILABEL: (replace(BOOK, kind=Kind.MULTILABEL), ("g", "", "st", "stg")),
    Kind.GRADED: (replace(BOOK, kind=Kind.GRADED, levels=("low", "high")), ("g:low", "", "s:high", "t:low")),
}


@pytest.fixture(params=list(Kind), ids=str)
def task(request: pytest.FixtureRequest, tiny_llama: Path) -> tuple[Prompt, list[Sequenced]]:
    book, codes = BOOKS[request.param]
    prompt = Prompt("definitions", book, AutoTokenizer.from_pretrained(tiny_llama))
    held = [(own,) if ":" in own or not own else tuple(own) for own in codes]
    examples = [
        VerifiedExample("d", text, tuple(filter(None, own)), (), False) for text, own in zip(TEXTS, held, strict=True)
    ]
    return prompt, sequences(examples, prompt)


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
    """The causal model's own logits over each whole prompt with one question, one at a time, without padding."""
    terms, tokens = [], 0.0
    for row in rows:
        for (path, start), weight in zip(row.paths, row.weights, strict=True):
            ids = torch.tensor([[*prompt.prefix_ids, *row.document, *path]])
            answer = len(path) - start
            logits = model(input_ids=ids).logits[0, -answer - 1 : -1]
            entropy = torch.nn.functional.cross_entropy(logits, torch.tensor(path[start:]), reduction="sum")
            terms.append(weight * entropy)
            tokens += weight * answer
    return torch.stack(terms).sum() / tokens


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert len(found) == 2 * 7 * 2, "A and B of seven linear modules in two layers"
    return found


@pytest.mark.parametrize("recompute", [False, True], ids=["held", "recomputed"])
@pytest.mark.parametrize("kind", [SharedPrefixLoss, WholePromptLoss])
def test_loss_and_gradients_equal_those_of_whole_prompts(
    model: Any, task: tuple[Prompt, list[Sequenced]], kind: type[PromptLoss], recompute: bool
) -> None:
    prompt, rows = task
    rows = [replace(row, weights=tuple(0.5 + n + i for i in range(len(row.weights)))) for n, row in enumerate(rows)]
    reference = by_whole_prompts(model, prompt, rows)
    expected = gradients(model, reference)
    module = kind(model, prompt.prefix_ids, recompute=recompute)
    loss = module(**Collator(len(prompt.prefix_ids))(rows))["loss"]
    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    found = gradients(model, loss)
    for name, gradient in expected.items():
        assert gradient.norm() > 0, name
        assert (found[name] - gradient).norm() / gradient.norm() < 1e-4, name


def test_the_prefix_is_computed_once(model: Any, task: tuple[Prompt, list[Sequenced]]) -> None:
    prompt, rows = task
    shapes: list[tuple[int, ...]] = []
    handle = model.get_base_model().base_model.register_forward_pre_hook(
        lambda _module, _arguments, keywords: shapes.append(tuple(keywords["input_ids"].shape)), with_kwargs=True
    )
    batch = Collator(len(prompt.prefix_ids))(rows)
    SharedPrefixLoss(model, prompt.prefix_ids)(**batch)
    handle.remove()
    assert shapes == [(1, len(prompt.prefix_ids)), tuple(batch["input_ids"].shape)]


def test_padding_is_not_read(model: Any, task: tuple[Prompt, list[Sequenced]]) -> None:
    prompt, rows = task
    batch = Collator(len(prompt.prefix_ids))(rows)
    loss = SharedPrefixLoss(model, prompt.prefix_ids)
    before = loss(**batch)["loss"].item()
    longest = max(len(row.document) for row in rows)
    assert any(len(row.document) < longest for row in rows)
    for i, row in enumerate(rows):
        batch["input_ids"][i, len(row.document) : longest] = 77
    assert loss(**batch)["loss"].item() == pytest.approx(before, rel=1e-6)


def held_bytes(loss: PromptLoss, batch: dict[str, torch.Tensor]) -> int:
    """Bytes that a forward pass holds for the backward pass, each storage once."""
    held: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    alive = []  # so that no storage's address is given to another
    with torch.autograd.graph.saved_tensors_hooks(lambda t: alive.append(t) or note(t), lambda t: t):
        loss(**batch)
    return sum(held.values())


def test_recomputing_shares_the_prefix_and_holds_less(model: Any, task: tuple[Prompt, list[Sequenced]]) -> None:
    prompt, rows = task
    batch = Collator(len(prompt.prefix_ids))(rows)
    held = held_bytes(SharedPrefixLoss(model, prompt.prefix_ids), batch)
    whole = held_bytes(WholePromptLoss(model, prompt.prefix_ids), batch)
    recomputed = held_bytes(SharedPrefixLoss(model, prompt.prefix_ids, recompute=True), batch)
    assert recomputed < 0.4 * held
    assert held < 0.7 * whole
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert len(layers) == 2
    assert all("forward" not in vars(layer) for layer in layers), "the layers are as they were"


def test_the_cache_of_the_prefix_is_left_as_it_is(model: Any, task: tuple[Prompt, list[Sequenced]]) -> None:
    prompt, rows = task
    backbone = model.get_base_model().base_model
    cache = prefix_cache(backbone, torch.tensor([prompt.prefix_ids]))
    before = [layer.keys.clone() for layer in cache.layers]
    batch = Collator(len(prompt.prefix_ids))(rows)
    layout = Layout(batch["input_ids"], batch["positions"], batch["allowed"], 0)
    first, second = (over_prefix(backbone, cache, layout) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(layer.keys, keys) for layer, keys in zip(cache.layers, before, strict=True))


def test_the_state_is_the_adapter_alone(model: Any) -> None:
    loss = SharedPrefixLoss(model, [1, 2])
    state = {name: weight.clone() for name, weight in loss.state_dict().items()}
    assert state.keys() == {name for name, p in loss.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in state)
    with torch.no_grad():
        for p in (p for p in loss.parameters() if p.requires_grad):
            p.zero_()
    loss.load_state_dict(state)
    assert all(torch.equal(weight, state[name]) for name, weight in loss.state_dict().items())
    state.popitem()
    with pytest.raises(RuntimeError, match="1 weights have no counterpart"):
        loss.load_state_dict(state)
