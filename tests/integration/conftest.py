"""An installation of Winnow beside the session's Label Studio: all its processes, with an embedded Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

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
