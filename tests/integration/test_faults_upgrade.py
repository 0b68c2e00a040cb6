"""What version 0.1.0 wrote is read by this one, and what a later one wrote is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from label_configs.errors import ConfigError, EnvironmentFault
from ml_backend import adapters, promotions
from ml_backend.home_format import FORMAT, check_home
from ml_backend.proposing import Plan
from ml_backend.registered_projects import load_project, registered
from ml_backend.settings import Settings, with_secrets
from ml_backend.source_config import ADAPTER_SOURCE
from trainer.cli import main
from trainer.evaluation.study_pulled import read_pulled
from trainer.mirror import Mirror
from trainer.mirror_file import MirrorFile
from trainer.rounds import RoundState, list_rounds, load_seen, rounds_folder
from trainer.verified import reading_of

FIXTURE = Path(__file__).parent.parent / "fixtures" / "home-0.1.0"
DOCUMENTS = [f"d{n}" for n in range(4)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "home"))


def test_all_that_the_version_before_wrote_is_read(home: Path) -> None:
    check_home(home)
    settings = with_secrets(Settings(home=home))
    assert settings.password
    assert settings.password.get_secret_value() == "of-a-fixture"
    assert registered(home) == [7]
    project = load_project(home, 7)
    current = promotions.current(project.folder)
    assert current is not None
    assert adapters.store_of(home).get(current).manifest["base"] == "tiny"
    assert any(source == ADAPTER_SOURCE for source, _ in Plan.of(project).names)
    (record,) = list_rounds(rounds_folder(home, 7))
    assert (record.state, record.adapter_id) == (RoundState.PROMOTED, current)
    assert load_seen(rounds_folder(home, 7)) == set(DOCUMENTS)
    with MirrorFile(project.folder) as file:  # made anew, empty, where it is of another schema: also right
        assert file.counts() in ((6, 4), (0, 0))
    with Mirror(project.folder) as mirror, mirror.tasks(annotated_only=True) as tasks:
        mirrored = [one.document_id for one in reading_of(tasks, project).examples]
    assert mirrored in (DOCUMENTS, [])
    assert [one.document_id for one in read_pulled(project.folder / "pulled").examples] == DOCUMENTS


def test_a_home_without_a_format_is_of_the_first(home: Path) -> None:
    (home / "format.json").unlink()
    check_home(home)


@pytest.mark.parametrize("text", ['{"format": "x"}', "{", "[]"])
def test_a_format_that_is_none_is_named(home: Path, text: str) -> None:
    (home / "format.json").write_text(text)
    with pytest.raises(EnvironmentFault, match=r"format\.json: cannot be read .*; write"):
        check_home(home)


def test_a_later_format_is_refused_with_the_remedy(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "format.json").write_text(json.dumps({"format": FORMAT + 1}))
    monkeypatch.setenv("WINNOW_HOME", str(home))
    with pytest.raises(SystemExit) as ended:
        main(["adapters", "list", "--project", "7"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("winnow: ")
    assert "install the newer Winnow that wrote the folder" in told
    manifest = home / "projects" / "7" / "pulled" / "manifest.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**data, "schema": data["schema"] + 1}))
    with pytest.raises(ConfigError, match="this Winnow reads"):
        read_pulled(manifest.parent)
