"""`winnow evaluate` on a project without Label Studio, on files, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.trainer.pulling import PROJECT, Coded
from trainer.cli import main
from trainer.evaluation.study_reading import refresh_study

PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "cap_llama2_7b_ft_train_predictions.csv"


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("WINNOW_LABEL_STUDIO_TOKEN", raising=False)
    (tmp_path / "coded.csv").write_text("id,truth,predicted,lang\n1,a,a,en\n2,b,a,en\n3,b,b,de\n4,a,a,de\n")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments)])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"{PUBLISHED.name} is not in ../shared/data")
def test_the_published_figures_come_out(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys, "--predictions", PUBLISHED, "--truth-column", "trueCat", "--prediction-column", "predicted", "--json"
    )
    found = json.loads(out)
    assert (code, found["n"]) == (0, 1272)
    assert round(found["accuracy"], 3) == 0.754
    figure = found["figures"]["accuracy"]
    assert (figure["value"], figure["n"], figure["why"]) == (found["accuracy"], 1272, "")
    assert 0.72 < figure["low"] < 0.754 < figure["high"] < 0.785
    assert found["codes"]["4"]["sensitivity"]["n"] == 173


def test_a_projects_sources_coders_and_groups_without_label_studio(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded = Coded(tmp_path)
    refresh_study(coded.fake, coded.project)
    options = ("--project", PROJECT, "--offline", "--samples", "20")
    code, out, err = run(capsys, *options, "--json", "--by", "lang", "--csv", "figures")
    found = json.loads(out)
    assert code == 0, err
    assert {"holdout", "n", "sources", "notes", "gate"} <= set(found)  # as before there were sections
    sections = found["sections"]
    assert list(sections)[:3] == ["performance", "comparison", "calibration"]
    assert list(sections)[-1] == "subgroups"
    rows = sections["performance"]["blocks"]["performance"]["rows"]
    assert {row["role"] for row in rows} == {"source", "coder"}
    assert all(row["accuracy"]["n"] == row["documents"] for row in rows)
    assert (tmp_path / "figures" / "performance-performance.csv").exists()
    assert "tables are in figures" in err
    code, out, _ = run(capsys, *options)
    assert code == 0
    assert "Sources on the same" in out
    assert "Against the truth" in out
    assert "Performance by code" not in out
    code, out, _ = run(capsys, *options, "--codes", "--explain")
    assert "Performance by code" in out
    assert "Matthews 1975" in out


def test_a_gold_file_is_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coded = Coded(tmp_path)
    refresh_study(coded.fake, coded.project)
    (tmp_path / "gold.csv").write_text("id,labels\nd0,earn\nd9,grain\n")
    code, out, _ = run(capsys, "--project", PROJECT, "--offline", "--gold", "gold.csv", "--samples", "0", "--json")
    assert code == 0
    notes = json.loads(out)["sections"]["performance"]["notes"]
    assert "Truth is the gold file gold.csv." in notes[0]


def test_groups_of_a_file_are_compared_by_its_other_columns(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--predictions", "coded.csv", "--by", "lang", "--samples", "0")
    assert code == 0
    assert "75.0 %" in out
    assert "lang = de" in out


def test_figures_are_explained_without_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--explain")
    assert code == 0
    assert "Holm 1979" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --project, or --predictions with a file"),
        (["--project", "7", "--predictions", "coded.csv"], "--project and --predictions exclude each other"),
        (["--project", "7", "--separator", "|"], "--separator goes with --predictions only"),
        (["--predictions", "coded.csv", "--gold", "g.csv"], "--gold goes with --project only"),
        (["--predictions", "coded.csv", "--prediction-column", "model"], "coded.csv:1: no columns 'model'"),
        (["--predictions", "absent.csv"], "absent.csv: cannot be read"),
        (["--project", "7", "--offline"], "project 7: not known to Winnow"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"winnow: {message}")
    assert err.count("\n") == 1
