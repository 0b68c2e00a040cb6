"""The holdout asked of the new adapter, the current one and the bars, as they propose in use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from label_configs.codebook import Code, Codebook, Kind, dump_codebook
from label_configs.errors import AdapterError
from label_configs.records import VerifiedExample
from ml_backend.adapters import AdapterStore
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.prompts import Prompt
from ml_backend.scoring import CausalScorer
from ml_backend.snapshot import write_examples
from ml_backend.source_config import SourceKind, Weights
from trainer.bars import TFIDF, Bar
from trainer.base_model import load_trainable
from trainer.demo.wheels import DemoFiles
from trainer.fit_plan import EXAMPLES_FILE, FitPlan
from trainer.judging import judge_holdout
from trainer.recipe import LoraRecipe, Precision, Quantization

SHORT = str(Path(__file__).parent / "short.j2")
CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)
CODES = (Code("s", "Ships", "About ships.", "ship"), Code("g", "Corn", "About corn.", "corn"))
BOOK = Codebook("small", Kind.EXCLUSIVE, CODES)
RECIPE = LoraRecipe(rank=4, epochs=1, max_document_tokens=32, precision=Precision.FP32, prompt=SHORT)
TEXTS = {"s": "ships in port", "g": "corn harvest"}


def examples(number: int, *, holdout: bool = False) -> list[VerifiedExample]:
    return [
        VerifiedExample(f"{holdout}{n}", f"{TEXTS['sg'[n % 2]]} {n}", ("sg"[n % 2],), ("ann",), holdout)
        for n in range(number)
    ]


ALL = [*examples(24), *examples(8, holdout=True)]


def drawn_adapter(base: Path, recipe: LoraRecipe, folder: Path, seed: int = 1) -> Path:
    """An adapter with weights so large that what holds the base's weights shows in its answers."""
    torch.manual_seed(seed)
    model, _ = load_trainable(str(base), recipe, CPU)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def plan(base: Path, recipe: LoraRecipe, current: Path | None = None) -> FitPlan:
    return FitPlan(str(base), recipe, base, current.name if current else None, current, 1)


def in_use(base: Path, adapter: Path, weights: Weights = Weights.AUTO) -> np.ndarray:
    """What a propose worker says of the holdout."""
    model = CausalModel(str(base), CPU, weights)
    with model.using("a", adapter) as causal:
        scored = CausalScorer(causal, Prompt(SHORT, BOOK, model.tokenizer, 32)).score([e.text for e in ALL[24:]])
    return np.array([one.probabilities for one in scored])


@pytest.fixture
def wide(tiny_llama: Path, tmp_path: Path) -> Path:
    """As wide as a block of four-bit weights."""
    folder = tmp_path / "wide"
    torch.manual_seed(3)
    config = LlamaConfig.from_pretrained(tiny_llama, hidden_size=64, intermediate_size=128, head_dim=16)
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return folder


def test_what_was_trained_on_quantised_weights_is_judged_on_those_it_proposes_with(wide: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    recipe = replace(RECIPE, quantization=Quantization.NF4)
    adapter = drawn_adapter(wide, recipe, tmp_path / "adapter")
    judged = judge_holdout(adapter, BOOK, ALL, plan(wide, recipe), CPU, pytest.fail)
    plain, quantised = in_use(wide, adapter), in_use(wide, adapter, Weights.NF4)
    assert np.abs(plain - quantised).max() > 1e-3, "else this test could not tell"
    assert np.array(judged["new"]) == pytest.approx(plain, abs=1e-6)


def test_the_current_adapter_is_asked_whole_and_beside_the_new_one(tiny_llama: Path, tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "store")
    old = drawn_adapter(tiny_llama, RECIPE, tmp_path / "old", seed=2)
    named = {"base": str(tiny_llama), "prompt": SHORT, "max_document_tokens": 32, "codebook": BOOK.fingerprint}
    current = store.publish(old, named)
    new = drawn_adapter(tiny_llama, RECIPE, tmp_path / "new")
    judged = judge_holdout(new, BOOK, ALL, plan(tiny_llama, RECIPE, current.folder), CPU, pytest.fail)
    assert np.array(judged["new"]) == pytest.approx(in_use(tiny_llama, new), abs=1e-6)
    assert np.array(judged["current"]) == pytest.approx(in_use(tiny_llama, old), abs=1e-6)
    assert np.abs(np.array(judged["new"]) - np.array(judged["current"])).max() > 1e-3
    weights = current.folder / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(AdapterError, match="damaged"):
        judge_holdout(new, BOOK, ALL, plan(tiny_llama, RECIPE, current.folder), CPU, pytest.fail)


@pytest.mark.models
def test_a_round_has_the_bars_in_its_outcome(tiny_llama: Path, demo_files: DemoFiles, tmp_path: Path) -> None:
    bars = [
        Bar("probe", SourceKind.PROBE, str(demo_files.minilm), 256, str(tmp_path)),
        Bar("near", SourceKind.SIMILARITY, str(demo_files.minilm), 256, str(tmp_path)),
        Bar("gone", SourceKind.PROBE, str(tmp_path / "absent"), 256),
    ]
    written = {
        "base": str(tiny_llama), "recipe": asdict(RECIPE), "current": None, "current_folder": None, "threads": 1,
        "bars": [asdict(bar) for bar in bars],
    }  # fmt: skip
    folder = tmp_path / "round"
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(written))
    (folder / "codebook.yaml").write_text(dump_codebook(BOOK))
    write_examples(folder / EXAMPLES_FILE, ALL)
    command = [sys.executable, "-m", "trainer.fit", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    notes = [told["note"] for line in done.stdout.splitlines() for told in [json.loads(line)] if "note" in told]
    assert [note.split(" is left out")[0] for note in notes] == ["gone"]
    outcome = json.loads((folder / "outcome.json").read_text())
    assert set(outcome["probabilities"]) == {"new", "current", TFIDF, "source:probe", "source:near"}
    assert all(np.array(rows).shape == (8, 2) for rows in outcome["probabilities"].values())
    truth = [list(one.labels) for one in ALL if one.holdout]
    for who in (TFIDF, "source:probe", "source:near"):
        assert outcome["predictions"][who] == truth, who
