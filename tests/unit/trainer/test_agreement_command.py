"""`winnow agreement` of a project, from its mirror; of files see test_agreement_file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from label_configs.errors import ConfigError
from tests.made_project import CODERS, MadeProject
from trainer.agreement_command import agreement


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With project 7, of which nobody is asked."""
    folder = tmp_path_factory.mktemp("home")
    MadeProject(folder, tasks=200, coded=180).make()
    return folder


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_HOME", str(home))


def run(*options: str) -> str:
    result = CliRunner().invoke(
        agreement, ["--project", "7", "--offline", "--samples", "50", *options], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_of_a_project() -> None:
    found = json.loads(run("--json"))
    assert "agreement-time" not in found
    overall = {row["coefficient"]: row["value"] for row in found["agreement"]["blocks"]["overall"]["rows"]}
    assert overall["Percent agreement"]["n"] == 60  # every third of 180
    assert overall["Krippendorff's alpha, nominal"]["low"] < overall["Krippendorff's alpha, nominal"]["value"]
    matrix = found["agreement-pairs"]["blocks"]["matrix"]
    assert matrix["rows"] == [*(f"Coder {number}" for number in range(1, 1 + len(CODERS))), "definitions", "similarity",
                              "probe"]  # fmt: skip


def test_by_week_and_csv(tmp_path: Path) -> None:
    told = run("--by-week", "--csv", str(tmp_path / "csv"))
    assert "Agreement over time" in told
    assert "2026-03-02" in told
    assert f"tables are in {tmp_path / 'csv'}" in " ".join(told.split())
    assert (tmp_path / "csv" / "agreement-time-by_week.csv").read_text(encoding="utf-8").startswith("week,n,percent")


def test_a_project_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="project 99: not known to Winnow"):
        CliRunner().invoke(agreement, ["--project", "99", "--offline"], catch_exceptions=False)
