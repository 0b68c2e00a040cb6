"""The base as a recipe wants it, decided by facts that are passed in."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from label_configs.errors import ModelError, TrainingError
from ml_backend.devices import DeviceFacts
from trainer.base_model import check_possible, load_trainable, quantization, resolved, weights_dtype
from trainer.recipe import LoraRecipe, Optimizer, Precision, Quantization

CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)
FAST_CPU = DeviceFacts("cpu", "cpu", 1 << 30, True)
GPU = DeviceFacts("cuda", "H100", 80 << 30, True)
OLD_GPU = DeviceFacts("cuda", "T4", 16 << 30, False)


def test_auto_precision_is_what_the_device_computes_in() -> None:
    auto = LoraRecipe(precision=Precision.AUTO)
    found = [resolved(auto, facts).precision for facts in (CPU, FAST_CPU, GPU, OLD_GPU)]
    assert found == [Precision.FP32, Precision.FP32, Precision.BF16, Precision.FP32]
    assert resolved(LoraRecipe(precision=Precision.FP16), GPU).precision is Precision.FP16


def test_weights_are_held_in_what_they_are_used_in() -> None:
    held = {precision: weights_dtype(LoraRecipe(precision=precision)) for precision in Precision}
    assert held.pop(Precision.BF16) is torch.bfloat16
    assert set(held.values()) == {torch.float32}


def test_quantization_is_as_the_recipe_says() -> None:
    assert quantization(LoraRecipe()) is None
    nf4 = quantization(LoraRecipe(quantization=Quantization.NF4, precision=Precision.BF16))
    assert nf4 is not None
    assert (nf4.load_in_4bit, nf4.bnb_4bit_quant_type, nf4.bnb_4bit_compute_dtype) == (True, "nf4", torch.bfloat16)
    int8 = quantization(LoraRecipe(quantization=Quantization.INT8))
    assert int8 is not None
    assert int8.load_in_8bit


def test_what_the_machine_lacks_is_told_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    check_possible(LoraRecipe(), CPU)
    with pytest.raises(TrainingError, match="precision fp16 needs a GPU; use auto"):
        check_possible(LoraRecipe(precision=Precision.FP16), CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    quantized = LoraRecipe(quantization=Quantization.NF4, optimizer=Optimizer.PAGED_ADAMW_32BIT)
    with pytest.raises(TrainingError, match="quantization nf4 and optimizer paged_adamw_32bit need bitsandbytes; pip"):
        check_possible(quantized, GPU)
    with pytest.raises(TrainingError, match="optimizer paged_adamw_32bit need"):
        check_possible(replace(quantized, quantization=Quantization.NONE), GPU)


def test_only_the_fresh_adapter_is_trained(tiny_llama: Path) -> None:
    recipe = LoraRecipe(rank=4, alpha=8, target_modules=("q_proj", "v_proj"), precision=Precision.FP32)
    model, tokenizer = load_trainable(str(tiny_llama), recipe, CPU)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 2
    assert all("lora_" in name and p.dtype == torch.float32 for name, p in trained.items())
    assert all(int(p.abs().sum()) == 0 for name, p in trained.items() if "lora_B" in name)
    assert model.peft_config["default"].r == 4
    assert tokenizer("ab", add_special_tokens=False)["input_ids"]


def test_a_base_that_does_not_load_is_told(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent: cannot be loaded .*; check `training\.base`"):
        load_trainable(str(tmp_path / "absent"), LoraRecipe(precision=Precision.FP32), CPU)


def test_modules_that_the_base_has_not_are_told(tiny_llama: Path) -> None:
    recipe = LoraRecipe(target_modules=("attention",), precision=Precision.FP32)
    with pytest.raises(TrainingError, match=r"recipe: target_modules: .*; name linear modules of"):
        load_trainable(str(tiny_llama), recipe, CPU)
