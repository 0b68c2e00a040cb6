"""Model files that are there, missing, or cut off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from label_configs.errors import ModelError
from ml_backend.experiment import Experiment
from ml_backend.source_config import ChatApi, SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.model_files import check_model, check_models, models_of


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    tensors = {"a": np.zeros((3, 4), np.float32), "b": np.ones(5, np.float32)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def sharded(folder: Path) -> None:
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for name in names:
        shutil.copyfile(folder / "model.safetensors", folder / name)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_whole_model_is_found_whole(model: Path, tiny_llama: Path) -> None:
    assert check_model(str(model)) == "config, tokenizer and 0 MB of weights"
    assert check_model(str(tiny_llama)).startswith("config, tokenizer and ")
    sharded(model)
    check_model(str(model))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("config.json", "has no config.json; download the model whole"),
        ("tokenizer.json", "has no tokenizer (tokenizer.json, tokenizer.model); download the model whole"),
        ("model.safetensors", "has no model.safetensors; download the model in the safetensors format"),
    ],
)
def test_a_missing_file_is_named(model: Path, name: str, told: str) -> None:
    (model / name).unlink()
    with pytest.raises(ModelError) as caught:
        check_model(str(model))
    assert str(caught.value) == f"model {model}: {told}"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such folder; check the path in winnow\.yaml"):
        check_model(str(tmp_path / "none"))


def test_a_missing_shard_is_named(model: Path) -> None:
    sharded(model)
    (model / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is missing; download the model whole"):
        check_model(str(model))


@pytest.mark.parametrize("index", ["", "[]", '{"weight_map": 3}', "{}"])
def test_a_damaged_index_is_named(model: Path, index: str) -> None:
    sharded(model)
    (model / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json: damaged; download the model again"):
        check_model(str(model))


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_weights_that_are_cut_off_are_named(model: Path, kept: int) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged or not wholly downloaded; download it again"):
        check_model(str(model))


def test_what_stands_in_for_a_large_file_is_not_taken_for_it(model: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 538000000\n"
    (model / "model.safetensors").write_text(pointer)
    with pytest.raises(ModelError, match="not wholly downloaded"):
        check_model(str(model))


def test_hub_names_are_not_looked_up() -> None:
    assert check_model("owner/Model-1.5_B") == "on the Hugging Face hub; will be downloaded at first use"
    assert check_model("gpt2").startswith("on the Hugging Face hub")


@pytest.mark.parametrize("name", ["a/b/c", "models\\smollm2", "two words", "-x/y"])
def test_what_is_neither_folder_nor_hub_name_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither a folder nor a hub name; write \./folder or owner/name"):
        check_model(name, tmp_path)


def test_a_folder_written_like_a_hub_name_is_told(model: Path) -> None:
    with pytest.raises(ModelError, match=r"is a folder, but is written as a hub name; write \./model"):
        check_model("model", model.parent)


def test_an_experiments_models_come_once_and_fakes_have_none(model: Path) -> None:
    sources = (
        SourceConfig("words", SourceKind.FAKE),
        SourceConfig("near", SourceKind.SIMILARITY, "owner/minilm"),
        SourceConfig("plain", SourceKind.CAUSAL, str(model)),
        SourceConfig("defined", SourceKind.CAUSAL, str(model), "definitions"),
    )
    assert models_of(Experiment("reuters8", sources)) == ["owner/minilm", str(model)]
    elsewhere = (
        SourceConfig("served", SourceKind.CHAT_API, "llama", api=ChatApi("http://127.0.0.1:8000/v1")),
        SourceConfig("earlier", SourceKind.ADAPTER, adapter="0123456789abcdef"),
        SourceConfig("shown", SourceKind.CAUSAL, str(model), "few_shot", encoder="owner/encoder"),
    )
    assert models_of(Experiment("reuters8", elsewhere)) == [str(model), "owner/encoder"]
    trained = Experiment("reuters8", sources, training=Training("/gone"))
    assert models_of(trained) == ["owner/minilm", str(model), "/gone"]
    with pytest.raises(ModelError, match="/gone: no such folder"):
        check_models(models_of(trained), model.parent)
