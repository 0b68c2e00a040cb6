"""Rounds that fail or are stopped, on a real Label Studio with a real training: what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from label_studio_sdk import LabelStudio
from redis import Redis
from transformers import AutoModelForCausalLM, AutoTokenizer

from label_configs.errors import TrainingError
from label_configs.forms import ReviewForm
from label_configs.render import render_label_config
from ml_backend import adapters, promotions
from ml_backend.adapter_files import FILES
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.round_queue import take_back
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Gate, Training
from tests.integration.coded import CODEBOOK, code
from tests.integration.running import training_of, trains, until
from trainer import fine_tuning
from trainer.due_rounds import DueRounds
from trainer.jobs import perform_round
from trainer.launching import launch_command
from trainer.rounds import RoundRecord, RoundState, list_rounds, rounds_folder
from trainer.tether import tethered
from trainer.up import environment

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(300)]

FIRST, AGAIN = 20, 10  # verified documents that make a round due, and new ones that make another
OVERRIDES = {
    "batch_size": 4, "micro_batch_size": 4, "max_document_tokens": 32, "rank": 8, "precision": "fp32",
    "prompt": "zero_shot",
}  # fmt: skip
LONG = 120  # seconds


@dataclass(frozen=True)
class Desk:
    """A project of whose documents so many are verified that a round is due; it has an adapter."""

    settings: Settings
    redis: Redis
    client: LabelStudioClient
    sdk: LabelStudio
    project: Project

    @property
    def record(self) -> RoundRecord:
        (record,) = list_rounds(rounds_folder(self.project.home, self.project.id))
        return record

    def due(self) -> bool:
        """Whether the scheduler finds a round due; what it enqueued is taken back."""
        found = DueRounds(self.redis, self.client).look(self.project)
        return take_back(self.redis, self.project.id) and found

    def with_training(self, base: Path, *, epochs: int) -> Desk:
        """The same project with another training."""
        training = Training(
            str(base), overrides={**OVERRIDES, "epochs": epochs}, thresholds=(FIRST,), every=AGAIN, holdout_share=0.3,
            gate=Gate(minimum=1),
        )  # fmt: skip
        experiment = replace(self.project.experiment, training=training)
        return replace(self, project=register(self.settings.home, self.project.id, experiment, CODEBOOK))


@pytest.fixture
def desk(settings: Settings, redis: Redis, client: LabelStudioClient, sdk: LabelStudio, tmp_path: Path) -> Desk:
    settings = settings.model_copy(update={"threads": 1})
    made = client.create_project("rounds that end early", render_label_config(CODEBOOK, ReviewForm.WHOLE))
    sources = (SourceConfig("words", SourceKind.FAKE),)
    project = register(settings.home, made, Experiment("things", sources, review=Review(ReviewForm.WHOLE)), CODEBOOK)
    code(sdk, made, range(FIRST))
    (tmp_path / "adapter").mkdir()
    for name in FILES:
        (tmp_path / "adapter" / name).write_text(name)
    store = adapters.store_of(settings.home)
    manifest = {"base": "base", "codebook": CODEBOOK.fingerprint, "prompt": "zero_shot", "max_document_tokens": 32}
    promotions.promote(project.folder, store.publish(tmp_path / "adapter", manifest))
    return Desk(settings, redis, client, sdk, project)


def damaged(tiny_llama: Path, folder: Path) -> Path:
    """A model whose every answer is no number."""
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(torch.nan)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return folder


def on_a_full_disk(folder: Path, devices: int) -> list[str]:
    """The training's command, whose files may have 16 KB each: fewer than an adapter has."""
    return ["sh", "-c", 'ulimit -f 32; exec "$0" "$@"', *launch_command(folder, devices)]


@pytest.mark.parametrize("trouble", ["no number", "full disk"])
def test_a_round_that_fails_leaves_the_adapter_and_the_next_threshold(
    desk: Desk, trouble: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "full disk":
        monkeypatch.setattr(fine_tuning, "launch_command", on_a_full_disk)
        base, reason = tiny_llama, "the adapter cannot be written ("
    else:
        base, reason = damaged(tiny_llama, tmp_path / "damaged"), "the loss is no longer finite; lower learning_rate"
    desk = desk.with_training(base, epochs=1)
    before = promotions.current(desk.project.folder)
    assert desk.due()
    with pytest.raises(TrainingError) as caught:
        perform_round(desk.settings, desk.redis, desk.client, desk.project)
    record = desk.record
    assert (record.state, record.verified, record.adapter_id) == (RoundState.FAILED, FIRST, "")
    assert record.reason == str(caught.value)
    assert reason in record.reason
    assert "\n" not in record.reason
    assert before == promotions.current(desk.project.folder) is not None
    assert adapters.store_of(desk.settings.home).ids() == [before]
    assert not desk.due(), "it is not repeated on the same documents"
    code(desk.sdk, desk.project.id, range(FIRST, FIRST + AGAIN))
    assert desk.due()


@pytest.fixture
def worker(desk: Desk) -> Iterator[None]:
    """A train worker."""
    command = tethered([sys.executable, "-m", "trainer.cli", "worker", "train"])
    with (desk.settings.home / "train.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment(desk.settings), stdout=log, stderr=log)
    until(lambda: live_workers(desk.redis, WorkerKind.TRAIN), LONG)
    yield
    process.terminate()
    process.wait(LONG)
    until(lambda: training_of(desk.settings.home) is None, LONG)


@pytest.mark.usefixtures("worker")
def test_a_round_is_stopped_by_a_command(desk: Desk, tiny_llama: Path) -> None:
    desk = desk.with_training(tiny_llama, epochs=1000)

    def train(*options: str) -> str:
        command = [sys.executable, "-m", "trainer.cli", "train", "--project", str(desk.project.id), *options]
        variables = os.environ | environment(desk.settings) | {"COLUMNS": "80"}
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout

    assert train("--no-wait") == "A round is enqueued.\n"
    until(lambda: trains(desk.settings.home), LONG)
    before = promotions.current(desk.project.folder)
    said = train("--stop").splitlines()
    record = desk.record
    assert said[0] == "The round is asked to end at its next step."
    assert said[-1] == f"stopped: {record.reason}"
    assert record.state is RoundState.STOPPED
    assert record.reason.startswith("stopped on request after step ")
    assert training_of(desk.settings.home) is None
    (checkpoint,) = (rounds_folder(desk.project.home, desk.project.id) / record.id / "checkpoints").glob("step-*")
    assert checkpoint.name == f"step-{record.reason.split()[5]}"
    assert promotions.current(desk.project.folder) == before
    assert not desk.due(), "only by hand does it go on"
