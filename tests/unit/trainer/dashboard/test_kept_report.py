"""The report that pages read: whole or not there, and another one noticed."""

from __future__ import annotations

import stat
import weakref
from datetime import UTC, datetime
from pathlib import Path

import pytest

from label_configs.errors import EnvironmentFault
from trainer.dashboard.kept_report import (
    MOST,
    KeptReport,
    KeptSection,
    load_fault,
    load_report,
    report_path,
    report_stamp,
    save_fault,
    save_report,
)


def report(title: str = "Newswire") -> KeptReport:
    sections = (KeptSection("a", "A", "<section></section>"),)
    return KeptReport(title, datetime(2026, 1, 1, tzinfo=UTC), 3.5, "b-1", sections, {"a": {"x": None}}, {"s": 0.5})


def test_what_is_kept_is_loaded(tmp_path: Path) -> None:
    assert load_report(tmp_path) is None
    save_report(tmp_path, report())
    assert load_report(tmp_path) == report()
    assert stat.S_IMODE(report_path(tmp_path).stat().st_mode) == 0o600
    save_report(tmp_path, report("another"))
    assert load_report(tmp_path) == report("another")


def test_a_fault_stands_beside_the_report_until_the_next(tmp_path: Path) -> None:
    stamps = {report_stamp(tmp_path)}
    save_report(tmp_path, report())
    stamps.add(report_stamp(tmp_path))
    save_fault(tmp_path, "Label Studio is away; start it")
    stamps.add(report_stamp(tmp_path))
    assert len(stamps) == 3
    assert load_fault(tmp_path) == "Label Studio is away; start it"
    assert load_report(tmp_path) == report()
    save_report(tmp_path, report())
    assert load_fault(tmp_path) == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"title": 1}', '{"sections": [], "made_at": "yesterday"}'])
def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    save_report(tmp_path, report())
    report_path(tmp_path).write_text(text, encoding="utf-8")
    with pytest.raises(EnvironmentFault, match=r"dashboard\.json: not a report .*; delete it") as raised:
        load_report(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_process_holds_the_newest_report_of_a_project_alone(tmp_path: Path) -> None:
    held = []
    for number in range(3):
        save_report(tmp_path, report(str(number)))
        found = load_report(tmp_path)
        assert found is load_report(tmp_path), "read once"
        held.append(weakref.ref(found))
        del found
    assert [one() is not None for one in held] == [False, False, True]


def test_a_process_holds_the_reports_of_so_many_projects(tmp_path: Path) -> None:
    held = []
    for number in range(MOST + 1):
        (folder := tmp_path / str(number)).mkdir()
        save_report(folder, report())
        held.append(weakref.ref(load_report(folder)))
    assert [one() is not None for one in held] == [False, *[True] * MOST]
