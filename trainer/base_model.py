"""The base model with a fresh LoRA adapter on it, as a recipe and the device want it."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from label_configs.errors import TrainingError, reason
from ml_backend.causal_model import LOADING_ERRORS, few_bits
from ml_backend.devices import DeviceFacts
from ml_backend.model_code import loading_fault, runs_own_code
from ml_backend.source_config import Weights
from trainer.recipe import LoraRecipe, Optimizer, Precision, Quantization

DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def resolved(recipe: LoraRecipe, facts: DeviceFacts) -> LoraRecipe:
    """The recipe with ``precision: auto`` decided by the device: bf16 on a GPU that computes in it, else fp32."""
    if recipe.precision is not Precision.AUTO:
        return recipe
    return replace(recipe, precision=Precision.BF16 if facts.kind == "cuda" and facts.bf16 else Precision.FP32)


def weights_dtype(recipe: LoraRecipe) -> torch.dtype:
    """Floating point of the frozen weights: bf16 where it is trained in, else fp32."""
    return torch.bfloat16 if recipe.precision is Precision.BF16 else torch.float32


def quantization(recipe: LoraRecipe) -> BitsAndBytesConfig | None:
    """How bitsandbytes holds the frozen weights; None for plain weights."""
    if recipe.quantization is Quantization.NONE:
        return None
    return few_bits(Weights(recipe.quantization.value), DTYPES.get(recipe.precision, torch.float32))


def check_possible(recipe: LoraRecipe, facts: DeviceFacts) -> None:
    """Raise TrainingError where this machine lacks what the recipe asks for."""
    needing = [f"quantization {recipe.quantization.value}"] if recipe.quantization is not Quantization.NONE else []
    needing += [f"optimizer {recipe.optimizer.value}"] if recipe.optimizer is not Optimizer.ADAMW else []
    if needing and importlib.util.find_spec("bitsandbytes") is None:
        raise TrainingError(
            f"recipe: {' and '.join(needing)} need bitsandbytes; pip install bitsandbytes, or use quantization none "
            "and optimizer adamw_torch"
        )
    if recipe.precision is Precision.FP16 and facts.kind == "cpu":
        raise TrainingError("recipe: precision fp16 needs a GPU; use auto")


def load_trainable(base: str, recipe: LoraRecipe, facts: DeviceFacts) -> tuple[Any, Any]:
    """A PeftModel with a fresh adapter named ``default``, and the tokenizer.

    ``recipe.precision`` must be resolved. Raises ModelError when the base does not load, TrainingError when the recipe
    cannot be followed here.
    """
    check_possible(recipe, facts)
    bits = quantization(recipe)
    try:
        own_code = runs_own_code(base)
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=own_code)
        model = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=weights_dtype(recipe),
            use_safetensors=True,
            trust_remote_code=own_code,
            quantization_config=bits,
        )
    except LOADING_ERRORS as error:
        raise loading_fault(base, error, "check `training.base`, or --base") from None
    if bits is None:
        model = model.to(facts.kind)
    else:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        for module in model.modules():
            # On some CPUs it packs weights anew when they are first used without a gradient, and its backward pass
            # then takes them for what they were: gradients would be wrong after a validation.
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    targets = recipe.target_modules
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        trainable = get_peft_model(model, config)
    except ValueError as error:
        raise TrainingError(f"recipe: target_modules: {reason(error)}; name linear modules of {base}") from None
    return trainable, tokenizer
