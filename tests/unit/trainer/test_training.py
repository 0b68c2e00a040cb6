"""Training that is cut in parts, broken off, starved of memory or of disk comes to the same, or to a clear end."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from label_configs.errors import TrainingError
from label_configs.records import VerifiedExample
from ml_backend.devices import device_facts
from ml_backend.prompts import Prompt
from tests.unit.trainer.fitting import BOOK, QUICK, examples, fitted, make_loud_llama, silent, trainable
from trainer.base_model import load_trainable
from trainer.batches import MicroBatches, accumulation_of
from trainer.checkpoints import Checkpoints
from trainer.collate import Collator
from trainer.loss import SharedPrefixLoss
from trainer.sequences import Sequenced, sequences
from trainer.training import StartAgain, train
from trainer.validation import validation_split

DROPPED = replace(QUICK, epochs=2, dropout=0.3)  # its result depends on the random numbers of every step


@pytest.fixture(scope="module")
def base(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_loud_llama(tiny_llama, tmp_path_factory.mktemp("base") / "loud-llama")


def weighted(rows: list[Sequenced]) -> list[Sequenced]:
    """Rows that count differently, with answers of different length."""
    return [
        replace(
            row, weights=(0.25 + n % 3,), paths=((row.paths[0][0][: len(row.paths[0][0]) - n % 2], row.paths[0][1]),)
        )
        for n, row in enumerate(rows)
    ]


@pytest.mark.parametrize(("micro", "processes"), [(4, 1), (3, 1), (4, 2), (1, 3)])
def test_a_step_has_the_same_gradient_however_it_is_cut(base: Path, micro: int, processes: int) -> None:
    model, prompt = trainable(base, QUICK)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    rows = weighted(sequences(examples(8), prompt))
    loss, collator = SharedPrefixLoss(model, prompt.prefix_ids), Collator(len(prompt.prefix_ids))

    def gradient(accumulation: int, processes: int) -> torch.Tensor:
        model.zero_grad()
        for process in range(processes):
            for batch in _all(MicroBatches(rows, collator, [range(8)], accumulation, process, processes)):
                loss(**batch)["loss"].backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient(1, 1)
    found = gradient(accumulation_of(8, micro, processes), processes)
    assert (found - whole).norm() / whole.norm() < 1e-5
    alone = loss(**collator(rows))["loss"]
    model.zero_grad()
    alone.backward()
    mean = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert (mean - whole).norm() / whole.norm() < 1e-5, "the weighted mean over the tokens"


def _all(batches: MicroBatches) -> list[dict[str, torch.Tensor]]:
    return [batches[i] for i in range(len(batches))]


class Broken(Exception):
    """What ends a training in these tests."""


def until(step: int, error: Exception) -> Callable[[Mapping[str, Any]], None]:
    """Raise ``error`` once after so many steps."""
    left = [error]

    def emit(progress: Mapping[str, Any]) -> None:
        if progress.get("step") == step and left:
            raise left.pop()

    return emit


@pytest.mark.parametrize("broken_after", [2, 5])
def test_a_training_that_was_broken_off_comes_to_the_same_bits(base: Path, tmp_path: Path, broken_after: int) -> None:
    recipe = replace(DROPPED, micro_batch_size=4, validation_share=0.2, patience=9)
    undisturbed, _, last = fitted(base, recipe, tmp_path / "a", examples(32))
    model, prompt = trainable(base, recipe)
    with pytest.raises(Broken):
        train(model, prompt, examples(32), recipe, tmp_path / "b", until(broken_after, Broken()), checkpoint_seconds=0)
    (tmp_path / "b" / "checkpoints" / "writing" / "checkpoint-99").mkdir(parents=True)  # half-written
    told: list[Mapping[str, Any]] = []
    model, prompt = trainable(base, replace(recipe, seed=5))  # whatever was there before
    again = train(model, prompt, examples(32), recipe, tmp_path / "b", told.append)
    steps = [one for one in told if "seconds_left" in one]
    assert {"note": f"training goes on from step-{broken_after - 1}"} in told
    assert steps[0]["step"] == broken_after
    assert 0 <= steps[0]["seconds_left"] < 60, "by this process's pace"
    assert again == last
    assert Checkpoints(tmp_path / "b" / "checkpoints").resumed == [broken_after - 1], "the manifest says so"
    for (name, one), other in zip(undisturbed.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_a_damaged_checkpoint_is_passed_over(base: Path, tmp_path: Path) -> None:
    recipe = replace(DROPPED, micro_batch_size=4)
    undisturbed, _, _ = fitted(base, recipe, tmp_path / "a", examples(32))
    model, prompt = trainable(base, recipe)
    with pytest.raises(Broken):
        train(model, prompt, examples(32), recipe, tmp_path / "b", until(5, Broken()), checkpoint_seconds=0)
    kept = tmp_path / "b" / "checkpoints"
    assert sorted(path.name for path in kept.glob("step-*")) == ["step-3", "step-4"]
    weights = kept / "step-4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    told: list[Mapping[str, Any]] = []
    model, prompt = trainable(base, recipe)
    train(model, prompt, examples(32), recipe, tmp_path / "b", told.append)
    assert told[:2] == [
        {"note": "checkpoint step-4 is damaged and passed over"},
        {"note": "training goes on from step-3"},
    ]
    assert all(torch.equal(one, other) for one, other in zip(undisturbed.parameters(), model.parameters(), strict=True))


class Starved(SharedPrefixLoss):
    """Finds too little memory for more than ``fits`` documents at a time, from the third step on."""

    fits = 3
    steps = 0

    def forward(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        Starved.steps += self.training
        if Starved.steps > 2 and len(input_ids) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nGPU 0 has ..")
        return super().forward(input_ids, *args, **kwargs)


def test_a_device_that_is_full_gets_smaller_micro_batches(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(QUICK, epochs=2)
    plain: list[Mapping[str, Any]] = []
    model, prompt = trainable(base, recipe)
    train(model, prompt, examples(32), recipe, tmp_path / "a", plain.append)
    monkeypatch.setattr("trainer.training.SharedPrefixLoss", Starved)
    monkeypatch.setattr(Starved, "steps", 0)
    told: list[Mapping[str, Any]] = []
    model, prompt = trainable(base, recipe)
    train(model, prompt, examples(32), recipe, tmp_path / "b", told.append)
    notes = [one["note"] for one in told if "note" in one]
    smaller = "the device has too little memory for the recipe; micro_batch_size is {} from here on"
    goes_on = "training goes on from step-2"
    assert notes == [smaller.format(4), goes_on, smaller.format(2), goes_on]
    assert Checkpoints(tmp_path / "b" / "checkpoints").micro_batch_size == 2, "known to a process that takes over"
    losses, others = ([one["loss"] for one in run if "loss" in one] for run in (plain, told))
    assert [one["step"] for one in told if "loss" in one] == list(range(1, 9)), "no step is done twice"
    assert others == pytest.approx(losses, rel=1e-2)
    assert others[:3] == pytest.approx(losses[:3], rel=1e-4)


def test_one_of_several_processes_that_is_full_has_all_start_again(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.training.SharedPrefixLoss", Starved)
    monkeypatch.setattr(Starved, "steps", 9)
    monkeypatch.setattr("trainer.training.PartialState", lambda: SimpleNamespace(num_processes=2))
    model, prompt = trainable(base, QUICK)
    with pytest.raises(StartAgain):
        train(model, prompt, examples(16), QUICK, tmp_path, silent)
    assert Checkpoints(tmp_path / "checkpoints").micro_batch_size == 2, "each process took four of a step's eight"
    told: list[Mapping[str, Any]] = []
    train(model, prompt, examples(16), QUICK, tmp_path, told.append)
    assert [one["step"] for one in told if "loss" in one] == list(range(1, 9))


def test_a_device_too_small_for_one_document_ends_the_round(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.training.SharedPrefixLoss", Starved)
    monkeypatch.setattr(Starved, "fits", 0)
    monkeypatch.setattr(Starved, "steps", 9)
    model, prompt = trainable(base, QUICK)
    with pytest.raises(TrainingError, match=r"too little memory for one document \(CUDA .* GiB\); lower max_doc"):
        train(model, prompt, examples(16), QUICK, tmp_path, silent)


def test_a_full_disk_ends_the_round_with_one_line(base: Path, tmp_path: Path) -> None:
    model, prompt = trainable(base, QUICK)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # as small as a disk may be; Python ignores SIGXFSZ
    try:
        with pytest.raises(
            TrainingError, match=r"checkpoints: the checkpoint of step 1 cannot be written .*; free"
        ) as e:
            train(model, prompt, examples(16), QUICK, tmp_path, silent, checkpoint_seconds=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(e.value)
    assert Checkpoints(tmp_path / "checkpoints").newest(print) is None


def test_early_stopping_keeps_the_best_epoch(base: Path, tmp_path: Path) -> None:
    recipe = replace(QUICK, epochs=8, validation_share=0.3, patience=2)
    learned, held = validation_split(examples(40), 0.3)
    # What is learned is wrong of the documents validated on.
    rows = [replace(row, labels=("g",)) for row in learned] + [replace(row, labels=("s",)) for row in held]
    told: list[Mapping[str, Any]] = []
    model, prompt = trainable(base, recipe)
    train(model, prompt, rows, recipe, tmp_path, told.append)
    measured = [one["validation_loss"] for one in told if "validation_loss" in one]
    best = measured.index(min(measured))
    assert len(measured) == min(8, best + 1 + 2)
    assert len(measured) < 8, "it stops early"
    found = validation_loss(model, prompt, rows, recipe.validation_share)
    assert found == pytest.approx(min(measured), rel=1e-4)


def validation_loss(model: Any, prompt: Any, rows: list[VerifiedExample], share: float) -> float:
    held = sequences(validation_split(rows, share)[1], prompt)
    model.eval()
    with torch.no_grad():
        return float(SharedPrefixLoss(model, prompt.prefix_ids)(**Collator(len(prompt.prefix_ids))(held))["loss"])


def test_the_slice_is_drawn_by_document_and_off_by_default(base: Path) -> None:
    rows = examples(400)
    learned, held = validation_split(rows, 0.25)
    assert len(learned) + len(held) == 400
    assert 70 < len(held) < 130
    assert validation_split(rows[::-1], 0.25)[1] == held[::-1]
    assert validation_split(rows, QUICK.validation_share) == (rows, [])
    silver = [replace(row, silver=True) for row in rows]
    assert validation_split(silver, 0.25) == (silver, [])


def test_without_a_single_label_there_is_nothing_to_learn(base: Path, tmp_path: Path) -> None:
    model, prompt = trainable(base, QUICK)
    with pytest.raises(TrainingError, match="no training document has a label"):
        train(model, prompt, [replace(row, labels=()) for row in examples(4)], QUICK, tmp_path, silent)


def test_checkpoints_hold_the_adapter_and_no_pickled_object(base: Path, tmp_path: Path) -> None:
    model, prompt = trainable(base, QUICK)
    with pytest.raises(Broken):
        train(model, prompt, examples(32), QUICK, tmp_path, until(3, Broken()), checkpoint_seconds=0)
    newest = Checkpoints(tmp_path / "checkpoints").newest(print)
    assert newest is not None
    assert {file.name for file in newest.iterdir()} == {
        "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "digests.json",
    }  # fmt: skip
    for file in ("optimizer.pt", "scheduler.pt"):
        torch.load(newest / file, weights_only=True)
    assert len(load_file(newest / "model.safetensors")) == 2 * 7 * 2, "the adapter alone"


@pytest.mark.gpu
def test_a_real_gpu_that_is_full_gets_smaller_micro_batches(base: Path, tmp_path: Path) -> None:
    facts = device_facts()
    assert facts.kind == "cuda"
    recipe = replace(QUICK, epochs=1, batch_size=4096, micro_batch_size=4096)
    model, tokenizer = load_trainable(str(base), recipe, facts)
    prompt = Prompt(recipe.prompt, BOOK, tokenizer, recipe.max_document_tokens)
    told: list[Mapping[str, Any]] = []
    torch.cuda.set_per_process_memory_fraction(300 * 2**20 / facts.memory)
    try:
        train(model, prompt, examples(4096), recipe, tmp_path, told.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("micro_batch_size is" in one["note"] for one in told if "note" in one)
    assert [one["step"] for one in told if "loss" in one] == [1]
