"""The pool: one base in memory, adapters come and go without a restart."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from label_configs.errors import AdapterError, ModelError
from label_configs.records import Document, VerifiedExample
from ml_backend import adapters
from ml_backend.adapters import Adapter, store_of
from ml_backend.base_state import base_state
from ml_backend.devices import DeviceFacts
from ml_backend.experiment import Project
from ml_backend.snapshot import publish_snapshot
from ml_backend.source_config import SourceConfig, SourceKind, Weights
from ml_backend.sources import pool as pools
from ml_backend.sources.pool import SourcePool
from ml_backend.versions import ActiveSource, active_sources, source_version
from trainer.demo.wheels import DemoFiles

DOCUMENTS = [Document("d1", "A tanker left the port."), Document("d2", "Wheat rose.")]


def publish(project: Project, base: Path, seed: int, **more: object) -> Adapter:
    torch.manual_seed(seed)
    tuned: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    folder = project.home / f"trained-{seed}"
    tuned.save_pretrained(folder)
    manifest = {
        "base": str(base),
        "prompt": "zero_shot",
        "max_document_tokens": 512,
        "codebook": project.codebook.fingerprint,
        **more,
    }
    return store_of(project.home).publish(folder, manifest)


@pytest.fixture
def pool(project: Project, cpu: DeviceFacts) -> SourcePool:
    return SourcePool(cpu, store_of(project.home))


@pytest.fixture
def base(tiny_llama: Path) -> ActiveSource:
    config = SourceConfig("zero", SourceKind.CAUSAL, str(tiny_llama), "zero_shot")
    return ActiveSource(config, source_version(config, None))


def of_adapter(project: Project, adapter: Adapter) -> ActiveSource:
    return active_sources(project, adapter)[-1]


def test_base_and_adapters_share_one_model_and_answer_for_themselves(
    pool: SourcePool, project: Project, base: ActiveSource, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load = pools.CausalModel

    def counted(model: str, facts: DeviceFacts, weights: Weights) -> Any:
        loads.append(model)
        return load(model, facts, weights)

    monkeypatch.setattr(pools, "CausalModel", counted)
    first = pool.source(project.codebook, base).propose(DOCUMENTS)
    tuned = of_adapter(project, publish(project, tiny_llama, 1))
    with_adapter = pool.source(project.codebook, tuned).propose(DOCUMENTS)
    assert [p.labels for p in pool.source(project.codebook, base).propose(DOCUMENTS)] == [p.labels for p in first]
    assert [p.labels for p in with_adapter] != [p.labels for p in first]
    assert {p.version for p in with_adapter} == {tuned.version}
    assert [p.source for p in with_adapter] == ["adapter", "adapter"]
    assert loads == [str(tiny_llama)]
    for proposal in (*first, *with_adapter):
        assert sum(s.probability for s in proposal.labels) == pytest.approx(1, abs=1e-5)
        assert {s.label for s in proposal.labels} == {"ship", "shipping", "grain"}


def test_adapters_make_room_for_newer_ones(
    pool: SourcePool, project: Project, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "ADAPTERS_KEPT", 2)
    tuned = [of_adapter(project, publish(project, tiny_llama, seed)) for seed in (1, 2, 3)]
    first = [p.labels for p in pool.source(project.codebook, tuned[0]).propose(DOCUMENTS)]
    for active in tuned[1:]:
        pool.source(project.codebook, active).propose(DOCUMENTS)
    model = pool._models[str(tiny_llama), Weights.AUTO]
    assert model._peft is not None
    assert sorted(model._peft.peft_config) == sorted(str(a.adapter_id) for a in tuned[1:])
    again = pool.source(project.codebook, tuned[0]).propose(DOCUMENTS)
    assert [p.labels for p in again] == first
    assert tuned[1].adapter_id not in model._peft.peft_config


def test_damaged_and_missing_parts_are_told(
    pool: SourcePool, project: Project, base: ActiveSource, tiny_llama: Path
) -> None:
    adapter = publish(project, tiny_llama, 1)
    (adapter.folder / adapters.FILES[1]).write_bytes(b"damaged")
    with pytest.raises(AdapterError, match="damaged"):
        pool.source(project.codebook, of_adapter(project, adapter))
    for kind in (SourceKind.CAUSAL, SourceKind.SIMILARITY):
        absent = SourceConfig("a", kind, str(tiny_llama / "absent"))
        with pytest.raises(ModelError, match="cannot be loaded"):
            pool.source(project.codebook, ActiveSource(absent, "v"))
    assert pool.source(project.codebook, base) is pool.source(project.codebook, base)


def test_bytes_are_looked_at_whenever_they_are_loaded(pool: SourcePool, project: Project, tiny_llama: Path) -> None:
    adapter = publish(project, tiny_llama, 1)
    source = pool.source(project.codebook, of_adapter(project, adapter))
    weights = adapter.folder / adapters.FILES[1]
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"x")
    with pytest.raises(AdapterError, match="damaged"):
        source.propose(DOCUMENTS)
    weights.write_bytes(whole)
    assert source.propose(DOCUMENTS)


def test_an_adapter_of_another_codebook_or_base_is_refused(
    pool: SourcePool, project: Project, tiny_llama: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_llama, tmp_path / "base"))
    state = base_state(str(base))
    assert state is not None
    adapter = publish(project, base, 1, base_digest=state.digest)
    active = of_adapter(project, adapter)
    with pytest.raises(AdapterError, match="was trained for another codebook"):
        pool.source(replace(project.codebook, instruction="Why?"), active)
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(AdapterError, match="was trained over another state of"):
        pool.source(project.codebook, active)


@pytest.mark.models
def test_probes_of_earlier_examples_are_forgotten(
    pool: SourcePool, project: Project, demo_files: DemoFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "SNAPSHOTS_KEPT", 2)
    config = SourceConfig("probe", SourceKind.PROBE, str(demo_files.minilm))
    words = {"ship": "A tanker left the port.", "grain": "Wheat rose."}

    def probe(number: int, folder: Path = project.folder) -> ActiveSource:
        examples = [
            VerifiedExample(f"d{n}", f"{text} {n}", (code,), (), False)
            for n, (code, text) in enumerate([*words.items()] * number)
        ]
        path = publish_snapshot(folder, examples)
        return ActiveSource(config, source_version(config, None, path.stem), snapshot=path)

    first, second, third = probe(2), probe(3), probe(4)
    elsewhere = probe(5, project.folder / "another-project")
    sources = [pool.source(project.codebook, active) for active in (elsewhere, first, second, first, third)]
    assert sources[1] is sources[3]
    assert pool.source(project.codebook, third) is sources[4]
    assert pool.source(project.codebook, first) is sources[1]
    assert pool.source(project.codebook, second) is not sources[2]
    assert pool.source(project.codebook, elsewhere) is sources[0], "another project's"
    (found,) = pool.source(project.codebook, third).propose(DOCUMENTS[:1])
    assert found.labels[0].label == "ship"
    assert (project.home / "embeddings" / "embeddings.sqlite3").exists()
