"""A round in a person's hands, and what `winnow status` says of it; no train worker runs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis
from rich.console import Console

from label_configs.codebook import load_codebook
from label_configs.errors import TrainingError
from ml_backend import queue
from ml_backend.experiment import Experiment, Project
from ml_backend.heartbeat import WorkerKind, beat
from ml_backend.registered_projects import register
from ml_backend.round_queue import put_round_progress, stop_asked
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.round_status import RoundStatus
from trainer.round_watch import RoundWatch
from trainer.rounds import RoundRecord, RoundState, rounds_folder, save_round

NOW = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
RECORD = RoundRecord("0123456789abcdef", 7, RoundState.RUNNING, 100, 80, 20, started_at=NOW)


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


@pytest.fixture
def project(tmp_path: Path) -> Project:
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),), training=Training("no-model"))
    return register(tmp_path, 7, experiment, load_codebook("reuters8"))


@pytest.fixture
def watch(redis: Redis, project: Project) -> RoundWatch:
    return RoundWatch(redis, project)


def save(project: Project, record: RoundRecord) -> None:
    save_round(rounds_folder(project.home, project.id), record)


def said(out: io.StringIO) -> str:
    return " ".join(out.getvalue().split())


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(out: io.StringIO) -> Console:
    return Console(file=out, width=100)


def resumes(redis: Redis) -> list[bool]:
    return [job.args[1] for job in queue.queue(redis, queue.TRAIN).jobs]


def test_a_stopped_round_goes_on_by_hand(
    watch: RoundWatch, redis: Redis, project: Project, console: Console, out: io.StringIO
) -> None:
    save(project, replace(RECORD, state=RoundState.STOPPED, reason="stopped", ended_at=NOW))
    watch.start(console)
    assert resumes(redis) == [True]
    assert watch.last == RECORD
    assert "Round 0123456789abcdef goes on with its 100 documents; what was verified since waits" in said(out)
    assert "It waits: no train worker is alive; start one with `winnow worker train`" in said(out)
    watch.start(console)
    assert resumes(redis) == [True]
    assert "A round of this project is queued or running already." in said(out)


@pytest.mark.parametrize("state", [None, RoundState.KEPT, RoundState.FAILED])
def test_after_one_that_ended_a_new_one_starts(
    watch: RoundWatch, redis: Redis, project: Project, console: Console, out: io.StringIO, state: RoundState | None
) -> None:
    if state is not None:
        save(project, replace(RECORD, state=state, ended_at=NOW))
    beat(redis, "one", WorkerKind.TRAIN)
    watch.start(console)
    assert resumes(redis) == [False]
    assert said(out) == "A round is enqueued."


def test_a_round_that_waits_is_stopped_at_once(
    watch: RoundWatch, redis: Redis, project: Project, console: Console, out: io.StringIO
) -> None:
    with pytest.raises(TrainingError, match=r"^project 7: no round is queued or running; `winnow train --project 7`"):
        watch.stop(console, wait=True)
    watch.start(console)
    watch.stop(console, wait=True)
    assert resumes(redis) == []
    assert "The round that waited is stopped; `winnow train --project 7` starts it again." in said(out)
    save(project, RECORD)  # one that was cut off, and would be started again by the scheduler
    watch.stop(console, wait=True)
    assert watch.last is not None
    assert watch.last.state is RoundState.STOPPED


def test_a_running_round_is_asked_to_stop(watch: RoundWatch, redis: Redis, project: Project, console: Console) -> None:
    watch.start(console)
    beat(redis, "one", WorkerKind.TRAIN)
    line = queue.queue(redis, queue.TRAIN)
    (job,) = line.jobs
    line.pop_job_id()
    with redis.pipeline() as pipe:
        job.prepare_for_execution("one", pipe)
        pipe.execute()
    watch.stop(console, wait=False)
    assert stop_asked(redis, 7)


def test_what_came_of_it_is_told(watch: RoundWatch, project: Project) -> None:
    with pytest.raises(TrainingError, match="ended before it began; see the log of the train worker"):
        watch.ended()
    save(project, replace(RECORD, state=RoundState.FAILED, reason="no disk"))
    with pytest.raises(TrainingError, match=r"^project 7: round 0123456789abcdef failed: no disk$"):
        watch.ended()
    kept = replace(RECORD, state=RoundState.KEPT)
    save(project, kept)
    assert watch.ended() == kept
    with pytest.raises(TrainingError, match="ended before it began"):
        watch.ended(before=kept)


def shown(redis: Redis, project: Project, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(RoundStatus.of(redis, project).as_text())
    return out.getvalue()


def test_the_status_of_a_round_that_trains(watch: RoundWatch, redis: Redis, project: Project, console: Console) -> None:
    assert shown(redis, project).strip().startswith("No train worker is alive; start one")
    watch.start(console)
    assert "A round waits for a train worker." in shown(redis, project)
    test_a_running_round_is_asked_to_stop(watch, redis, project, console)
    put_round_progress(redis, 7, {"stage": "read"})
    assert "A round reads what is verified." in shown(redis, project)
    ended = replace(RECORD, id="a" * 16, state=RoundState.KEPT, reason="Not better.", ended_at=NOW, seconds=300.0,
                    started_at=NOW.replace(hour=1), notes=("no training document has x",))  # fmt: skip
    save(project, ended)
    save(project, RECORD)
    figures = {"step": 3, "steps": 9, "loss": 0.41234, "seconds_left": 720.0}
    put_round_progress(redis, 7, {"stage": "train", **figures, "notes": ["halved"], "log": "/srv/fit.log"})
    text = " ".join(shown(redis, project).split())
    assert (
        "Round 0123456789abcdef (80 training, 20 holdout documents): train, step 3 of 9, loss 0.4123, 12 min left; "
        "since 2024-05-01 12:30 UTC. Note: halved. Log: /srv/fit.log 1 train worker is alive."
    ) in text
    assert "│aaaaaaaa │ 2024-05-01 12:30 │ kept │ 80 + 20 │ 5 min │" in text
    assert "aaaaaaaa: Not better. aaaaaaaa, note: no training document has x." in text
    assert all(len(line) <= 80 for line in shown(redis, project).splitlines())
    told = RoundStatus.of(redis, project).as_json()
    assert told["round"] == {"stage": "train", "id": RECORD.id, **figures, "notes": ["halved"], "log": "/srv/fit.log"}
    assert [one["state"] for one in told["rounds"]] == ["kept", "running"]
    assert told["train_workers"] == 1
    redis.delete(WorkerKind.TRAIN)
    assert "was cut off; the scheduler goes on with it" in " ".join(shown(redis, project).split())
