"""`winnow pull` against the real server: all there is, whatever kills it, and what a raw export says."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from label_configs.records import Arm
from label_configs.render import render_label_config
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from tests.integration.running import until
from tests.integration.test_reading_contract import RealHands
from tests.unit.trainer.pulling import CODEBOOK, FORM, experiment, predictions, result, task_data
from trainer.demo.label_studio import LabelStudioServer
from trainer.evaluation.study_pulled import read_pulled
from trainer.evaluation.study_reading import open_study
from trainer.mirror_file import MIRROR_FILE
from trainer.up import environment
from trainer.verified import reading_of

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(200)]

TASKS = 700  # two parts of an export


@pytest.fixture
def project(client: LabelStudioClient, settings: Settings) -> Project:
    made = client.create_project("to be pulled", render_label_config(CODEBOOK, FORM))
    return register(settings.home, made, experiment(show_coder_names=True), CODEBOOK)


@pytest.fixture
def hands(
    client: LabelStudioClient, settings: Settings, label_studio: LabelStudioServer, project: Project
) -> RealHands:
    token = SecretStr(label_studio.create_user("pulling@example.com", "a-second-reader"))
    other = LabelStudioClient(settings.model_copy(update={"label_studio_token": token}))
    return RealHands(client, other, project.id)


def started(settings: Settings, project: Project) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trainer.cli", "pull", "--project", str(project.id), "--json"]
    return subprocess.Popen(
        command, env=environment(settings), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def pulled(settings: Settings, project: Project) -> dict[str, Any]:
    """Pull to the end, and hold what is read back against a raw export and against the mirror."""
    out, errors = started(settings, project).communicate(timeout=100)
    told: dict[str, Any] = json.loads(out or f'"{errors}"')
    study = read_pulled(Path(told["folder"]))
    raw = reading_of(LabelStudioClient(settings).export(project.id), project)
    assert study.decisions == raw.decisions
    assert study.proposals == raw.proposals
    assert study.examples == raw.examples
    assert [(one.id, one.text) for one in study.documents.values()] == [(one.id, one.text) for one in raw.documents]
    online = open_study(settings, project.id)
    assert replace(study, pulled_at=None) == replace(online, pulled_at=None)
    return told


def tasks_in_mirror(project: Project) -> int:
    path = project.folder / MIRROR_FILE
    if not path.exists():
        return 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
        try:
            return int(base.execute("SELECT tasks FROM totals").fetchone()[0])
        except sqlite3.OperationalError:  # the tables are not made yet
            return 0


def test_all_there_is_is_pulled_through_kills(
    client: LabelStudioClient, settings: Settings, project: Project, hands: RealHands
) -> None:
    ids = hands.import_tasks(task_data(number) for number in range(TASKS))
    hands.import_predictions(one for number in range(20) for one in predictions(ids[number], number))
    client.set_model_version(project.id, "winnow-review-1")
    first = [hands.annotate(ids[number], result(number)) for number in range(6)]
    hands.annotate(ids[0], [], 2, skipped=True)
    hands.annotate(ids[1], result(1, 1), 2)
    hands.annotate(ids[2], [result(2)[0]], 2)  # without the record of what was shown: the snapshot has it
    hands.annotate(ids[3], result(3, 1, Arm.CHOOSE), 2, seconds=2.5)
    hands.save_draft(ids[7])

    with started(settings, project) as process:
        until(lambda: 0 < tasks_in_mirror(project) < TASKS, 60)
        process.send_signal(signal.SIGKILL)
    kept = tasks_in_mirror(project)
    assert 0 < kept < TASKS
    assert not (project.folder / "pulled" / "manifest.json").exists()
    told = pulled(settings, project)
    assert told["counts"] == {
        "documents": TASKS, "annotations": 10, "decisions": 10, "predictions": 60, "proposals": 40, "drafts": 1,
        "skips": 1,
    }  # fmt: skip
    study = open_study(settings, project.id, offline=True)
    assert len({study.coder_name(one) for one in study.coders}) == 2
    assert "pulling@example.com" in {study.coder_name(one) for one in study.coders}

    client.set_annotation(first[4], result(4, 1))
    hands.delete_tasks([ids[400]])
    hands.annotate(ids[690], result(690))
    told = pulled(settings, project)
    assert told["written"] == 3
    assert told["blocks"] >= 3
    assert told["counts"]["documents"] == TASKS - 1
    assert not client._sdk.views.list(project=project.id), "no tab is left behind"
