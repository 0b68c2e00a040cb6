"""A round on two devices, as two processes over gloo: the same training, told once."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import make_tiny_llama
from tests.unit.trainer.fitting import QUICK, make_loud_llama, planned
from trainer.fit import run
from trainer.launching import launch_command

RECIPE = replace(QUICK, epochs=2, micro_batch_size=4, validation_share=0.2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    return make_loud_llama(make_tiny_llama(folder / "tiny"), folder / "loud-llama")


@pytest.fixture(scope="module")
def alone(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process tells of the round."""
    told: list[dict[str, Any]] = []
    run(planned(tmp_path_factory.mktemp("alone") / "round", base, recipe=RECIPE), lambda one: told.append(dict(one)))
    return told


def launched(folder: Path, module: str = "trainer.fit") -> tuple[int, list[dict[str, Any]]]:
    command = [part if part != "trainer.fit" else module for part in launch_command(folder, 2)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(Path.cwd())])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def curve(told: list[dict[str, Any]], of: str = "loss") -> list[float]:
    return [one[of] for one in told if of in one]


def test_two_processes_give_the_loss_curve_of_one(base: Path, alone: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = planned(tmp_path / "round", base, recipe=RECIPE)
    code, told = launched(folder)
    assert code == 0
    assert [one["stage"] for one in told if "stage" in one] == ["load", "train", "judge", "done"]
    assert [one["step"] for one in told if "loss" in one] == [1, 2, 3, 4, 5, 6], "told by one process alone"
    assert curve(told) == pytest.approx(curve(alone), rel=1e-4)
    assert curve(told, "validation_loss") == pytest.approx(curve(alone, "validation_loss"), rel=1e-4)
    assert json.loads((folder / "outcome.json").read_text())["loss"] == curve(told)[-1]


def test_all_processes_start_again_where_they_ask_for_it(tmp_path: Path) -> None:
    code, told = launched(tmp_path, "tests.integration.started_again")
    assert (code, told) == (0, [{"start": 1}, {"start": 2}])
    assert [(tmp_path / f"starts-{rank}").read_text() for rank in range(2)] == ["xx", "xx"]


def test_an_error_ends_all_processes_at_once(base: Path, tmp_path: Path) -> None:
    code, told = launched(planned(tmp_path / "round", tmp_path / "absent", recipe=RECIPE))
    assert code != 0
    stages = [one["stage"] for one in told if "stage" in one]
    assert stages in ([], ["load"]), "nothing was started again"  # none where another process failed before the first
    errors = [one["error"] for one in told if "error" in one]
    assert errors
    assert all("cannot be loaded" in error for error in errors)
