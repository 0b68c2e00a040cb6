from __future__ import annotations

import csv
from pathlib import Path

import pytest

from label_configs.errors import ConfigError
from ml_backend.row_report import OnError, RowProblem, RowReport, reporting

PROBLEMS = [RowProblem(f"a.csv:{n}", f"no text, {n}") for n in range(2, 7)]


def test_the_first_problems_are_told_and_the_others_counted() -> None:
    report = RowReport()
    report.refuse("never said")
    for problem in PROBLEMS:
        report.add(problem)
    with pytest.raises(ConfigError) as caught:
        report.refuse("mend them")
    first = "a.csv:2: no text, 2; a.csv:3: no text, 3; a.csv:4: no text, 4"
    assert str(caught.value) == f"{first}; and 2 more; mend them"


def test_skipping_lists_every_problem_in_a_table(tmp_path: Path) -> None:
    table = tmp_path / "out.csv.skipped.csv"
    with reporting(OnError.SKIP, table) as report:
        for problem in PROBLEMS:
            report.add(problem)
    assert report.count == 5
    rows = list(csv.reader(table.open(encoding="utf-8")))
    assert rows == [["where", "problem"], *([one.where, one.what] for one in PROBLEMS)]


def filled(on_error: OnError, table: Path, *, fails: bool = False) -> None:
    with reporting(on_error, table) as report:
        for problem in PROBLEMS:
            report.add(problem)
        if fails:
            raise ConfigError("the file is gone")


def test_stopping_refuses_at_the_end_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"and 2 more; mend these rows, or leave them out with --on-error skip$"):
        filled(OnError.STOP, tmp_path / "table.csv")
    assert not list(tmp_path.iterdir())


def test_a_table_is_not_left_in_part(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file is gone"):
        filled(OnError.SKIP, tmp_path / "table.csv", fails=True)
    assert not list(tmp_path.iterdir())
