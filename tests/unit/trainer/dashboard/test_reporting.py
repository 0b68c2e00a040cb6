"""When the scheduler has a report made: a process stands in for the one that makes it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from label_configs.codebook import load_codebook
from label_configs.wire import JsonObject
from ml_backend.experiment import Experiment, Project
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from trainer.dashboard.kept_report import report_path
from trainer.dashboard.reporting import Reporting
from trainer.verified import Look

MAKES = """
import datetime, os, pathlib, sys
from trainer.dashboard.kept_report import KeptReport, save_report
made_at = datetime.datetime.now(datetime.timezone.utc)
folder = pathlib.Path(os.environ["WINNOW_HOME"]) / "projects" / sys.argv[1]
save_report(folder, KeptReport("t", made_at, 5.0, "r", ()))
"""
SLOW = MAKES.replace("5.0", "100.0")
FAILS = "import sys; sys.stderr.write('first line\\nLabel Studio is away; start it\\n'); sys.exit(2)"
WAITS = "import time; time.sleep(600)"


class Desk:
    """A project, and a clock that is set by hand."""

    def __init__(self, home: Path, program: str) -> None:
        self.date, self.time = datetime(2030, 1, 1, tzinfo=UTC), 0.0
        self.fake = FakeLabelStudio(7, lambda: self.date)
        self.fake.import_tasks({"text": f"text {n}", "document_id": f"d{n}"} for n in range(4))
        experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),))
        self.project: Project = register(home, 7, experiment, load_codebook("reuters8"))
        settings = Settings(home=home, report_seconds=300)
        command = (sys.executable, "-c", program)
        self.reporting = Reporting(settings, self.fake, clock=lambda: self.time, command=command)

    def code(self, task: int) -> None:
        result: list[JsonObject] = [
            {"from_name": "codes", "to_name": "text", "type": "choices", "value": {"choices": ["earn"]}}
        ]
        self.fake.annotate(task, result, 1)

    def look(self, seconds: float = 0.0) -> bool:
        self.date += timedelta(minutes=1)
        self.time += seconds
        return self.reporting.look(self.project, at=Look(self.fake, self.project, self.date))

    def wait(self) -> None:
        running = self.reporting._running
        assert running is not None
        running.process.wait(timeout=20)


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(tmp_path, getattr(request, "param", MAKES))
    desk.code(4)
    yield desk
    desk.reporting.close()


def test_a_report_is_made_where_something_changed_and_not_too_often(desk: Desk) -> None:
    assert desk.look()
    assert not desk.look(), "one at a time"
    desk.wait()
    assert report_path(desk.project.folder).exists()
    assert not desk.look(1000), "nothing changed"
    desk.code(1)
    assert desk.look(), "the rest is over by then"
    desk.wait()
    desk.code(2)
    assert not desk.look(10), "too soon"
    assert not desk.look(200)
    assert desk.look(100)


def test_there_is_none_before_the_first_decision(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MAKES)
    assert not desk.look()
    desk.code(1)
    assert desk.look()
    desk.reporting.close()


@pytest.mark.parametrize("desk", [SLOW], indirect=True)
def test_a_report_that_took_long_rests_longer(desk: Desk) -> None:
    assert desk.look()
    desk.wait()
    desk.code(1)
    assert not desk.look(990)
    assert desk.look(20)


def test_what_other_commands_keep_makes_a_report_too(desk: Desk) -> None:
    assert desk.look()
    desk.wait()
    assert not desk.look(1000)
    (desk.project.folder / "judging" / "curve.json").write_text("{}", encoding="utf-8")
    assert desk.look()


def test_a_report_that_was_removed_is_made_anew(desk: Desk) -> None:
    assert desk.look()
    desk.wait()
    assert not desk.look(1000)
    report_path(desk.project.folder).unlink()
    assert desk.look(1000)


@pytest.mark.parametrize("desk", [FAILS], indirect=True)
def test_why_there_is_no_report_is_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    assert desk.look()
    desk.wait()
    with caplog.at_level(logging.WARNING):
        assert not desk.look(10)
    assert 'report missing: project=7 reason="Label Studio is away; start it"' in caplog.text
    assert desk.look(1000), "it is tried again, after a rest"


@pytest.mark.parametrize("desk", [WAITS], indirect=True)
def test_the_process_ends_with_the_scheduler(desk: Desk) -> None:
    assert desk.look()
    running = desk.reporting._running
    assert running is not None
    desk.reporting.close()
    assert running.process.returncode is not None
