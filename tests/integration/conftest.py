"""An installation of Winnow beside the session's Label Studio: all its processes, with an embedded Redis."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from redis import Redis
from werkzeug.serving import make_server

from ml_backend import queue
from ml_backend.app import create_app
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.settings import Settings, with_secrets
from tests.integration.running import processes_of
from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.walk import free_port
from trainer.up import Installation


@dataclass(frozen=True)
class Running:
    """Winnow at work, and how to reach it."""

    installation: Installation
    settings: Settings


@pytest.fixture(scope="session")
def winnow(label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Winnow's processes as ``winnow up`` starts them. Tests share them: each makes its own project."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("WINNOW_")]:
            environment.delenv(name)
        environment.setenv("HF_HUB_OFFLINE", "1")
        settings = with_secrets(
            Settings(
                home=tmp_path_factory.mktemp("winnow"),
                label_studio_url=label_studio.url,
                label_studio_token=SecretStr(label_studio.token()),
                port=free_port(),
                reconcile_seconds=5,
                predict_deadline_seconds=2,
                chunk_documents=4,
                web_workers=1,
            )
        )
        with Installation(settings) as installation:
            yield Running(installation, settings)
        assert not processes_of(settings.home), "processes outlive Installation.stop()"


@pytest.fixture
def settings(label_studio: LabelStudioServer, redis_db: str, tmp_path: Path) -> Settings:
    return with_secrets(
        Settings(
            home=tmp_path / "home",
            label_studio_url=label_studio.url,
            label_studio_token=SecretStr(label_studio.token()),
            redis_url=SecretStr(redis_db),
        )
    )


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    with queue.client(settings) as client:
        yield client


@pytest.fixture
def client(settings: Settings) -> LabelStudioClient:
    return LabelStudioClient(settings)


@pytest.fixture
def sdk(label_studio: LabelStudioServer) -> LabelStudio:
    """The SDK itself, to look at what the client did."""
    return LabelStudio(base_url=label_studio.url, api_key=label_studio.token())


@pytest.fixture
def served(settings: Settings, redis: Redis) -> Iterator[Settings]:
    """The web process on a port of its own; settings that name it."""
    server = make_server("127.0.0.1", 0, create_app(settings, redis), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield settings.model_copy(update={"port": server.server_port})
    server.shutdown()
    thread.join()
