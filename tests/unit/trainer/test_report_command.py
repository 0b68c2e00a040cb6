"""`winnow report`, from the mirror alone: the page, JSON, CSV, the summary, and its errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.trainer.pulling import PROJECT, Coded
from trainer.cli import main
from trainer.evaluation.study_reading import refresh_study

OFFLINE = ("--project", PROJECT, "--offline", "--samples", 100)


@pytest.fixture(autouse=True)
def coded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Coded:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("WINNOW_LABEL_STUDIO_TOKEN", raising=False)
    made = Coded(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(made.home))
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["report", *map(str, arguments)])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def test_everything_is_written_and_told(coded: Coded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refresh_study(coded.fake, coded.project)
    code, out, err = run(capsys, *OFFLINE, "--html", "out/r.html", "--json", "r.json", "--csv", "figures")
    assert code == 0, err
    assert re.search(r"Written: out/r.html, figures \(\d+ files\), r.json\.", out)
    assert "→ " in out
    page, data = Path("out/r.html").read_text(), json.loads(Path("r.json").read_text())
    assert page.startswith("<!DOCTYPE html>")
    assert "Straße" not in page + json.dumps(data, ensure_ascii=False), "no text of a document"
    assert data["manifest"]["winnow_yaml"]
    assert {finding["text"] for finding in data["summary"]["findings"]}
    assert (tmp_path / "figures" / "performance-performance.csv").exists()
    assert not list(tmp_path.glob("**/.r.*")), "nothing is left half written"
    run(capsys, *OFFLINE, "--html", "again.html")
    time = re.compile(r"<time.*?</time>")
    assert time.sub("", Path("again.html").read_text()) == time.sub("", page)


def test_json_alone_is_printed(coded: Coded, capsys: pytest.CaptureFixture[str]) -> None:
    refresh_study(coded.fake, coded.project)
    code, out, _ = run(capsys, *OFFLINE, "--seed", 4, "--by", "lang", "--json")
    manifest = json.loads(out)["manifest"]
    assert (code, manifest["seed"], manifest["samples"], manifest["by"]) == (0, 4, 100, ["lang"])


def test_a_gold_file_is_the_truth(coded: Coded, capsys: pytest.CaptureFixture[str]) -> None:
    refresh_study(coded.fake, coded.project)
    Path("gold.csv").write_text("id,labels\nd0,earn\nd9,grain\n")
    code, out, _ = run(capsys, *OFFLINE, "--gold", "gold.csv", "--json")
    assert (code, json.loads(out)["manifest"]["truth"]) == (0, "the gold file gold.csv")


def test_what_is_wrong_is_one_line(coded: Coded, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *OFFLINE)[::2] == (
        2, f"winnow: project {PROJECT}: nothing was read of it yet; run `winnow pull --project {PROJECT}`\n",
    )  # fmt: skip
    refresh_study(coded.fake, coded.project)
    Path("file").write_text("")
    code, _, err = run(capsys, *OFFLINE, "--html", "file/r.html")
    assert (code, err.count("\n")) == (2, 1)
    assert "file/r.html: cannot be written" in err
    assert run(capsys, "--project", 8, "--offline")[0] == 2
