"""`winnow train --examples` as a process, on a tiny model: from a file to an adapter that proposes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from label_configs.codebook import load_codebook
from label_configs.drawing import is_holdout
from label_configs.records import Document, VerifiedExample
from ml_backend.adapters import store_of
from ml_backend.devices import DeviceFacts
from ml_backend.snapshot import read_examples
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.pool import SourcePool
from ml_backend.versions import adapter_source
from tests.integration.running import processes_of, training_of, trains, until

pytestmark = pytest.mark.timeout(300)

CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)
CODES = """codes:
  - {key: s, name: Ships, definition: About ships., word: ship}
  - {key: g, name: Corn, definition: About corn., word: corn}
"""
RECIPE = """
rank: 8
alpha: 32
learning_rate: 1e-2
epochs: EPOCHS
max_document_tokens: 32
precision: fp32
prompt: zero_shot
"""
ROWS = 50
KINDS = {  # what the codebook begins with, and what stands in the column of codes
    "exclusive": ("kind: exclusive\n", ["s", "CORN"]),
    "multilabel": ("kind: multilabel\n", ["s", "Ships|corn", "none"]),
    "graded": ("kind: graded\nlevels: [low, high]\n", ["ships:low", "s:high|g:low", "g:high"]),
}
SECOND = {"exclusive": ("g",), "multilabel": ("g", "s"), "graded": ("g:low", "s:high")}  # labels of the second row
Winnow = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"WINNOW_HOME": str(home), "WINNOW_THREADS": "1", "COLUMNS": "160"}


def files(folder: Path, kind: str, *, epochs: int = 1) -> list[str]:
    """Writes a small team's files; the arguments that name them."""
    head, cells = KINDS[kind]
    (folder / "codebook.yaml").write_text(f"name: things\n{head}{CODES}")
    (folder / "recipe.yaml").write_text(RECIPE.replace("EPOCHS", str(epochs)))
    lines = [f"doc-{n},{'sgx'[n % len(cells)] * 20}{n},{cells[n % len(cells)]}" for n in range(ROWS)]
    (folder / "verified.csv").write_text("story,body,topic\n" + "\n".join(lines) + "\n")
    columns = ["--id-column", "story", "--text-column", "body", "--code-column", "topic"]
    return ["--examples", "verified.csv", "--codebook", "codebook.yaml", *columns, "--recipe", "./recipe.yaml"]


