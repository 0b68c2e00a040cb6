from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.unit.trainer.evaluation.blocks_of_all_kinds import SECTION, TABLE
from trainer.evaluation.console import show


def printed(width: int, section: object = SECTION) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(console, [section])  # type: ignore[list-item]
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_findings_have_marks_and_names_are_no_markup() -> None:
    text = printed(160)
    for mark, tone in (("✓", "good"), ("!", "warning"), ("✗", "bad"), ("·", "plain"), ("→", "next")):
        assert f"{mark} {tone} [red]</td><script>" in text
    assert "85.2 % [81.0, 88.9]  n = 1,212" in text
    assert "– (one rating in common)" in text
    assert "By Krippendorff (2004)." in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_column_is_lost_however_narrow_the_terminal_is(width: int) -> None:
    text = printed(width, replace(SECTION, blocks=(TABLE,)))
    for column in TABLE.columns:
        assert column.title in text
    assert "…" not in text
    assert ("(continued)" in text) is (width < 200)
    assert max(map(len, text.splitlines())) <= width


def test_plots_are_tables_of_their_numbers() -> None:
    lines = printed(160).splitlines()
    assert any("measured" in line and "0.75" in line and "0.8" in line for line in lines)
    assert any(".250" in line for line in lines)
