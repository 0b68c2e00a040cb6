"""The pool: one base in memory, adapters come and go without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from label_configs.errors import AdapterError, ModelError
from label_configs.records import Document
from ml_backend import adapters
from ml_backend.adapters import Adapter, store_of
from ml_backend.devices import DeviceFacts
from ml_backend.experiment import Project
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources import pool as pools
from ml_backend.sources.pool import SourcePool
from ml_backend.versions import ActiveSource, active_sources, source_version

DOCUMENTS = [Document("d1", "A tanker left the port."), Document("d2", "Wheat rose.")]


def publish(project: Project, base: Path, seed: int) -> Adapter:
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

    def counted(model: str, facts: DeviceFacts) -> Any:
        loads.append(model)
        return load(model, facts)

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
    model = pool._models[str(tiny_llama)]
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
