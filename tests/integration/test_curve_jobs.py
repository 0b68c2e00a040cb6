"""A learning curve of a project: its trainings are jobs of a real train worker, on the tiny model."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis
from rich.console import Console

from ml_backend.adapters import store_of
from ml_backend.experiment import Experiment, Project
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from tests.integration.running import until
from tests.unit.trainer.fitting import BOOK, QUICK, examples
from trainer.curve_cells import CurvePlan
from trainer.curve_run import QueuedCurve, Wanted, curve_tuning
from trainer.evaluation.curve_file import curve_path
from trainer.tether import tethered

pytestmark = pytest.mark.timeout(300)

CHANGED = ("rank", "alpha", "learning_rate", "epochs", "max_document_tokens", "precision", "prompt")


@dataclass(frozen=True)
class Desk:
    settings: Settings
    redis: Redis
    project: Project
    plan: CurvePlan

    def run(self, *shares: int) -> Any:
        return QueuedCurve(self.redis, self.project, self.plan).run(Wanted(shares, 1), Console(file=io.StringIO()))


@pytest.fixture
def desk(tmp_path: Path, tiny_llama: Path, redis_db: str) -> Iterator[Desk]:
    """A project with 40 verified documents and 10 of holdout, and a train worker."""
    settings = Settings(home=tmp_path / "home", redis_url=SecretStr(redis_db), threads=1)
    recipe = {name: value for name, value in asdict(replace(QUICK, epochs=1)).items() if name in CHANGED}
    training = Training(str(tiny_llama), overrides=recipe)
    experiment = Experiment("b", (SourceConfig("words", SourceKind.FAKE),), training=training)
    project = register(settings.home, 7, experiment, BOOK)
    verified = [*examples(40), *examples(10, holdout=True)]
    distinct = [replace(one, text=f"{one.text}{number}") for number, one in enumerate(verified)]  # else they are leaks
    tuning = curve_tuning(settings, project, training, distinct)
    plan = CurvePlan(tuning, project.folder)
    plan.check()
    plan.begin(store_of(settings.home), "accuracy", 0.005)
    environment = os.environ | {
        "WINNOW_HOME": str(settings.home), "WINNOW_REDIS_URL": redis_db, "WINNOW_THREADS": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = tethered([sys.executable, "-m", "trainer.cli", "worker", "train"])
    with Redis.from_url(redis_db) as redis, (tmp_path / "train.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            until(lambda: live_workers(redis, WorkerKind.TRAIN), 60)
            yield Desk(settings, redis, project, plan)
        finally:
            process.terminate()
            process.wait(60)


def test_cells_are_trained_once_judged_and_never_published(desk: Desk) -> None:
    curve = desk.run(50, 100)
    assert [(one.share, one.seed, one.documents) for one in curve.done] == [(50, 0, 20), (100, 0, 40)]
    for cell in curve.done:
        assert {"new", "current", "tf-idf"} <= set(cell.figures)
        assert 0 <= cell.figures["new"]["accuracy"] <= 1
        assert cell.seconds > 0
    assert not store_of(desk.settings.home).ids()
    until(lambda: not list(desk.plan.work.glob("*/adapter")), 10)

    kept = curve_path(desk.project.folder).read_text(encoding="utf-8")
    again = desk.run(50, 100)
    assert again == curve
    assert curve_path(desk.project.folder).read_text(encoding="utf-8") == kept, "nothing was trained again"
    assert "ssss" not in kept, "documents' texts are not kept there"
