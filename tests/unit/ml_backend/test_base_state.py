"""The state of a base model: what another model of the same shape differs in, and what makes no difference."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from label_configs.errors import AdapterError, ModelError
from ml_backend.adapter_files import Adapter
from ml_backend.base_state import base_state, check_base


@pytest.fixture
def base(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "base"))


def digest(folder: Path) -> str:
    state = base_state(str(folder))
    assert state is not None
    assert state.revision is None
    return state.digest


def trained_further(base: Path) -> None:
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig.from_pretrained(base)).save_pretrained(base)


def in_bfloat16(base: Path) -> None:
    AutoModelForCausalLM.from_pretrained(base).to(torch.bfloat16).save_pretrained(base)


def with_another_template(base: Path) -> None:
    (base / "chat_template.jinja").write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")


def with_another_tokenizer(base: Path) -> None:
    path = base / "tokenizer.json"
    path.write_text(path.read_text().replace('"<|pad|>"', '"<|void|>"'))


def with_another_configuration(base: Path) -> None:
    path = base / "config.json"
    path.write_text(path.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))


@pytest.mark.parametrize(
    "change",
    [trained_further, in_bfloat16, with_another_template, with_another_tokenizer, with_another_configuration],
)
def test_another_model_has_another_digest(base: Path, change: Callable[[Path], None]) -> None:
    before = digest(base)
    change(base)
    assert digest(base) != before


def test_the_same_model_elsewhere_has_the_same(base: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "another" / "place"))
    (copy / "README.md").write_text("A model card.")
    (copy / "consolidated.safetensors").write_bytes(b"what no loader here reads")
    assert digest(copy) == digest(base)


def test_weights_in_several_files_are_all_looked_at(base: Path) -> None:
    torch.manual_seed(2)
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(base))
    (base / "model.safetensors").unlink()
    model.save_pretrained(base, max_shard_size="60KB")
    parts = sorted(base.glob("model-*.safetensors"))
    assert len(parts) > 1
    before = digest(base)
    whole = parts[-1].read_bytes()
    parts[-1].write_bytes(whole[:-4] + b"\x01\x02\x03\x04")
    assert len(whole) < 4096 * 64, "small enough to be looked at in full"
    assert digest(base) != before
    parts[-1].unlink()
    with pytest.raises(ModelError, match="download the model whole"):
        base_state(str(base))


def test_a_hub_model_is_what_this_machine_has_fetched(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert base_state("owner/model") is None
    assert base_state("no such:name") is None
    commit = "a" * 40
    folder = tmp_path / "hub" / "models--owner--model"
    shutil.copytree(base, folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    state = base_state("owner/model")
    assert state is not None
    assert (state.revision, state.digest) == (commit, digest(base))


def test_an_adapter_over_another_state_is_refused(base: Path, tmp_path: Path) -> None:
    manifest = {"base": str(base), "base_digest": digest(base)}
    adapter = Adapter("0123456789abcdef", tmp_path, manifest)
    check_base(adapter)
    trained_further(base)
    with pytest.raises(AdapterError) as caught:
        check_base(adapter)
    assert str(caught.value) == (
        f"adapter 0123456789abcdef: was trained over another state of {base} than is there now; restore the model's "
        "files, or roll back and train anew"
    )
    check_base(Adapter("0123456789abcdef", tmp_path, {"base": str(base)}))  # of a version that did not say
