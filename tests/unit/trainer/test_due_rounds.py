"""When a round is enqueued: it waits for quiet, though not for ever, and no project waits for another."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from label_configs.codebook import load_codebook
from label_configs.errors import LabelStudioError
from label_configs.forms import ReviewForm
from label_configs.wire import JsonObject
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.registered_projects import register
from ml_backend.round_queue import enqueue_round, round_queued, take_back
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.dashboard.reporting import Reporting
from trainer.due_rounds import PATIENCE, DueRounds
from trainer.rounds import RoundRecord, RoundState, rounds_folder, save_round, save_seen
from trainer.scheduler import Parts, Rests, look

PROJECT = 7
QUIET = 300.0


class Desk:
    """A project that is coded, seen by a scheduler once a minute."""

    def __init__(self, home: Path, redis: Redis, quiet: float = QUIET) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.fake = FakeLabelStudio(PROJECT, lambda: self.now)
        self.tasks = self.fake.import_tasks({"text": f"text {n}", "document_id": f"d{n}"} for n in range(200))
        training = Training("no-model", thresholds=(3,), every=5, quiet_seconds=quiet)
        sources = (SourceConfig("words", SourceKind.FAKE),)
        experiment = Experiment("reuters8", sources, review=Review(ReviewForm.WHOLE), training=training)
        self.project = register(home, PROJECT, experiment, load_codebook("reuters8"))
        self.due_rounds = DueRounds(redis, self.fake)

    def code(self, number: int) -> None:
        for _ in range(number):
            self.fake.annotate(self.tasks.pop(0), result("earn"))

    def look(self, minutes: float = 1) -> bool:
        self.now += timedelta(minutes=minutes)
        return self.due_rounds.look(self.project, now=self.now)


def result(code: str) -> list[JsonObject]:

    return [{"from_name": "codes", "to_name": "text", "type": "choices", "value": {"choices": [code]}}]


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


def test_a_round_that_is_due_waits_until_nothing_is_decided(tmp_path: Path, redis: Redis) -> None:
    desk = Desk(tmp_path, redis)
    assert not desk.look()
    for _ in range(5):
        desk.code(1)
        assert not desk.look()
    assert not desk.look(4.5)
    assert desk.look()
    assert not desk.look(), "it is queued"


def test_it_does_not_wait_for_ever(tmp_path: Path, redis: Redis) -> None:
    desk = Desk(tmp_path, redis)
    assert not desk.look()
    desk.code(2)
    started = 0
    for minute in range(1, 200):
        desk.code(1)
        if desk.look():
            started = minute
            break
    assert started == 1 + PATIENCE * QUIET / 60


def test_what_is_pushed_is_nothing_decided(tmp_path: Path, redis: Redis) -> None:
    desk = Desk(tmp_path, redis)
    assert not desk.look()
    desk.code(3)
    for n in range(5):
        assert not desk.look()
        desk.fake.set_task_data(desk.tasks[n], {"text": "as before", "document_id": f"other{n}", "candidates": []})
    assert desk.look()


def test_without_quiet_seconds_it_does_not_wait(tmp_path: Path, redis: Redis) -> None:
    desk = Desk(tmp_path, redis, quiet=0)
    desk.code(3)
    assert desk.look(0)


def test_what_was_counted_is_not_counted_again(tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path, redis)
    desk.code(2)
    assert not desk.look()
    monkeypatch.setattr("trainer.due_rounds.due_by", lambda *_, **__: pytest.fail("nothing has changed"))
    for _ in range(3):
        assert not desk.look()


def test_the_next_round_counts_from_the_last_ones_documents(tmp_path: Path, redis: Redis) -> None:
    desk = Desk(tmp_path, redis, quiet=0)
    desk.code(3)
    assert desk.look()
    assert take_back(redis, PROJECT)
    folder = rounds_folder(tmp_path, PROJECT)
    save_seen(folder, "a" * 16, ["d0", "d1", "d2"])
    save_round(folder, RoundRecord("a" * 16, PROJECT, RoundState.FAILED, 3, 3, 0, started_at=desk.now))
    desk.code(4)
    assert not desk.look(), "four are new, and five make a round"
    desk.fake.delete_annotations([4, 5])
    desk.code(2)
    assert not desk.look(), "four are new, though six more have come"
    desk.code(1)
    assert desk.look()


def test_a_project_that_cannot_be_read_does_not_hinder_others(
    tmp_path: Path, redis: Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, redis, quiet=0)
    desk.code(3)
    register(tmp_path, 8, desk.project.experiment, desk.project.codebook)
    register(tmp_path, 9, replace(desk.project.experiment, training=None), desk.project.codebook)
    (tmp_path / "projects" / "6").mkdir()
    (tmp_path / "projects" / "6" / "winnow.yaml").write_text("codebook: [")
    parts = Parts(desk.due_rounds, (), Reporting(Settings(home=tmp_path), desk.fake))
    with caplog.at_level(logging.WARNING):
        for project in (6, 8, 9, 7):  # not parsed, not there, nothing to train
            look(tmp_path, desk.fake, project, parts, timed=True)  # type: ignore[arg-type]
    assert round_queued(redis, PROJECT)
    assert [record.levelname for record in caplog.records if "project" in record.message] == ["ERROR", "WARNING"]

    def broken(project: Project, at: object) -> bool:
        raise KeyError("a bug")

    monkeypatch.setattr(desk.due_rounds, "look", broken)
    look(tmp_path, desk.fake, 7, parts, timed=False)  # type: ignore[arg-type]
    assert "project crashed: project=7" in caplog.text


def test_nothing_is_asked_while_a_round_is_at_hand(tmp_path: Path, redis: Redis) -> None:
    desk = Desk(tmp_path, redis, quiet=0)
    assert enqueue_round(redis, desk.project)
    desk.fake.away = True
    assert not desk.look()
    assert take_back(redis, PROJECT)
    with pytest.raises(LabelStudioError):
        desk.look()


def test_hints_wait_where_a_look_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("trainer.scheduler.time.monotonic", lambda: now)
    rests = Rests()
    assert rests.over(7)
    with rests.timed(7):
        now += 2
    now += 17
    assert not rests.over(7)
    assert rests.over(8)
    now += 1
    assert rests.over(7)
