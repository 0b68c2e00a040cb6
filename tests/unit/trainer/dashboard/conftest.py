"""An installation with one project whose every text is hostile to HTML, and the pages of its web process."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import Code, Codebook, Kind
from ml_backend import queue
from ml_backend.app import create_app
from ml_backend.experiment import Experiment, Project
from ml_backend.registered_projects import register
from ml_backend.settings import Settings, with_secrets
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.dashboard.blueprint import DASHBOARD_PAGES
from trainer.dashboard.project_metrics import ProjectCollector
from trainer.mirror_file import MirrorFile
from trainer.rounds import RoundRecord, RoundState, rounds_folder, save_round

EVIL = "<script>alert('ö')</script>\"'&{{7*7}}"
ROUND = "0123456789abcdef"


@pytest.fixture
def settings(tmp_path: Path, redis_db: str) -> Settings:
    return with_secrets(
        Settings(
            home=tmp_path / "home",
            redis_url=SecretStr(redis_db),
            label_studio_url="http://127.0.0.1:9",
            label_studio_token=SecretStr("no-token"),
            password=SecretStr("account-password"),
            viewer_password=SecretStr("viewer-password"),
            operator_password=SecretStr("operator-password"),
        )
    )


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    with queue.client(settings) as client:
        yield client


@pytest.fixture
def project(settings: Settings) -> Project:
    """Project 7 with a codebook, a round and a log of nothing but trouble; 88 documents are verified."""
    codes = (Code("a", EVIL, EVIL, "ship"), Code("b", "Grain", "Wheat.", "grain"))
    codebook = Codebook(EVIL, Kind.EXCLUSIVE, codes)
    experiment = Experiment(
        "small", (SourceConfig("words", SourceKind.FAKE),), training=Training("no-model", thresholds=(50, 100))
    )
    project = register(settings.home, 7, experiment, codebook)
    save(project, RoundState.FAILED, reason=EVIL, notes=(EVIL,))
    (rounds_folder(project.home, 7) / ROUND / "fit.log").write_text(f"begin\n{EVIL}\n\x1b[31mend\n", encoding="utf-8")
    with MirrorFile(project.folder) as file, file.writing():
        file.set_facts({"counted_by": "x", "born": "b", "revision": "3"})
        file.query("UPDATE totals SET tasks = 200, submitted = 90, verified = 88, seen = 60, both = 60")
    return project


def save(project: Project, state: RoundState, **more: object) -> None:
    """Write the project's round."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    record = RoundRecord(
        ROUND, project.id, state, 60, 48, 12, started_at=began, ended_at=began + timedelta(seconds=90), seconds=90.0,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip
    save_round(rounds_folder(project.home, project.id), record)


@pytest.fixture
def client(settings: Settings, redis: Redis, project: Project) -> FlaskClient:
    return create_app(settings, redis, [DASHBOARD_PAGES], [ProjectCollector(settings.home)]).test_client()


def login(user: str, password: str | None = None) -> dict[str, str]:
    """Headers of a user; the account is `winnow`."""
    named = {"winnow": "account-password"}.get(user, f"{user}-password")
    token = base64.b64encode(f"{user}:{password or named}".encode()).decode()
    return {"Authorization": f"Basic {token}"}
