"""What `winnow up` hands to the processes that it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from ml_backend.settings import Settings, load_settings
from trainer.up import environment


def test_settings_survive_the_way_to_a_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = {"openai": SecretStr("sk-1"), "house": SecretStr('with "quotes"')}
    settings = Settings(home=tmp_path, redis_url=SecretStr("redis://:word@host"), api_keys=keys, threads=3)
    for name, value in environment(settings).items():
        if name.startswith("WINNOW_"):
            monkeypatch.setenv(name, value)
    assert load_settings() == settings
