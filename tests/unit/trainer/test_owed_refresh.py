"""A refresh that is owed is paid once, and not forgotten where it fails or comes to be owed again meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from label_configs.codebook import load_codebook
from label_configs.errors import LabelStudioError
from ml_backend.experiment import Experiment, Project
from trainer.owed_refresh import is_owed, owe_refresh, paying


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(7, Experiment("reuters8", ()), load_codebook("reuters8"), tmp_path)


def test_it_is_paid_once(project: Project) -> None:
    assert not is_owed(project)
    owe_refresh(project)
    assert is_owed(project)
    with paying(project):
        assert is_owed(project), "a crash in here leaves it owed"
    assert not is_owed(project)


def test_what_fails_is_still_owed(project: Project) -> None:
    owe_refresh(project)
    with pytest.raises(LabelStudioError), paying(project):
        raise LabelStudioError("away")
    assert is_owed(project)


def test_what_is_owed_meanwhile_stays_so(project: Project) -> None:
    owe_refresh(project)
    with paying(project):
        owe_refresh(project)
    assert is_owed(project)
