"""A round that was cut off, as a train worker takes it up; Label Studio is away, which no such round needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import ConfigError, LabelStudioError, TrainingError, WinnowError
from label_configs.forms import ReviewForm
from label_configs.records import VerifiedExample
from ml_backend import adapters, promotions
from ml_backend.adapters import FILES
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.registered_projects import register
from ml_backend.round_queue import ask_to_stop, round_progress, take_back
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Gate, Training
from trainer import jobs
from trainer.due_rounds import DueRounds, interrupted
from trainer.finishing import Finishing
from trainer.jobs import perform_round
from trainer.recipe import LoraRecipe
from trainer.rounds import RoundRecord, RoundState, list_rounds, rounds_folder, save_round
from trainer.tuning import OUTCOME_FILE, PLAN_FILE, FineTuning

CODES = (Code("s", "Ships", "d", "ship"), Code("g", "Corn", "d", "corn"), Code("x", "Gold", "d", "gold"))
BOOK = Codebook("b", Kind.EXCLUSIVE, CODES)
EXAMPLES = [VerifiedExample(f"d{n}", f"text {n}", ("sg"[n % 2],), (), n % 5 == 0) for n in range(20)]
CODED = [{"from_name": "codes", "to_name": "text", "type": "choices", "value": {"choices": ["s"]}}]
LONG_AGO = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


@dataclass(frozen=True)
class Desk:
    """A project whose last round was cut off."""

    settings: Settings
    redis: Redis
    project: Project

    @property
    def rounds(self) -> Path:
        return rounds_folder(self.settings.home, self.project.id)

    @property
    def record(self) -> RoundRecord:
        (record,) = list_rounds(self.rounds)
        return record

    @property
    def folder(self) -> Path:
        return self.rounds / self.record.id

    def cut_off(self, base: str, examples: list[VerifiedExample] = EXAMPLES) -> None:
        tuning = FineTuning(base, LoraRecipe(), BOOK, examples, 0.2, threads=1, origin={"project": 7})
        record = RoundRecord(tuning.id, 7, RoundState.RUNNING, 20, 16, 4, started_at=LONG_AGO, notes=tuning.notes)
        tuning.write(self.rounds / record.id, adapters.store_of(self.settings.home))
        save_round(self.rounds, record)

    def trained(self) -> None:
        """What the process leaves at its end: an adapter that is always right, over a base that is always wrong."""
        (self.folder / "adapter").mkdir()
        for name in FILES:
            (self.folder / "adapter" / name).write_text(name)
        truth = [example.labels[0] for example in EXAMPLES if example.holdout]
        right = [[0.9 if key == label else 0.05 for key in "sgx"] for label in truth]
        wrong = [[0.05, 0.05, 0.9] for _ in truth]
        outcome = {
            "loss": 0.1, "training_seconds": 1.0, "device": "cpu", "precision": "fp32",
            "predictions": {"new": [[label] for label in truth], "current": [["x"] for _ in truth]},
            "probabilities": {"new": right, "current": wrong},
        }  # fmt: skip
        (self.folder / OUTCOME_FILE).write_text(json.dumps(outcome))

    def go_on(self, *, resume: bool = True, hours: float | None = None) -> RoundRecord | None:
        project = self.project
        if hours is not None:
            training = replace(project.experiment.training or Training(""), time_limit_hours=hours)
            project = replace(project, experiment=replace(project.experiment, training=training))
        return perform_round(self.settings, self.redis, LabelStudioClient(self.settings), project, resume=resume)

    def failed(self, kind: type[WinnowError] = TrainingError, *, hours: float | None = None) -> str:
        """Goes on; the reason that error, record and Redis agree on."""
        with pytest.raises(kind) as caught:
            self.go_on(hours=hours)
        assert "\n" not in str(caught.value)
        assert (self.record.state, self.record.reason) == (RoundState.FAILED, str(caught.value))
        assert self.record.started_at == LONG_AGO
        assert self.record.ended_at is not None
        assert round_progress(self.redis, 7)["stage"] == "failed"
        assert promotions.current(self.project.folder) is None
        assert not interrupted(self.rounds), "it is not repeated for ever"
        return self.record.reason


@pytest.fixture
def desk(tmp_path: Path, redis: Redis) -> Desk:
    settings = Settings(
        home=tmp_path / "home", label_studio_url="http://127.0.0.1:9", label_studio_token=SecretStr("none"), threads=1
    )
    training = Training("no-model", gate=Gate(minimum=1, probability=0.6))
    experiment = Experiment("b", (SourceConfig("words", SourceKind.FAKE),), training=training)
    return Desk(settings, redis, register(settings.home, 7, experiment, BOOK))


def test_it_goes_on_with_its_own_examples(desk: Desk) -> None:
    desk.cut_off("owner/model")
    desk.trained()
    record = desk.go_on(resume=False)  # Label Studio is not asked
    assert record == desk.record
    assert record is not None
    assert (record.state, record.verified, record.started_at) == (RoundState.PROMOTED, 20, LONG_AGO)
    assert promotions.current(desk.project.folder) == record.adapter_id
    assert record.notes == (
        "no training document has x: the adapter learns nothing of them until some do",
        "it was cut off and went on from its last checkpoint",
    )
    manifest = adapters.store_of(desk.settings.home).get(record.adapter_id).manifest
    assert manifest["round"] == record.id
    assert manifest["unseen"] == ["x"]
    assert manifest["notes"] == [record.notes[0]]
    assert round_progress(desk.redis, 7)["stage"] == "promoted"
    assert desk.go_on() is None, "there is nothing to go on with"

    # What follows the promotion was not done: the scheduler tries until it is.
    finishing = Finishing(desk.redis, LabelStudioClient(desk.settings), chunk=16)
    assert record.refreshed_at is None
    with pytest.raises(LabelStudioError):
        finishing.look(desk.project)
    assert desk.record.refreshed_at is None
    save_round(desk.rounds, replace(desk.record, refreshed_at=datetime.now(UTC)))
    assert not finishing.look(desk.project)


def test_an_adapter_that_cannot_be_stored_is_tried_again_without_training(desk: Desk) -> None:
    desk.cut_off("owner/model")
    desk.trained()
    store = desk.settings.home / "adapters"
    store.write_text("no folder")
    assert str(store) in desk.failed(WinnowError)
    store.unlink()
    save_round(desk.rounds, replace(desk.record, state=RoundState.RUNNING))
    record = desk.go_on()
    assert record is not None
    assert record.state is RoundState.PROMOTED
    assert not (desk.folder / "fit.log").exists(), "no process was started"


def test_one_code_is_nothing_to_learn(desk: Desk) -> None:
    desk.cut_off("owner/model", [replace(example, labels=("s",)) for example in EXAMPLES])
    assert desk.failed().startswith("the training documents hold 1 of the codebook's labels, two are needed")
    assert not (desk.folder / "fit.log").exists(), "no process was started"


def test_a_base_that_is_gone(desk: Desk, tmp_path: Path) -> None:
    desk.cut_off(str(tmp_path / "moved"))
    assert str(tmp_path / "moved") in desk.failed()
    assert (desk.folder / "fit.log").read_text().splitlines()[0].count("training started")


def test_a_round_that_takes_too_long(desk: Desk) -> None:
    desk.cut_off("owner/model")
    assert desk.failed(hours=1e-6).startswith("took longer than training.time_limit_hours, 1e-06; raise it")


def test_a_round_is_stopped_on_request_and_not_started_again(desk: Desk) -> None:
    desk.cut_off("owner/model")
    ask_to_stop(desk.redis, 7)
    record = desk.go_on()
    assert record is not None
    assert (record.state, record.refreshed_at is not None) == (RoundState.STOPPED, True)
    assert record.reason == "stopped on request; `winnow train --project 7` goes on from there"
    assert not interrupted(desk.rounds)
    assert desk.go_on() is None


def test_a_folder_that_is_gone_makes_room_for_another_round(desk: Desk) -> None:
    desk.cut_off("owner/model")
    (desk.folder / PLAN_FILE).unlink()
    with pytest.raises(LabelStudioError):
        desk.go_on()
    assert desk.record.state is RoundState.FAILED
    assert desk.record.reason.startswith(f"{desk.folder / PLAN_FILE}: missing or damaged; ")


def test_a_round_that_another_process_has_is_left_to_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WAIT_SECONDS", 0.0)
    desk.cut_off("owner/model")
    before = desk.record
    script = f"""
