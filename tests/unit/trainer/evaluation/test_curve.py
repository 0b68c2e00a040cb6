"""The kept learning curve, in words and as blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.errors import ConfigError
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.blocks import Lines, Section, Table, Tone
from trainer.evaluation.curve import curve_section, section_of
from trainer.evaluation.curve_file import Cell, Curve, change_curve, curve_path, read_curves
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.power_law import PowerLaw

SHARES = (5, 10, 25, 50, 75, 100)
EMPTY = Curve("abc", "smollm2", "r1", "b", 400, 100)


def cell(share: int, seed: int, value: float | None) -> Cell:
    values = {"new": value, "current": 0.1, "tf-idf": 0.5}
    return Cell(share, seed, 4 * share, {who: {"macro_f1": one} for who, one in values.items()}, 12.0)


def measured(law: PowerLaw, shares: tuple[int, ...] = SHARES, seeds: int = 3) -> Curve:
    """Cells on the law, and a hundredth of a point above and below it."""
    found = EMPTY
    for share in shares:
        for seed in range(seeds):
            found = found.with_cell(cell(share, seed, law.at(4 * share) + (seed - 1) * 1e-4))
    return found


def said(section: Section) -> list[str]:
    return [finding.text for finding in section.findings]


def test_what_the_next_documents_bring_and_when_to_stop() -> None:
    law = PowerLaw(0.9, 1.5, 0.5)
    section = section_of(measured(law), samples=200)
    first, second = said(section)
    assert first.startswith(
        "The next 100 documents to train on are expected to bring 0.8 points [0.8, 0.8] of macro-F1"
    )
    assert first.endswith("from 82.5 % to 83.3 %.")
    enough = law.enough(400, 100, 0.005)
    assert enough is not None
    assert f"at about {enough} training documents, {enough - 400} more than now" in second
    sooner = section_of(replace(measured(law), threshold=0.02), samples=200)
    assert said(sooner)[1] == (
        "Coding for training can stop: the next 100 documents are expected to bring less than 2 points."
    )


def test_points_and_law_are_a_plot_and_a_table() -> None:
    lines, table = section_of(measured(PowerLaw(0.9, 1.5, 0.5)), samples=50).blocks
    assert isinstance(lines, Lines)
    assert isinstance(table, Table)
    points, fitted, words = lines.series
    assert points.x == tuple(4.0 * share for share in SHARES)
    assert all(low <= y <= high for low, y, high in zip(points.low, points.y, points.high, strict=True))  # type: ignore[operator]
    assert fitted.x[-1] == 500, "it looks ahead"
    assert set(words.y) == {0.5}
    assert [row[:3] for row in table.rows] == [(4 * share, f"{share} %", 3) for share in SHARES]
    assert table.rows[-1][3] == pytest.approx(table.rows[-1][6], abs=1e-3)
    assert table.note == "The base alone, without training: .100."


def test_what_cannot_be_said_is_not_guessed() -> None:
    law = PowerLaw(0.9, 1.5, 0.5)
    (text,) = said(section_of(measured(law, (50, 100)), samples=50))
    assert text == "What more documents would bring cannot be said: 2 points, 3 are needed."
    undefined = replace(EMPTY, cells={one.name: one for one in [cell(share, 0, None) for share in SHARES]})
    assert said(section_of(undefined, samples=50)) == [
        "What more documents would bring cannot be said: 0 points, 3 are needed."
    ]
    (flat,) = section_of(measured(PowerLaw(0.5, 0.0, 1.0)), samples=50).findings
    assert "does not rise" in flat.text
    one_seed = said(section_of(measured(law, seeds=1), samples=50))
    assert "bring 0.8 points of macro-F1" in one_seed[0], "no interval"


def test_failed_cells_are_told() -> None:
    curve = measured(PowerLaw(0.9, 1.5, 0.5)).with_cell(Cell(5, 9, 2, failed="holds 1 of the codebook's labels"))
    assert any(note.startswith("5 %, seed 9 came to nothing: holds 1") for note in section_of(curve, samples=50).notes)


def test_curves_are_kept_one_beside_the_other(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == {}
    change_curve(tmp_path, EMPTY, lambda curve: curve.with_cell(cell(5, 0, 0.4)))
    change_curve(tmp_path, replace(EMPTY, id="def"), lambda curve: curve.with_cell(cell(5, 0, 0.5)))
    changed = change_curve(tmp_path, EMPTY, lambda curve: curve.with_cell(cell(10, 0, 0.6)))
    assert [one.name for one in changed.done] == ["5-0", "10-0"]
    kept = read_curves(tmp_path)
    assert list(kept) == ["def", "abc"], "the last changed at the end"
    assert kept["abc"] == changed
    curve_path(tmp_path).write_text("[")
    with pytest.raises(ConfigError, match=r"curve\.json: damaged; delete it and run `winnow curve` again"):
        read_curves(tmp_path)


def test_the_report_reads_what_is_kept(tmp_path: Path) -> None:
    study, options = studies.exclusive(), ReportOptions(samples=50, folder=tmp_path)
    assert curve_section(study, ReportOptions()).findings[0].tone is Tone.PLAIN
    (none,) = curve_section(study, options).findings
    assert (none.tone, "`winnow curve --project" in none.text) == (Tone.NEXT, True)
    law = measured(PowerLaw(0.9, 1.5, 0.5))
    change_curve(tmp_path, EMPTY, lambda _: law)
    section = curve_section(study, options)
    assert said(section) == said(section_of(law, samples=50))
    assert section.notes[0].startswith("Measured on 400 training documents; ")
    curve_path(tmp_path).write_text("[")
    assert "damaged" in curve_section(study, options).findings[0].text
