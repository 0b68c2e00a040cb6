"""A model that brings Python code of its own: not run, unless the installation names the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from label_configs.errors import ModelError
from ml_backend.adapter_files import Adapter
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.model_code import SETTING, runs_own_code
from ml_backend.sentence_encoder import SentenceEncoder
from tests.tiny_models import make_adapter
from trainer.base_model import load_trainable
from trainer.merging import save_merged
from trainer.model_files import check_model
from trainer.recipe import LoraRecipe, Precision

CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)
CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

Path({ran!r}).write_text("ran")


class OwnConfig(LlamaConfig):
    model_type = "winnow_own"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig


class OwnModel(LlamaModel):
    config_class = OwnConfig
"""
CLASSES = {"AutoConfig": "OwnConfig", "AutoModelForCausalLM": "OwnForCausalLM", "AutoModel": "OwnModel"}


@pytest.fixture
def own(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny Llama as an architecture that transformers does not have; its code leaves a file when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "own-model"
    shutil.copytree(tiny_llama, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "winnow_own", "auto_map": {auto: f"own.{name}" for auto, name in CLASSES.items()}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(CODE.format(ran=str(tmp_path / "ran")))
    return folder


def _adapter(base: Path, like: Path) -> Adapter:
    folder = make_adapter(like, base.parent / "adapter", 1)
    return Adapter("a" * 64, folder, {"base": str(base)})


LOADERS: dict[str, Callable[[Path, Path], Any]] = {
    "source": lambda own, _like: CausalModel(str(own), CPU),
    "encoder": lambda own, _like: SentenceEncoder(str(own), CPU),
    "training": lambda own, _like: load_trainable(str(own), LoraRecipe(precision=Precision.FP32), CPU),
    "merging": lambda own, like: save_merged(_adapter(own, like), own.parent / "merged"),
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_its_code_runs_only_where_the_installation_names_it(
    load: Callable[[Path, Path], Any], own: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = own.parent / "ran"
    monkeypatch.setenv(SETTING, "owner/another-model")
    with pytest.raises(ModelError, match=rf"{own}: comes with Python code of its own, .* name the model in {SETTING}"):
        load(own, tiny_llama)
    assert not ran.exists()
    monkeypatch.setenv(SETTING, f"owner/another-model, {own}")
    load(own, tiny_llama)
    assert ran.exists()


def test_a_model_is_told_by_its_whole_name_or_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.delenv(SETTING, raising=False)
    assert not runs_own_code("owner/model")
    monkeypatch.setenv(SETTING, f"owner/model,{tmp_path}/other/../model")
    assert runs_own_code("owner/model")
    assert runs_own_code(str(tmp_path / "model"))
    assert not runs_own_code("owner/model-2")
    assert not runs_own_code(str(tmp_path))


def test_the_doctor_tells_whose_code_runs(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    assert "code" not in check_model(str(own))
    monkeypatch.setenv(SETTING, str(own))
    assert check_model(str(own)).endswith(f"; its own code is run, {SETTING} names it")
