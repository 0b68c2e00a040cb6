"""A small codebook, a project that a fake source proposes for, settings with the session's Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import Code, Codebook, Kind
from ml_backend import queue
from ml_backend.devices import DeviceFacts
from ml_backend.experiment import Experiment, Project
from ml_backend.registered_projects import register
from ml_backend.settings import Settings, with_secrets
from ml_backend.source_config import SourceConfig, SourceKind

CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)


@pytest.fixture
def codebook() -> Codebook:
    """Three codes; the word of one is the beginning of another's."""
    return Codebook(
        "small",
        Kind.EXCLUSIVE,
        (
            Code("ship", "Ships", "Vessels and ports.", "ship"),
            Code("shipping", "Shipping", "Freight by sea.", "shipping"),
            Code("grain", "Grain", "Wheat and maize.", "grain"),
        ),
    )


@pytest.fixture
def cpu() -> DeviceFacts:
    """A CPU without bfloat16."""
    return CPU


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Folder of an installation."""
    return tmp_path / "home"


@pytest.fixture
def settings(home: Path, redis_db: str) -> Settings:
    """Settings with secrets, an empty Redis and a short deadline."""
    return with_secrets(Settings(home=home, redis_url=SecretStr(redis_db), predict_deadline_seconds=0.3))


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    """A client of the empty Redis."""
    with queue.client(settings) as client:
        yield client


@pytest.fixture
def project(home: Path, codebook: Codebook) -> Project:
    """Project 7, for which a fake source proposes."""
    experiment = Experiment("small", (SourceConfig("words", SourceKind.FAKE),))
    return register(home, 7, experiment, codebook)
