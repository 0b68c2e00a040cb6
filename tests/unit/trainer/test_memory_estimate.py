"""The estimate of a training's memory against models as they are made, and against what one took."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from label_configs.errors import ModelError
from tests.unit.trainer.fitting import CPU, QUICK, examples, trainable
from trainer.checkpoints import Checkpoints
from trainer.first_batch import begin_with_what_fits
from trainer.memory_estimate import Plan, Tokens
from trainer.model_shape import ModelShape, shape_of
from trainer.recipe import LoraRecipe, Optimizer, Precision, Quantization

SIZES = {"vocab_size": 4096, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 3,
         "num_attention_heads": 9}  # fmt: skip
LLAMA = {"model_type": "llama", **SIZES, "num_key_value_heads": 3, "tie_word_embeddings": True}
CONFIGS = [
    LLAMA,
    {**LLAMA, "tie_word_embeddings": False},
    {**LLAMA, "model_type": "qwen2"},
    {**LLAMA, "model_type": "gemma2", "head_dim": 64},
    {"model_type": "gpt_neox", **SIZES, "tie_word_embeddings": False},
    {"model_type": "gpt2", "vocab_size": 4096, "n_embd": 576, "n_layer": 3, "n_head": 9, "n_positions": 64},
    {"model_type": "mixtral", **{k: v for k, v in LLAMA.items() if k != "model_type"}, "num_local_experts": 4,
     "num_experts_per_tok": 2},
]  # fmt: skip
RECIPE = LoraRecipe(batch_size=8, micro_batch_size=8, precision=Precision.FP32)
TOKENS = Tokens(124, 119)
PEAK = """\
import json, sys, torch
from pathlib import Path
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from trainer.loss import SharedPrefixLoss

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

torch.set_num_threads(1)
config, recompute = json.loads(sys.argv[1])
before = resident("VmRSS")
base = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.float32)
lora = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
model = get_peft_model(base, lora).train()
loss = SharedPrefixLoss(model, list(range(124)), recompute=recompute)
ids = torch.randint(0, 4096, (8, 119))
allowed = torch.ones(8, 119, 243, dtype=torch.bool)
allowed[:, :, 124:] = torch.ones(119, 119, dtype=torch.bool).tril()
targets, weights = torch.full_like(ids, -100), torch.zeros(ids.shape)
targets[:, -1], weights[:, -1] = 3, 1
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
Path("/proc/self/clear_refs").write_text("5")
for _ in range(2):
    loss(ids, torch.arange(124, 243).repeat(8, 1), allowed, targets, weights)["loss"].backward()
    optimizer.step()
    optimizer.zero_grad()
print(resident("VmHWM") - before)
"""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config["model_type"]))
def test_a_models_size_from_its_configuration(config: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    number = sum(p.numel() for p in model.parameters())
    shape = ModelShape.of_config(AutoConfig.for_model(**config).to_dict())
    assert shape.linear_weights + shape.other_weights == pytest.approx(number, rel=0.01)


def test_a_configuration_that_does_not_say(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not say how large the model is"):
        ModelShape.of_config({"model_type": "t5"})
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="cannot be read; download the model whole"):
        shape_of(str(tmp_path))
    assert shape_of("owner/that-nobody-fetched") is None
    inner = ModelShape.of_config({"model_type": "gemma3", "text_config": LLAMA})
    assert (inner.layers, inner.hidden, inner.gated) == (3, 576, True)


@pytest.mark.parametrize("recompute", [False, True])
def test_the_estimate_is_near_what_a_step_takes(recompute: bool) -> None:
    config = {**LLAMA, "num_hidden_layers": 4}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, json.dumps([config, recompute])], capture_output=True, text=True, check=True
    )
    measured = int(done.stdout.splitlines()[-1])
    recipe = replace(RECIPE, gradient_checkpointing=recompute)
    estimated = Plan(ModelShape.of_config(config), recipe, TOKENS).estimate().total
    assert 0.6 < estimated / measured < 1.6, f"{estimated / 1e6:.0f} MB estimated, {measured / 1e6:.0f} measured"


def test_what_a_recipe_changes() -> None:
    def total(**changes: Any) -> int:
        bf16 = changes.pop("gpu", False)
        return Plan(ModelShape.of_config(LLAMA), replace(RECIPE, **changes), TOKENS, bf16, bf16).estimate().total

    plain = total()
    assert total(micro_batch_size=4) < plain
    assert total(gradient_checkpointing=True) < plain
    assert total(quantization=Quantization.NF4) < total(quantization=Quantization.INT8) < plain
    assert total(optimizer=Optimizer.PAGED_ADAMW_8BIT) < plain < total(rank=64) < total(rank=128)
    assert total(target_modules=("q_proj", "v_proj")) < plain < total(dropout=0.1)
    assert total(precision=Precision.BF16) < plain
    assert total(gpu=True, precision=Precision.AUTO) < total(gpu=True)


def test_smollm2_as_it_was_measured() -> None:
    shape = ModelShape.of_config({**LLAMA, "num_hidden_layers": 30, "vocab_size": 49152})
    assert shape.linear_weights + shape.other_weights == 134_515_008
    assert 0.7 < Plan(shape, RECIPE, TOKENS).estimate().total / 3379e6 < 1.3  # `tests/benchmarks/training.py --peak`


def test_the_micro_batch_that_fits() -> None:
    plan = Plan(ModelShape.of_config(LLAMA), RECIPE, TOKENS)
    assert plan.fitting(plan.estimate().total * 2) == 8
    found = plan.fitting(plan.estimate().total)
    assert found == 4, "some is left spare"
    assert plan.fitting(1000) == 0
    for _, changed in plan.thriftier():
        assert changed.estimate().total < plan.estimate().total


@pytest.mark.parametrize(("free", "micro"), [(1 << 40, None), (101_000_000, 1)])
def test_training_begins_with_what_fits(tiny_llama: Path, tmp_path: Path, free: int, micro: int | None) -> None:
    model, prompt = trainable(tiny_llama, QUICK)
    checkpoints, told = Checkpoints(tmp_path), []
    begin_with_what_fits(model, prompt, examples(16), QUICK, CPU, checkpoints, told.append, free=free)
    assert checkpoints.micro_batch_size == micro
    assert len(told) == (micro is not None)
    if micro:
        assert told[0]["note"].startswith("training as the recipe says needs about 0.1 GB of memory")
        checkpoints.micro_batch_size = 2
        begin_with_what_fits(model, prompt, examples(16), QUICK, CPU, checkpoints, told.append, free=free)
        assert checkpoints.micro_batch_size == 2, "what was found stays"