@pytest.fixture
def winnow(tmp_path: Path, home: Path, tiny_llama: Path) -> Winnow:
    """Runs `winnow train` in the test's folder, on the tiny model."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trainer.cli", "train", *arguments, "--base", str(tiny_llama)]
        return subprocess.run(command, cwd=tmp_path, env=environment(home), capture_output=True, text=True, check=False)

    return run


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_becomes_an_adapter_that_proposes(
    winnow: Winnow, tmp_path: Path, home: Path, tiny_llama: Path, kind: str
) -> None:
    arguments = [*files(tmp_path, kind), "--holdout-share", "0.6", "--json"]
    report = told(winnow(*arguments, "--dry-run"))
    assert not list(home.glob("offline/*")), "a dry run leaves nothing"
    result = told(winnow(*arguments))
    assert (report["training"], report["holdout"]) == (result["training_examples"], result["holdout_examples"])
    held = sum(is_holdout(f"doc-{n}", 0.6) for n in range(ROWS))
    assert held >= 20
    assert (result["holdout"]["n"], result["holdout_examples"], result["training_examples"]) == (
        held,
        held,
        ROWS - held,
    )
    assert (result["base"], result["leaks"], result["earlier"]) == (str(tiny_llama), 0, False)
    assert result["verdict"] in ("promoted", "kept")
    assert f"on {held} holdout documents" in result["reason"]
    assert result["seconds"] > 0
    for figures in (result["holdout"], result["holdout"]["base"]):
        assert all(0 <= figures[name] <= 1 for name in ("accuracy", "macro_f1", "balanced_accuracy", "ece"))

    codebook = load_codebook(tmp_path / "codebook.yaml")
    adapter = store_of(home).get(result["adapter_id"])
    assert adapter.manifest["gate"]["n"] == held
    assert adapter.manifest["ece"] == result["holdout"]["ece"]
    assert adapter.manifest["ece_tempered"] == result["holdout"]["ece_tempered"]
    assert adapter.manifest["temperature"] == result["temperature"]
    active = adapter_source(adapter, codebook, SourceConfig("mine", SourceKind.ADAPTER, adapter=adapter.id))
    source = SourcePool(CPU, store_of(home)).source(codebook, active)
    (proposal,) = source.propose([Document("new", "s" * 30)])
    assert {scored.label for scored in proposal.labels} == set(codebook.label_keys)

    (folder,) = (home / "offline").iterdir()
    examples = {e.document_id: e for e in read_examples(folder / "examples.parquet")}
    assert len(examples) == ROWS
    beside = store_of(home).get(result["adapter_id"]).folder
    assert read_examples(beside / "examples.parquet") == list(examples.values())
    assert json.loads((beside / "examples.json").read_text()) == report
    assert examples["doc-1"] == VerifiedExample("doc-1", "g" * 20 + "1", SECOND[kind], (), is_holdout("doc-1", 0.6))


def test_killed_stopped_and_run_again(winnow: Winnow, tmp_path: Path, home: Path, tiny_llama: Path) -> None:
    arguments = files(tmp_path, "exclusive", epochs=20)
    process = started(arguments, tmp_path, home, tiny_llama)
    process.kill()
    process.communicate(timeout=30)
    until(lambda: not processes_of(home), 30)
    (folder,) = (home / "offline").iterdir()
    assert not (folder / "outcome.json").exists()
    assert not (home / "adapters").exists()

    # Neither the lock nor the files that it left are an obstacle.
    result = told(winnow(*arguments, "--json"))
    assert store_of(home).get(result["adapter_id"]).manifest["round"] == folder.name
    assert told(winnow(*arguments, "--json")) == result | {"earlier": True}

    # Trained anew and stopped by Ctrl-C, what was published stays.
    process = started([*arguments, "--again"], tmp_path, home, tiny_llama)
    until(lambda: trains(home), 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Nothing was published. The same command goes on from where it was." in err
    assert err.endswith("winnow: stopped\n")
    until(lambda: not processes_of(home), 30)
    again = winnow(*arguments)
    assert result["adapter_id"] in again.stdout
    assert "--again trains anew" in again.stdout

    # It goes on from the checkpoint that the stop left, and comes to the same adapter.
    (checkpoint,) = (folder / "checkpoints").glob("step-*")  # none is written otherwise within a minute
    done = winnow(*arguments, "--again", "--json")
    assert told(done) | {"seconds": 0} == result | {"seconds": 0}
    assert f"training goes on from {checkpoint.name}" in done.stderr


def test_what_the_training_process_cannot_do_is_one_line(winnow: Winnow, tmp_path: Path, home: Path) -> None:
    arguments = files(tmp_path, "exclusive")
    # Modules that this model has not: seen only once it is loaded.
    (tmp_path / "recipe.yaml").write_text("target_modules: [no_such_module]\n")
    done = winnow(*arguments, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("winnow: recipe: target_modules: ")
    assert "Traceback" not in done.stderr
    assert not (home / "adapters").exists()


def started(arguments: list[str], folder: Path, home: Path, base: Path) -> subprocess.Popen[str]:
    """A training whose process has begun to train."""
    command = [sys.executable, "-m", "trainer.cli", "train", *arguments, "--base", str(base), "--json"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def began() -> bool:
        assert process.poll() is None, process.communicate()
        fit = training_of(home)
        # Torch alone takes a second or two of its own.
        return fit is not None and bool(list((home / "offline").glob("*/plan.json"))) and fit.cpu_times().user > 3

    until(began, 60)
    return process
