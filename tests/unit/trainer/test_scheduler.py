"""What the scheduler does about a round that was cut off; Label Studio is away and must not be asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import load_codebook
from label_configs.errors import LabelStudioError
from ml_backend import queue
from ml_backend.experiment import Experiment, Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.round_queue import enqueue_round
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.due_rounds import DueRounds
from trainer.rounds import RoundRecord, RoundState, rounds_folder, save_round


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


@pytest.fixture
def away(tmp_path: Path) -> LabelStudioClient:
    """A client whose Label Studio does not answer."""
    return LabelStudioClient(
        Settings(home=tmp_path, label_studio_url="http://127.0.0.1:9", label_studio_token=SecretStr("no-token"))
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    sources = (SourceConfig("words", SourceKind.FAKE),)
    experiment = Experiment("reuters8", sources, training=Training("no-model", thresholds=(100,)))
    return register(tmp_path, 7, experiment, load_codebook("reuters8"))


def save(project: Project, state: RoundState) -> None:
    record = RoundRecord("0123456789abcdef", project.id, state, 100, 80, 20, started_at=datetime.now(UTC))
    save_round(rounds_folder(project.home, project.id), record)


def test_a_round_that_was_cut_off_is_started_anew_once(redis: Redis, away: LabelStudioClient, project: Project) -> None:
    save(project, RoundState.RUNNING)
    looking = DueRounds(redis, away)
    assert looking.look(project)
    assert queue.queue(redis, queue.TRAIN).job_ids == ["round-7"]
    assert not looking.look(project)  # Label Studio is not even asked while a round is at hand
    assert queue.queue(redis, queue.TRAIN).count == 1


@pytest.mark.parametrize("state", [RoundState.PROMOTED, RoundState.KEPT, RoundState.FAILED])
def test_a_round_that_ended_is_not(redis: Redis, away: LabelStudioClient, project: Project, state: RoundState) -> None:
    save(project, state)
    with pytest.raises(LabelStudioError):
        DueRounds(redis, away).look(project)
    assert queue.queue(redis, queue.TRAIN).count == 0


def test_a_project_has_one_round_at_a_time(redis: Redis, project: Project) -> None:
    assert enqueue_round(redis, project)
    assert not enqueue_round(redis, project)
    assert queue.queue(redis, queue.TRAIN).count == 1
