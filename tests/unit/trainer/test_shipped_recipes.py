"""The recipes that come with Winnow, each followed for two steps, and what it means on the device that it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ml_backend.devices import DeviceFacts, device_facts
from tests.unit.trainer.fitting import CPU, make_loud_llama, planned
from trainer.base_model import load_trainable, quantization, resolved, weights_dtype
from trainer.fit import run
from trainer.recipe import LoraRecipe, Precision, load_recipe, shipped_recipes
from trainer.training import training_arguments

GPU = DeviceFacts("cuda", "H100", 80 << 30, True)
OLD_GPU = DeviceFacts("cuda", "T4", 16 << 30, False)


@pytest.fixture(scope="module")
def base(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_loud_llama(tiny_llama, tmp_path_factory.mktemp("base") / "loud-llama")


def chosen_for(name: str, facts: DeviceFacts) -> tuple[torch.dtype, str, torch.dtype | None, str]:
    """Floating point of the weights and of activations, what 4-bit weights compute in, and the optimiser."""
    recipe = resolved(load_recipe(name), facts)
    bits = quantization(recipe)
    optimizer = str(training_arguments(recipe, Path("unused"), use_cpu=True).optim.value)
    compute = None
    if bits is not None:
        assert (bits.load_in_4bit, bits.bnb_4bit_quant_type, bits.bnb_4bit_use_double_quant) == (True, "nf4", True)
        compute = bits.bnb_4bit_compute_dtype
    return weights_dtype(recipe), recipe.precision.value, compute, optimizer


def test_a_recipe_is_what_its_device_can() -> None:
    half, full = torch.bfloat16, torch.float32
    assert chosen_for("cpu-small", CPU) == (full, "fp32", None, "adamw_torch")
    assert chosen_for("gpu-3b", GPU) == (half, "bf16", None, "adamw_torch")
    assert chosen_for("gpu-7b-qlora", GPU) == (half, "bf16", half, "paged_adamw_8bit")
    assert chosen_for("paper", GPU) == (half, "bf16", half, "paged_adamw_32bit")
    assert chosen_for("paper", OLD_GPU) == (full, "fp32", full, "paged_adamw_32bit")
    assert chosen_for("gpu-3b", OLD_GPU) == (full, "fp32", None, "adamw_torch")


def two_steps(base: Path, folder: Path, recipe: LoraRecipe) -> dict[str, Any]:
    """The outcome of a round of two steps, by the real entry point."""
    short = replace(recipe, epochs=1)
    told: list[Mapping[str, Any]] = []
    run(planned(folder, base, recipe=short, number=2 * recipe.batch_size), told.append)
    assert [one["step"] for one in told if "loss" in one] == [1, 2]
    assert any("validation_loss" in one for one in told) == (recipe.validation_share > 0)
    return dict(json.loads((folder / "outcome.json").read_text()))


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_takes_two_steps(base: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("bitsandbytes")  # which is no dependency of Winnow's
    recipe = resolved(load_recipe(name), CPU if name.startswith("cpu") else GPU)
    outcome = two_steps(base, tmp_path / "round", recipe)
    assert outcome["precision"] == recipe.precision.value
    model, _ = load_trainable(str(base), recipe, CPU)
    layer = model.get_base_model().model.layers[0].self_attn
    assert type(layer.q_proj.base_layer).__name__ == ("Linear" if recipe.quantization == "none" else "Linear4bit")
    assert model.config._attn_implementation == "sdpa"


def test_quantised_weights_are_trained_on_after_they_were_used_without_gradients(base: Path) -> None:
    pytest.importorskip("bitsandbytes")
    recipe = replace(resolved(load_recipe("paper"), GPU), dropout=0.0, precision=Precision.FP32)
    gradients = []
    for asked_before in (False, True):
        torch.manual_seed(0)
        model, _ = load_trainable(str(base), recipe, CPU)
        ids = torch.arange(8)[None]
        if asked_before:
            with torch.inference_mode():
                model.eval()(input_ids=ids)
        model.train()(input_ids=ids, labels=ids).loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in shipped_recipes() if not name.startswith("cpu")])
def test_every_recipe_for_a_gpu_takes_two_steps_on_one(base: Path, tmp_path: Path, name: str) -> None:
    facts = device_facts()
    assert facts.kind == "cuda"
    outcome = two_steps(base, tmp_path / "round", load_recipe(name))
    assert (outcome["device"], outcome["precision"]) == (facts.name, "bf16" if facts.bf16 else "fp32")
