"""Whether a recipe fits, with what is free passed in; and how free memory is found."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.codebook import load_codebook
from label_configs.errors import EnvironmentFault
from ml_backend.training_config import Training
from trainer.doctor.memory import check_memory, plan_of
from trainer.doctor.packages import Gpu
from trainer.free_memory import free_memory
from trainer.recipe import load_recipe, recipe_with

BOOK = load_codebook("reuters8")
LLAMA_3B = {
    "model_type": "llama", "vocab_size": 49152, "hidden_size": 3072, "intermediate_size": 8192,
    "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8, "tie_word_embeddings": True,
}  # fmt: skip
GB = 10**9


def gpu(free: float, capability: tuple[int, int] = (8, 0)) -> Gpu:
    return Gpu("a GPU", round(free * GB), 80 * GB, capability)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    base = tmp_path / "llama-3b"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(LLAMA_3B))
    return Training(base=str(base), recipe="gpu-3b")


def refused(training: Training, free: float) -> str:
    with pytest.raises(EnvironmentFault) as caught:
        check_memory(training, BOOK, [gpu(free)])
    return str(caught.value)


def test_a_recipe_that_fits(training: Training) -> None:
    line = check_memory(training, BOOK, [gpu(60)])
    assert re.fullmatch(r"gpu-3b over llama-3b needs about \d+\.\d GB on the GPU, 60\.0 GB are free", line)
    assert "of memory" in check_memory(training, BOOK, [], free=200 * GB)
    with pytest.raises(EnvironmentFault):
        check_memory(training, BOOK, [gpu(60), gpu(3)])  # a process on each: the smallest counts


@pytest.mark.parametrize("free", [11, 9.5, 8.5, 5])
def test_the_change_that_is_named_fits_and_is_a_recipes(training: Training, free: float) -> None:
    line = refused(training, free)
    changes = re.search(r"; write `overrides: \{(.*)\}` under `training`, which needs (.*) GB$", line)
    assert changes is not None
    overrides = dict(part.split(": ") for part in changes.group(1).split(", "))
    values = {name: int(value) if value.isdigit() else value for name, value in overrides.items()}
    recipe = recipe_with(load_recipe("gpu-3b"), values)
    plan = plan_of(training, BOOK, [gpu(free)])
    assert plan is not None
    assert replace(plan, recipe=recipe).estimate().total <= 0.95 * free * GB
    assert float(changes.group(2)) <= free


def test_what_is_too_large_whatever_is_changed(training: Training) -> None:
    assert refused(training, 1).endswith("train a smaller base: no change of the recipe is enough")


def test_a_base_that_is_not_here_has_no_size() -> None:
    line = check_memory(Training(base="owner/model"), BOOK, [])
    assert line == "the size of owner/model is not known before it is downloaded"


def test_memory_of_the_machine_and_of_a_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    assert free_memory(meminfo, tmp_path) is None
    meminfo.write_text("MemTotal:  24000 kB\nMemFree: 100 kB\nMemAvailable:   16000 kB\n")
    assert free_memory(meminfo, tmp_path) == 16000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 1000000\n")
    assert free_memory(meminfo, tmp_path) == 16000 * 1024
    (tmp_path / "memory.max").write_text("8000000\n")
    assert free_memory(meminfo, tmp_path) == 4_000_000
