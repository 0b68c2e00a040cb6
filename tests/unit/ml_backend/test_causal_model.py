"""One base in memory, adapters over it: each answers as if it were alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from label_configs.errors import AdapterError, ModelError
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from tests.tiny_models import make_adapter

IDS = torch.tensor([[5, 9, 2, 77, 31]])


@pytest.fixture
def model(tiny_llama: Path, cpu: DeviceFacts) -> CausalModel:
    return CausalModel(str(tiny_llama), cpu)


@torch.inference_mode()
def answer(model: CausalModel, adapter: str | None = None, folder: Path | None = None) -> torch.Tensor:
    with model.using(adapter, folder) as causal:
        return torch.as_tensor(causal(IDS).logits)


def test_the_base_answers_the_same_before_and_after_adapters(
    model: CausalModel, tiny_llama: Path, tmp_path: Path
) -> None:
    one = make_adapter(tiny_llama, tmp_path / "one", 1)
    two = make_adapter(tiny_llama, tmp_path / "two", 2)
    base = answer(model)
    first, second = answer(model, "a1", one), answer(model, "a2", two)
    assert not torch.allclose(base, first)
    assert not torch.allclose(first, second)
    assert torch.equal(answer(model), base)
    assert torch.equal(answer(model, "a1", one), first)
    assert torch.equal(answer(model, "a2"), second)
    assert torch.equal(answer(model), base)


def test_an_adapter_answers_as_in_a_process_of_its_own(
    model: CausalModel, tiny_llama: Path, tmp_path: Path, cpu: DeviceFacts
) -> None:
    one = make_adapter(tiny_llama, tmp_path / "one", 1)
    two = make_adapter(tiny_llama, tmp_path / "two", 2)
    answer(model, "a1", one)
    assert torch.equal(answer(model, "a2", two), answer(CausalModel(str(tiny_llama), cpu), "a2", two))


def test_unloading_forgets_the_weights_and_leaves_the_rest(
    model: CausalModel, tiny_llama: Path, tmp_path: Path
) -> None:
    one = make_adapter(tiny_llama, tmp_path / "one", 1)
    two = make_adapter(tiny_llama, tmp_path / "two", 2)
    base, first = answer(model), answer(model, "a1", one)
    answer(model, "a2", two)
    model.unload("a2")
    model.unload("never loaded")
    assert torch.equal(answer(model, "a1"), first)
    model.unload("a1")
    assert not any("lora" in name for name, _ in model.base.named_parameters())
    assert torch.equal(answer(model), base)
    assert torch.equal(answer(model, "a1", one), first)


def foreign_base(folder: Path, tiny_llama: Path, **changes: int) -> Path:
    config = LlamaConfig.from_pretrained(tiny_llama, **changes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": 64}, {"num_hidden_layers": 3}, {"num_hidden_layers": 1}],
    ids=["wider", "deeper", "shallower"],
)
def test_an_adapter_of_another_base_is_refused_and_leaves_no_trace(
    model: CausalModel, tiny_llama: Path, tmp_path: Path, changes: dict[str, int]
) -> None:
    other = make_adapter(foreign_base(tmp_path / "base", tiny_llama, **changes), tmp_path / "other", 3)
    own = make_adapter(tiny_llama, tmp_path / "own", 4)
    base = answer(model)
    for _ in range(2):
        with pytest.raises(AdapterError, match=r"^adapter x1: .*train it anew$") as caught:
            answer(model, "x1", other)
        assert "\n" not in str(caught.value)
        assert torch.equal(answer(model), base)
    tuned = answer(model, "a1", own)
    with pytest.raises(AdapterError):
        answer(model, "x1", other)
    assert torch.equal(answer(model, "a1"), tuned)
    assert torch.equal(answer(model), base)


def test_an_adapter_for_some_layers_is_as_good_as_any(model: CausalModel, tiny_llama: Path, tmp_path: Path) -> None:
    some = make_adapter(tiny_llama, tmp_path / "some", 5, layers=[1])
    assert not torch.allclose(answer(model, "a1", some), answer(model))


def test_damaged_files_are_refused(model: CausalModel, tiny_llama: Path, tmp_path: Path) -> None:
    base = answer(model)
    cut = make_adapter(tiny_llama, tmp_path / "cut", 1)
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(AdapterError, match="does not load"):
        answer(model, "cut", cut)
    (cut / "adapter_config.json").write_text(json.dumps({"peft_type": "NONSENSE"}))
    with pytest.raises(AdapterError, match="does not load"):
        answer(model, "cut", cut)
    with pytest.raises(AdapterError, match="does not load"):
        answer(model, "absent", tmp_path / "absent")
    with pytest.raises(AdapterError, match="no folder was given"):
        answer(model, "unknown")
    assert torch.equal(answer(model), base)


def test_missing_and_damaged_models_are_refused(tiny_llama: Path, tmp_path: Path, cpu: DeviceFacts) -> None:
    with pytest.raises(ModelError, match=r"cannot be loaded .*; give a folder with config, tokenizer and safetensors"):
        CausalModel(str(tmp_path / "absent"), cpu)
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        CausalModel(str(copy), cpu)
