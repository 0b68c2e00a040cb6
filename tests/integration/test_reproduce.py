"""`winnow reproduce` as a process, by real trainings of a tiny model: the same bits, or told apart."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import AdapterError
from label_configs.records import VerifiedExample
from ml_backend.adapters import store_of
from ml_backend.experiment import Experiment
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Balance, Gate, Negatives, Training
from tests.integration.running import trains, until
from trainer.jobs import perform_round
from trainer.recipe import LoraRecipe, Precision
from trainer.reproducing import prepare
from trainer.rounds import RoundRecord, RoundState, rounds_folder, save_round
from trainer.tuning import FineTuning

pytestmark = pytest.mark.timeout(300)

CODEBOOK = """name: things
kind: exclusive
codes:
  - {key: s, name: Ships, definition: About ships., word: ship}
  - {key: g, name: Corn, definition: About corn., word: corn}
"""
RECIPE = """rank: 4
learning_rate: 1e-2
epochs: 6
dropout: 0.1
max_document_tokens: 32
precision: fp32
prompt: zero_shot
"""
ALTERED = {"learning_rate": 3e-3, "epochs": 1}


def environment(home: Path) -> dict[str, str]:
    # The adapter is made with one thread: what is asked for now must not matter.
    return os.environ | {"WINNOW_HOME": str(home), "WINNOW_THREADS": "2", "COLUMNS": "200"}


def winnow(folder: Path, home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainer.cli", *arguments], cwd=folder, env=environment(home) | variables,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An installation's folder, and the adapter that `winnow train --examples` made in it."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(tiny_llama, folder / "base")
    for name, text in (("codebook.yaml", CODEBOOK), ("recipe.yaml", RECIPE)):
        (folder / name).write_text(text)
    rows = [f"doc-{n},{'sg'[n % 2] * 20}{n},{'sg'[n % 2]}" for n in range(50)]
    (folder / "verified.csv").write_text("\n".join(("id,text,code", *rows)) + "\n")
    named = ["--examples", "verified.csv", "--codebook", "codebook.yaml", "--recipe", "./recipe.yaml", "--base", "base"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        done = winnow(folder, folder / "home", "train", *named, "--json", WINNOW_THREADS="1")
    assert done.returncode == 0, done.stderr
    return folder / "home", json.loads(done.stdout)["adapter_id"]


@pytest.fixture
def copied(trained: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """A copy of the installation, which a test may damage, and the adapter."""
    home, adapter_id = trained
    shutil.copytree(home / "adapters", tmp_path / "home" / "adapters")
    return tmp_path / "home", adapter_id


def alter(home: Path, adapter_id: str, **changes: Any) -> None:
    path = home / "adapters" / adapter_id / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, value in changes.items():
        manifest[name] = manifest[name] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(manifest))


def test_it_is_rebuilt_bit_for_bit_though_it_was_stopped_in_between(trained: tuple[Path, str], tmp_path: Path) -> None:
    home, adapter_id = trained
    out = tmp_path / "rebuilt"
    command = [sys.executable, "-m", "trainer.cli", "reproduce", adapter_id, "--out", str(out)]
    with subprocess.Popen(
        command, env=environment(home) | {"WINNOW_CHECKPOINT_SECONDS": "0.1"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        until(lambda: trains(home), 60)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "The same command goes on from where it was." in said
    assert not (out / "reproduced.json").exists()

    done = winnow(tmp_path, home, "reproduce", adapter_id, "--out", str(out), "--json", WINNOW_CHECKPOINT_SECONDS="0.1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["equal"], result["within"]) == (True, True)
    assert result["weights"]["rebuilt"] == result["weights"]["published"]
    assert (result["weights"]["largest"], result["weights"]["settings"]) == (0.0, [])
    holdout = result["holdout"]
    assert (holdout["share"], holdout["documents"]) == (1.0, 9)
    assert holdout["recorded"] == holdout["published"] == holdout["rebuilt"]
    assert {difference["what"] for difference in result["differences"]} <= {"git"}, "threads are those of then"
    assert json.loads((out / "reproduced.json").read_text()) == result
    assert store_of(home).ids() == [adapter_id], "nothing is published"

    # A folder that is somebody else's is left alone.
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("theirs")
    refused = winnow(tmp_path, home, "reproduce", adapter_id, "--out", "theirs")
    assert refused.returncode == 2
    assert refused.stderr.endswith("theirs holds something else; name a folder that is empty or not there yet\n")


def test_an_altered_recipe_is_told(copied: tuple[Path, str]) -> None:
    home, adapter_id = copied
    alter(home, adapter_id, recipe=ALTERED, packages={"torch": "1.0.0"}, instructions="none")
    done = winnow(home, home, "reproduce", adapter_id)
    assert done.returncode == 1, done.stderr
    assert "warning: recipe: digest " in done.stderr
    assert "warning: torch: 1.0.0 then, " in done.stderr
    assert f"Adapter {adapter_id} is not reproduced bit for bit: its weights differ by " in done.stdout
    assert "beyond the tolerance of 0." in done.stdout
    assert "Then and now: instructions: none then, " in done.stdout
    result = json.loads((home / "reproduced" / adapter_id / "reproduced.json").read_text())
    assert result["weights"]["relative"] > 0.01
    assert result["weights"]["largest"] > 0


def test_another_base_is_refused_and_the_same_elsewhere_is_not(copied: tuple[Path, str], tmp_path: Path) -> None:
    home, adapter_id = copied
    settings = Settings(home=home)
    base = Path(store_of(home).get(adapter_id).manifest["base"])
    shutil.copytree(base, tmp_path / "moved")
    moved = prepare(settings, adapter_id, base=str(tmp_path / "moved"))
    assert moved.tuning.base == str(tmp_path / "moved")
    weights = tmp_path / "moved" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    weights.write_bytes(content)
    with pytest.raises(AdapterError, match="with digest"):
        prepare(settings, adapter_id, base=str(tmp_path / "moved"))
    done = winnow(home, home, "reproduce", adapter_id, "--base", str(tmp_path / "moved"))
    assert done.returncode == 2
    assert f"adapter {adapter_id}: was trained over {tmp_path / 'moved'} with digest " in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (home / "reproduced").exists()


def test_what_was_kept_must_be_what_was_learned_from(copied: tuple[Path, str]) -> None:
    home, adapter_id = copied
    alter(home, adapter_id, examples_digest="0" * 16)
    with pytest.raises(AdapterError, match="was trained on examples with digest 0000"):
        prepare(Settings(home=home), adapter_id)
    alter(home, adapter_id, holdout_share=None)
    with pytest.raises(AdapterError, match="cannot be built again, holdout_share was not kept with it"):
        prepare(Settings(home=home), adapter_id)
    (home / "adapters" / adapter_id / "examples.parquet").unlink()
    with pytest.raises(AdapterError, match=r"examples\.parquet in .*: missing or damaged"):
        prepare(Settings(home=home), adapter_id)


# --- a project's round ----------------------------------------------------------------------------------------------

CODES = (Code("s", "Ships", "About ships.", "ship"), Code("g", "Corn", "About corn.", "corn"))
BOOK = Codebook("b", Kind.MULTILABEL, CODES)


def examples() -> Iterator[VerifiedExample]:
    """Some held out, some of a rare code, some struck out, some silver."""
    for n in range(36):
        label = "g" if n % 4 == 0 else "s"
        yield VerifiedExample(
            f"d{n}", label * 15 + str(n), (label,), ("c",), n % 5 == 0, rejected=("g" if label == "s" else "s",)
        )
    for n in range(6):
        yield VerifiedExample(f"u{n}", "s" * 12 + f"u{n}", ("s",), (), False, weight=0.3, silver=True)


def test_a_projects_round_is_rebuilt_with_all_that_steers_it(tiny_llama: Path, redis_db: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = Settings(
        home=home, label_studio_url="http://127.0.0.1:9", label_studio_token=SecretStr("none"), threads=1
    )
    prompt = tmp_path / "team.j2"
    prompt.write_text((Path(__file__).parents[1] / "unit" / "trainer" / "short.j2").read_text())
    recipe = LoraRecipe(
        rank=4, learning_rate=1e-2, epochs=3, max_document_tokens=32, precision=Precision.FP32, validation_share=0.3,
        prompt=str(prompt), seed=7,
    )  # fmt: skip
    training = Training(str(tiny_llama), gate=Gate(minimum=1), negatives=Negatives.HARD, balance=Balance.SAMPLING)
    project = register(home, 7, Experiment("b", (SourceConfig("words", SourceKind.FAKE),), training=training), BOOK)
    tuning = FineTuning(
        str(tiny_llama), recipe, BOOK, list(examples()), 0.2, training.gate, threads=1, origin={"project": 7},
        negatives=training.negatives, balance=training.balance, beside={"winnow.yaml": project.folder / "winnow.yaml"},
    )  # fmt: skip
    rounds = rounds_folder(home, 7)
    tuning.write(rounds / tuning.id, store_of(home))
    save_round(rounds, RoundRecord(tuning.id, 7, RoundState.RUNNING, 42, 34, 8, started_at=datetime.now(UTC)))
    with Redis.from_url(redis_db) as redis:
        record = perform_round(settings, redis, LabelStudioClient(settings), project, resume=True)
    assert record is not None
    assert record.adapter_id, record.reason

    prompt.write_text("edited since: {{ document }}")
    shutil.rmtree(rounds)  # nothing but the store is needed
    told: list[str] = []
    reproduction = prepare(settings.model_copy(update={"threads": 2}), record.adapter_id)
    assert reproduction.tuning.threads == 1
    assert (reproduction.tuning.negatives, reproduction.tuning.balance) == (Negatives.HARD, Balance.SAMPLING)
    result = reproduction.run(lambda progress: told.append(str(progress.get("stage"))), 0.0)
    assert result.weights.equal, result.weights
    assert result.holdout.share == 1
    assert result.holdout.recorded == result.holdout.rebuilt
    assert {"train", "judge", "done"} <= set(told)
