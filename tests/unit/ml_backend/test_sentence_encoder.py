"""MiniLM's embeddings, with and without the cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from label_configs.errors import ModelError
from ml_backend.devices import DeviceFacts
from ml_backend.embeddings import EmbeddingCache
from ml_backend.sentence_encoder import SentenceEncoder
from trainer.demo.wheels import DemoFiles

pytestmark = pytest.mark.models

CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)
TEXTS = ["Wheat rose.", "", "grain " * 500, "Wheat rose."]


@pytest.fixture(scope="module")
def plain(demo_files: DemoFiles) -> SentenceEncoder:
    return SentenceEncoder(str(demo_files.minilm), CPU)


def cached(demo_files: DemoFiles, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SentenceEncoder, list[int]]:
    """An encoder over a cache in ``folder``, and the sizes of the batches that it computes."""
    encoder = SentenceEncoder(str(demo_files.minilm), CPU, EmbeddingCache(folder))
    computed: list[int] = []
    forward = encoder._model.forward

    def counted(*args: Any, **named: Any) -> Any:
        computed.append(len(named["input_ids"]))
        return forward(*args, **named)

    monkeypatch.setattr(encoder._model, "forward", counted)
    return encoder, computed


def test_vectors_are_of_unit_length_and_what_was_not_read_is_told(plain: SentenceEncoder) -> None:
    embedded = plain.embed(TEXTS)
    assert embedded.vectors.shape == (4, 384)
    assert embedded.vectors.norm(dim=1).tolist() == pytest.approx([1] * 4, abs=1e-5)
    assert torch.equal(embedded.vectors[0], embedded.vectors[3])
    assert embedded.tokens[1:3] == [2, 256], "a text has two tokens around it"
    assert embedded.truncated == [0, 0, 502 - 256, 0]
    short = plain.embed(TEXTS, 16)
    assert (short.tokens[2], short.truncated[2]) == (16, 502 - 16)
    assert plain.embed([]).vectors.shape == (0, 384)


def test_what_one_process_embedded_another_reads(
    plain: SentenceEncoder, demo_files: DemoFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, computed = cached(demo_files, tmp_path, monkeypatch)
    made = first.embed(TEXTS)
    assert computed == [3], "equal texts are embedded once"
    second, computed_again = cached(demo_files, tmp_path, monkeypatch)
    read = second.embed(TEXTS)
    assert computed_again == []
    assert torch.equal(read.vectors, made.vectors)
    assert (read.tokens, read.truncated) == (made.tokens, made.truncated)
    assert torch.allclose(plain.embed(TEXTS).vectors, made.vectors, atol=1e-6)
    second.embed([*TEXTS, "new"])
    assert computed_again == [1]
    second.embed(TEXTS[:1], 3)
    assert computed_again == [1, 1], "a text that is read in part is another"


def test_the_version_is_of_what_is_in_the_folder(plain: SentenceEncoder, demo_files: DemoFiles, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(demo_files.minilm, folder)
    assert SentenceEncoder(str(folder), CPU).version == plain.version
    (weights,) = folder.glob("*.safetensors")
    changed = load_file(weights)
    name = sorted(changed)[0]
    changed[name] = changed[name] + 0.01
    save_file(changed, weights, metadata={"format": "pt"})
    assert SentenceEncoder(str(folder), CPU).version != plain.version


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be loaded .*; give a folder with config, tokenizer and safetensors"):
        SentenceEncoder(str(tmp_path), CPU)