import sys
from pathlib import Path
from trainer.alone import alone
with alone(Path({str(desk.rounds)!r})) as lock:
    print(lock is not None, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        assert desk.go_on() is None
        assert desk.record == before
        other.kill()


def test_a_round_that_cannot_begin_fails_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a recipe that is not there: else every reconciliation would enqueue it again."""
    now = datetime(2030, 1, 1, tzinfo=UTC)
    fake = FakeLabelStudio(7, lambda: now)
    monkeypatch.setattr(jobs, "LabelStudioClient", lambda _: fake)
    tasks = fake.import_tasks({"text": f"text {n}", "document_id": f"d{n}"} for n in range(40))
    for task in tasks[:3]:
        fake.annotate(task, CODED)
    training = Training("no-model", recipe="no-such-recipe", thresholds=(3, 6), quiet_seconds=0)
    experiment = replace(desk.project.experiment, training=training, review=Review(ReviewForm.WHOLE))
    project = register(desk.settings.home, 7, experiment, BOOK)
    due_rounds = DueRounds(desk.redis, fake)
    reasons = []
    for verified in (3, 6):
        assert due_rounds.look(project, now=now + timedelta(hours=1))
        assert take_back(desk.redis, 7)
        with pytest.raises(ConfigError) as caught:
            perform_round(desk.settings, desk.redis, fake, project)  # type: ignore[arg-type]
        record = list_rounds(desk.rounds)[-1]
        assert (record.state, record.verified) == (RoundState.FAILED, verified)
        assert record.reason == str(caught.value)
        assert "no-such-recipe" in record.reason
        assert round_progress(desk.redis, 7)["stage"] == "failed"
        reasons.append(record.reason)
        assert not interrupted(desk.rounds)
        assert not due_rounds.look(project, now=now + timedelta(hours=1)), "it is not repeated"
        assert not DueRounds(desk.redis, fake).look(project, now=now + timedelta(hours=1)), "nor by another scheduler"
        for task in tasks[verified : 2 * verified]:
            fake.annotate(task, CODED)
    assert len(list_rounds(desk.rounds)) == len(reasons) == 2
    fake.away = True
    with pytest.raises(LabelStudioError):
        perform_round(desk.settings, desk.redis, fake, project)  # type: ignore[arg-type]
    assert len(list_rounds(desk.rounds)) == 2, "it is tried again when Label Studio is back"
