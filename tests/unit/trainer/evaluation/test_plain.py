from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from label_configs.errors import EnvironmentFault
from tests.unit.trainer.evaluation.blocks_of_all_kinds import EVIL, SECTION
from trainer.evaluation.blocks import Column, Section, Table
from trainer.evaluation.plain import sections_json, write_csv


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_json_has_every_figure_and_no_nan() -> None:
    data = json.loads(json.dumps(sections_json([SECTION]), allow_nan=False))["all"]
    assert data["findings"][0] == {"tone": "good", "text": f"good [red]{EVIL}"}
    rows = data["blocks"]["sources"]["rows"]
    assert rows[0]["accuracy"] == {"value": 0.852, "n": 1212, "low": 0.81, "high": 0.889, "why": ""}
    assert rows[1]["kappa"] == {"value": None, "n": 1, "low": None, "high": None, "why": "one rating in common"}
    assert rows[1]["n"] is None, "NaN is undefined"
    assert rows[0]["task"] == {"text": "task 1", "url": "http://127.0.0.1:8080/x?a=1&b=2"}
    assert data["blocks"]["agreement"]["values"] == [[1.0, 0.25], [None, None]]
    assert data["blocks"]["curve"]["series"][0]["high"] == [0.4, None, 0.8]
    assert [bar["value"] for bar in data["blocks"]["gaps"]["bars"]] == [0.852, None, -0.1]


def test_what_comes_twice_is_numbered_and_numpy_numbers_are_numbers() -> None:
    table = Table("t", "T", (Column("a", "a"), Column("a", "b")), ((np.int64(3), np.float64(0.5)),))  # type: ignore[arg-type]
    section = Section("s", "S", (), (table, table))
    data = json.loads(json.dumps(sections_json([section, section])))
    assert list(data) == ["s", "s-2"]
    assert list(data["s"]["blocks"]) == ["t", "t-2"]
    assert data["s"]["blocks"]["t"]["rows"] == [{"a": 3, "a-2": 0.5}]


def test_one_csv_for_each_table_and_plot(tmp_path: Path) -> None:
    paths = write_csv(tmp_path / "new", [SECTION])
    assert [path.name for path in paths] == [
        "all-sources.csv", "all-agreement.csv", "all-curve.csv", "all-reliability.csv", "all-gaps.csv",
    ]  # fmt: skip
    first, second, third = rows_of(paths[0])
    assert [first[f"accuracy{part}"] for part in ("", "_n", "_low", "_high", "_why")] == [
        "0.852", "1212", "0.81", "0.889", "",
    ]  # fmt: skip
    assert (second["accuracy"], second["accuracy_why"], second["kappa_n"]) == ("", "no document has it", "1")
    assert first["task_url"] == "http://127.0.0.1:8080/x?a=1&b=2"
    assert (third["source"], third["task"]) == ("'-b", "'@bad"), "a spreadsheet computes nothing"
    assert second["source"] == "'=1+1"
    assert first["kappa"] == "-0.0504", "a number is one"
    assert rows_of(paths[2])[2] == {"series": "measured", "x": "1000", "y": "0.75", "low": "0.7", "high": "0.8"}


def test_no_file_takes_the_place_of_another(tmp_path: Path) -> None:
    table = Table("c", "T", (Column("a", "a"),), ((1,),))
    sections = [
        Section("a-b", "S", (), (table,)),
        Section(
            "a", "S", (), (replace(table, key="b-c"), replace(table, key="x" * 300), replace(table, key="x" * 301))
        ),
        Section("../a/b", "S", (), (table,)),
    ]
    paths = write_csv(tmp_path, sections)
    assert len(set(paths)) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        write_csv(tmp_path / "file", [SECTION])
