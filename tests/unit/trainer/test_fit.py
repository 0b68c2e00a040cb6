"""Fine-tuning on a tiny model, by the real entry point."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from label_configs.errors import AdapterError, TrainingError
from ml_backend.adapters import AdapterStore
from ml_backend.causal_model import CausalModel
from ml_backend.devices import device_facts
from ml_backend.prompts import Prompt
from ml_backend.scoring import CausalScorer
from tests.unit.trainer.fitting import BOOK, CPU, QUICK, SHORT, examples, fitted, make_loud_llama, planned, silent
from trainer.base_model import load_trainable
from trainer.fit import main, run, train
from trainer.judging import chosen
from trainer.loss import SharedPrefixLoss
from trainer.recipe import Precision
from trainer.training import StartAgain


@pytest.fixture(scope="module")
def base(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_loud_llama(tiny_llama, tmp_path_factory.mktemp("base") / "loud-llama")


def test_a_separable_task_is_learned(base: Path, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    torch.manual_seed(0)
    model, tokenizer = load_trainable(str(base), QUICK, CPU)
    prompt = Prompt(QUICK.prompt, BOOK, tokenizer, QUICK.max_document_tokens)
    last = train(model, prompt, examples(32), QUICK, tmp_path, lambda progress: told.append(dict(progress)))
    losses = [step["loss"] for step in told if "loss" in step]
    assert len(losses) == 4 * 4
    assert last == losses[-1] < 0.3 * losses[0]
    steps = [(step["step"], step["steps"]) for step in told if "seconds_left" in step]
    assert steps == [(n, 16) for n in range(1, 17)]
    model.eval()
    scored = CausalScorer(model.get_base_model(), prompt).score([e.text for e in examples(10, holdout=True)])
    assert chosen(BOOK, [one.probabilities.tolist() for one in scored]) == [
        example.labels for example in examples(10, holdout=True)
    ]


def test_the_same_seed_gives_the_same_adapter(base: Path, tmp_path: Path) -> None:
    quick = replace(QUICK, epochs=1)
    runs = [fitted(base, quick, tmp_path, examples(16))[0].state_dict() for _ in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_micro_batches_make_the_same_step(base: Path, tmp_path: Path) -> None:
    once = replace(QUICK, epochs=1)
    parts = replace(once, micro_batch_size=2)
    one = fitted(base, once, tmp_path, examples(8))[0].state_dict()
    other = fitted(base, parts, tmp_path, examples(8))[0].state_dict()
    # Adam's first step is as large for a gradient that is noise, so a few entries may point elsewhere.
    apart = [(one[n] - other[n]).abs() > 1e-3 for n in one if "lora_B" in n]
    assert sum(int(a.sum()) for a in apart) < 0.02 * sum(a.numel() for a in apart)


def test_bfloat16_on_a_cpu_trains(base: Path, tmp_path: Path) -> None:
    recipe = replace(QUICK, epochs=1, precision=Precision.BF16)
    model, _, loss = fitted(base, recipe, tmp_path, examples(16))
    assert math.isfinite(loss)
    held = {p.requires_grad: p.dtype for p in model.parameters()}
    assert held == {True: torch.float32, False: torch.bfloat16}, "what is trained is held in full"


def test_a_loss_that_is_no_number_is_refused(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_trainable(str(base), QUICK, CPU)
    prompt = Prompt(QUICK.prompt, BOOK, tokenizer, QUICK.max_document_tokens)
    told: list[dict[str, Any]] = []
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if "lora_B" in name).fill_(math.nan)
    with pytest.raises(TrainingError, match="no longer finite; lower learning_rate"):
        train(model, prompt, examples(16), QUICK, tmp_path, lambda progress: told.append(dict(progress)))
    assert max(step["step"] for step in told) == 1, "it stops at the first step"


def test_weights_that_left_the_numbers_are_refused(base: Path, tmp_path: Path) -> None:
    wild = replace(QUICK, epochs=1, learning_rate=0.99, max_grad_norm=1e30)
    model, tokenizer = load_trainable(str(base), wild, CPU)
    prompt = Prompt(wild.prompt, BOOK, tokenizer, wild.max_document_tokens)
    for p in (p for name, p in model.named_parameters() if "lora_A" in name):
        p.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingError, match="no longer finite"):
        train(model, prompt, examples(8), wild, tmp_path, silent)


# --- the process ----------------------------------------------------------------------------------------------------


TRUTH = [list(e.labels) for e in examples(10, holdout=True)]


def publish(store: AdapterStore, folder: Path, base: Path, **changes: object) -> Path:
    manifest = {
        "base": str(base),
        "prompt": SHORT,
        "max_document_tokens": 32,
        "codebook": BOOK.fingerprint,
    } | changes
    return store.publish(folder / "adapter", manifest).folder


def test_a_round_leaves_an_adapter_and_an_outcome(base: Path, tmp_path: Path) -> None:
    folder = planned(tmp_path / "round", base)
    command = [sys.executable, "-m", "trainer.fit", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "2"}
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [t["stage"] for t in told if "stage" in t] == ["load", "train", "judge", "done"]
    outcome = json.loads((folder / "outcome.json").read_text())
    assert outcome["predictions"]["new"] == TRUTH
    assert len(outcome["predictions"]["current"]) == 10
    for who in ("new", "current"):
        rows = outcome["probabilities"][who]
        assert [["sg"[row.index(max(row))]] for row in rows] == outcome["predictions"][who]
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"]), "the same adapter has the same bytes"
    assert outcome["loss"] < 3
    # What was saved is what was judged.
    adapter = publish(AdapterStore(tmp_path / "adapters"), folder, base)
    model = CausalModel(str(base), CPU)
    prompt = Prompt(SHORT, BOOK, model.tokenizer, 32)
    with model.using(adapter.name, adapter) as causal:
        scored = CausalScorer(causal, prompt).score([e.text for e in examples(10, holdout=True)])
    assert [[BOOK.label_keys[int(s.probabilities.argmax())]] for s in scored] == TRUTH


def test_a_base_that_cannot_share_a_prefix_is_refused(base: Path, tmp_path: Path) -> None:
    recurrent = tmp_path / "mamba"
    MambaForCausalLM(MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2)).save_pretrained(recurrent)
    AutoTokenizer.from_pretrained(base).save_pretrained(recurrent)
    with pytest.raises(TrainingError, match=r"mamba: its layers cannot share a prompt's beginning.*use another base"):
        run(planned(tmp_path / "round", recurrent, recipe=replace(QUICK, target_modules=("in_proj",))), silent)


def test_the_current_adapter_is_asked_as_it_proposes(base: Path, tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "adapters")
    first = planned(tmp_path / "first", base)
    run(first, silent)
    current = publish(store, first, base)
    weak = replace(QUICK, epochs=1, learning_rate=1e-6, prompt="definitions")
    second = planned(tmp_path / "second", base, current, weak)
    run(second, silent)
    outcome = json.loads((second / "outcome.json").read_text())
    assert outcome["predictions"]["current"] == TRUTH, "with its own prompt, not the new recipe's"
    assert outcome["predictions"]["new"] != TRUTH


def test_the_current_adapter_may_have_another_base(base: Path, tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "adapters")
    first = planned(tmp_path / "first", base)
    run(first, silent)
    current = publish(store, first, base)
    wide = tmp_path / "wide"
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig.from_pretrained(base, hidden_size=64)).save_pretrained(wide)
    AutoTokenizer.from_pretrained(base).save_pretrained(wide)
    second = planned(tmp_path / "second", wide, current, replace(QUICK, epochs=1))
    run(second, silent)
    assert json.loads((second / "outcome.json").read_text())["predictions"]["current"] == TRUTH
    lying = publish(store, first_with_other_bytes(first), wide)
    third = planned(tmp_path / "third", wide, lying, replace(QUICK, epochs=1))
    with pytest.raises(AdapterError, match="does not load over"):
        run(third, silent)


def first_with_other_bytes(folder: Path) -> Path:
    path = folder / "adapter" / "adapter_config.json"
    path.write_text(path.read_text() + "\n")
    return folder


def test_errors_are_one_line_of_json_and_code_two(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = planned(tmp_path / "round", tmp_path / "absent")
    monkeypatch.setattr(sys, "argv", ["fit", str(folder)])
    assert main() == 2
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "cannot be loaded" in last["error"]
    assert not (folder / "outcome.json").exists()


def test_running_out_of_memory_is_explained(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("trainer.fit.run", exhausted)
    monkeypatch.setattr(sys, "argv", ["fit", str(tmp_path)])
    assert main() == 2
    assert "lower micro_batch_size in the recipe" in capsys.readouterr().out
    assert device_facts().kind in ("cpu", "cuda")


def test_the_launcher_is_asked_to_start_all_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_small(*_: object) -> None:
        raise StartAgain("CUDA out of memory.")

    monkeypatch.setattr("trainer.fit.run", too_small)
    monkeypatch.setattr(sys, "argv", ["fit", str(tmp_path)])
    assert main() == 3


def test_an_adapter_that_is_whole_is_not_trained_again(base: Path, tmp_path: Path) -> None:
    folder = planned(tmp_path / "round", base, recipe=replace(QUICK, epochs=1))
    run(folder, silent)
    first = json.loads((folder / "outcome.json").read_text())
    before = {file.name: file.stat().st_mtime_ns for file in (folder / "adapter").iterdir()}
    (folder / "outcome.json").unlink()
    told: list[Mapping[str, Any]] = []
    run(folder, told.append)
    assert [one["stage"] for one in told if "stage" in one] == ["judge", "done"]
    assert json.loads((folder / "outcome.json").read_text()) == first
    assert {file.name: file.stat().st_mtime_ns for file in (folder / "adapter").iterdir()} == before
    assert not (folder / "checkpoints").exists()


class Lost(SharedPrefixLoss):
    """Finds no number from the second step on."""

    steps = 0

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        Lost.steps += 1
        found = super().forward(*args, **kwargs)["loss"]
        return {"loss": found if Lost.steps == 1 else found * math.nan}


def test_a_loss_that_is_no_number_leaves_nothing(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.training.SharedPrefixLoss", Lost)
    told: list[dict[str, Any]] = []
    folder = planned(tmp_path / "round", base)
    with pytest.raises(TrainingError, match="no longer finite"):
        run(folder, lambda one: told.append(dict(one)))
    assert [one["step"] for one in told if "step" in one] == [1, 2], "it does not train on"
    assert not (folder / "adapter").exists()
    assert not (folder / "outcome.json").exists()


def test_an_adapter_that_the_disk_cannot_take_is_told_in_one_line(base: Path, tmp_path: Path) -> None:
    full = planned(tmp_path / "full", base, recipe=replace(QUICK, epochs=1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # as small as a disk may be; Python ignores SIGXFSZ
    try:
        with pytest.raises(TrainingError, match=r"adapter: the adapter cannot be written .*; free some") as e:
            run(full, silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(e.value)
    assert not (full / "adapter").exists()
    assert not (full / "outcome.json").exists()
