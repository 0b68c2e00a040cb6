"""`winnow effort`, from the mirror alone: sections on the terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from label_configs.errors import ConfigError
from tests.unit.trainer.pulling import PROJECT, Coded
from trainer.effort_command import effort
from trainer.evaluation.study_reading import refresh_study

ARGUMENTS = ["--project", str(PROJECT), "--offline", "--samples", "100"]


@pytest.fixture
def coded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Coded:
    made = Coded(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(made.home))
    return made


def test_what_was_read_last_is_told_without_a_connection(coded: Coded, tmp_path: Path) -> None:
    refresh_study(coded.fake, coded.project)
    told = CliRunner().invoke(effort, [*ARGUMENTS, "--csv", str(tmp_path / "tables")], catch_exceptions=False)
    assert told.exit_code == 0
    for part in ("Effort", "By arm", "Reject against choose", "Rubber-stamping", "Coders", "Costs"):
        assert part in told.output
    assert "Straße" not in told.output, "no text of a document"
    with (tmp_path / "tables" / "effort-by_arm.csv").open(encoding="utf-8", newline="") as file:
        arms = {row["arm"]: row for row in csv.DictReader(file)}
    assert int(arms["review"]["decisions"]) > 0
    assert {path.stem for path in (tmp_path / "tables").iterdir()} >= {
        "coders-coders",
        "costs-sources",
        "rubber_stamping-signs",
    }


def test_json_has_the_same_sections(coded: Coded) -> None:
    refresh_study(coded.fake, coded.project)
    told = CliRunner().invoke(effort, [*ARGUMENTS, "--json"], catch_exceptions=False)
    text = json.dumps(json.loads(told.output))
    for key in ("by_coder", "reject_or_choose", "rubber_stamping", "coder_minutes"):
        assert key in text
    assert "NaN" not in text


def test_a_project_of_which_nothing_was_read_is_told(coded: Coded) -> None:
    with pytest.raises(ConfigError, match=f"run `winnow pull --project {PROJECT}`"):
        CliRunner().invoke(effort, ARGUMENTS, catch_exceptions=False)
