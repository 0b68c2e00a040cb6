"""The sections on effort, coders and costs: figures of made studies, and a reason for what there is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from label_configs.codebook import Kind
from label_configs.records import Arm, Decision
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.blocks import Cell, Section, Table, Tone
from trainer.evaluation.coder_table import coder_section
from trainer.evaluation.figure import Figure
from trainer.evaluation.label_errors import label_error_section
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.spending_table import cost_section
from trainer.evaluation.study import Study
from trainer.evaluation.working import effort_sections

FEW = ReportOptions(samples=100)
Row = dict[str, Any]


def rows(section: Section, key: str) -> dict[Cell, Row]:
    """A table's rows by their first cell, cells by their column."""
    [table] = [block for block in section.blocks if isinstance(block, Table) and block.key == key]
    return {row[0]: dict(zip((one.key for one in table.columns), row, strict=True)) for row in table.rows}


def every_section(study: Study) -> list[Section]:
    return [
        *effort_sections(study, FEW), coder_section(study, FEW), cost_section(study, FEW),
        label_error_section(study, FEW),
    ]  # fmt: skip


def first(study: Study) -> list[Decision]:
    return [one for one in study.decisions if not (one.skipped or one.repeat)]


def test_effort_by_arm_form_coder_and_version() -> None:
    study = studies.exclusive()
    effort, *_ = effort_sections(study, FEW)
    by_arm = rows(effort, "by_arm")
    for arm in Arm:
        own = [one for one in first(study) if one.arm is arm]
        seconds: dict[str, list[float]] = {}
        for one in own:
            seconds.setdefault(one.document_id, []).append(one.seconds or 0.0)
        row = by_arm[arm.value]
        assert (row["decisions"], row["documents"]) == (len(own), len(seconds))
        assert row["median_seconds"].value == pytest.approx(
            np.median([np.mean(one) for one in seconds.values()]), abs=0.1
        )
        assert row["keys"].n == len(seconds)
    assert by_arm["choose"]["as_shown"] == Figure(None, 0, why="no candidates were shown")
    review = [one.untouched for one in first(study) if one.arm is Arm.REVIEW]
    assert by_arm["review"]["as_shown"].value == pytest.approx(np.mean(review))
    assert set(rows(effort, "by_form")) == {"keep", "choose"}
    assert list(rows(effort, "by_coder")) == ["Coder 1", "Coder 2", "Coder 3"]
    by_version = rows(effort, "by_version")
    assert by_version["adapter adapter/1"]["decisions"] <= by_arm["review"]["decisions"]
    assert "adapter adapter/0" not in by_version, "it proposed, and was never shown"


def test_coders_have_their_names_where_these_may_be_shown() -> None:
    study = replace(studies.exclusive(), show_coder_names=True)
    assert list(rows(coder_section(study, FEW), "coders")) == ["Person 1", "Person 2", "Person 3"]
    assert "Person" not in str(every_section(studies.exclusive()))


def test_two_coders_of_one_name_stay_two() -> None:
    study = replace(studies.exclusive(), show_coder_names=True, names={"1": "Ann", "2": "Ann", "3": "Bea"})
    [table] = [block for block in effort_sections(study, FEW)[0].blocks if block.key == "by_coder"]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["Ann", "Ann", "Bea"]


def test_the_tenth_coder_comes_after_the_ninth() -> None:
    study = studies.study(Kind.EXCLUSIVE, 120, 11, 1)
    assert list(rows(coder_section(study, FEW), "coders")) == [f"Coder {n}" for n in range(1, 12)]
    assert list(rows(effort_sections(study, FEW)[0], "by_coder")) == [f"Coder {n}" for n in range(1, 12)]


def test_reviewing_against_choosing_and_the_coder_who_stamps() -> None:
    study = studies.exclusive()
    _, compared, stamping = effort_sections(study, FEW)
    against = rows(compared, "arms")
    assert set(against) == {"choose", "blind"}
    assert against["choose"]["ratio"].high < 1
    assert compared.findings[0].tone is Tone.GOOD
    [finding] = stamping.findings
    assert finding.tone is Tone.WARNING
    assert finding.text.startswith("Coder 3 submitted ")
    assert rows(coder_section(study, FEW), "coders")["Coder 3"]["flags"] == "as shown"


def test_a_coders_row_by_hand() -> None:
    study = studies.exclusive()
    row = rows(coder_section(study, FEW), "coders")["Coder 1"]
    own = [one for one in study.decisions if one.coder == "1"]
    judged = [one for one in own if one.arm is Arm.REVIEW and one.verified and not one.repeat]
    shown = sum(len(one.shown.candidates) for one in judged if one.shown)
    assert row["skips"] == sum(one.skipped for one in own)
    assert row["repeated"] == sum(one.repeat and not one.skipped for one in own)
    assert row["documents"] == len({one.document_id for one in own if not one.skipped})
    assert (row["kept"].value, row["kept"].n) == (sum(len(one.kept) for one in judged) / shown, shown)
    timed = [one.seconds for one in own if one.seconds and not (one.skipped or one.repeat)]
    assert row["pace"].value == pytest.approx(3600 / np.mean(timed), rel=0.01)
    assert row["pace"].low < row["pace"].value < row["pace"].high


def test_costs_by_hand() -> None:
    study = studies.exclusive()
    section = cost_section(study, FEW)
    prompt, adapter = (rows(section, "sources")[name] for name in ("prompt prompt/1", "adapter adapter/1"))
    assert (prompt["documents"], prompt["tokens"], prompt["price"]) == (200, 240_000, pytest.approx(0.4))
    assert prompt["device_seconds"] == pytest.approx(20)
    assert adapter["price"] is None, "unknown is not free"
    assert (adapter["in_force"], rows(section, "sources")["adapter adapter/0"]["in_force"]) == ("yes", "")
    shown: Counter[bool] = Counter(
        candidate.label in one.kept
        for one in study.decisions
        if one.shown and one.verified and not one.repeat
        for candidate in one.shown.candidates
        if any(by.source == "adapter" for by in candidate.proposers)
    )
    assert (adapter["shown"], adapter["kept"].value) == (shown.total(), shown[True] / shown.total())
    together = rows(section, "sources")["all in force"]
    assert (together["tokens"], together["price"]) == (720_000, None)
    minutes = rows(section, "coder_minutes")
    mean = rows(effort_sections(study, FEW)[0], "by_arm")["review"]["mean_seconds"]
    assert minutes["review"]["minutes"].value == pytest.approx(mean.value * 1000 / 60)
    assert minutes["choose"]["minutes"].low > minutes["review"]["minutes"].high


def test_an_empty_project_says_so() -> None:
    said = [section.findings[0].text for section in every_section(studies.empty())]
    assert said == [
        "Nothing is coded yet, so there is no effort to report.",
        "Nobody has coded anything yet.",
        "No source has proposed and nobody has coded, so nothing is spent.",
        "Label errors cannot be looked for: no document is verified yet.",
    ]


def test_without_lead_times_the_rest_stands() -> None:
    made = studies.exclusive()
    study = replace(made, decisions=[replace(one, seconds=None) for one in made.decisions])
    effort, compared, _ = effort_sections(study, FEW)
    assert effort.findings[0].text.endswith("how long they took is not known: no lead times.")
    assert rows(effort, "by_arm")["review"]["median_seconds"].why == "no lead times"
    assert rows(effort, "by_arm")["review"]["keys"].value > 1
    assert "no lead times" in compared.findings[0].text
    assert "not known" in cost_section(study, FEW).findings[0].text
    assert rows(coder_section(study, FEW), "coders")["Coder 1"]["pace"].why == "no lead times"


def test_one_arm_one_coder_and_no_record_say_why() -> None:
    made = studies.exclusive()
    one_arm = replace(made, decisions=[one for one in made.decisions if one.arm is Arm.REVIEW])
    finding, *_ = effort_sections(one_arm, FEW)[1].findings
    assert finding.tone is Tone.NEXT
    assert "review.choose_share" in finding.text
    one_coder = replace(made, decisions=[one for one in made.decisions if one.coder == "3"])
    assert "no other coder to compare with" in effort_sections(one_coder, FEW)[2].findings[0].text
    unrecorded = replace(made, decisions=[replace(one, shown=None) for one in made.decisions])
    assert set(rows(effort_sections(unrecorded, FEW)[0], "by_arm")) == {"not recorded"}


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_breaks_on_a_codebook_that_lost_codes_or_on_a_few_decisions(kind: Kind) -> None:
    made = studies.study(kind)
    other = replace(made, codebook=studies.codebook(Kind.EXCLUSIVE if kind is not Kind.EXCLUSIVE else Kind.MULTILABEL))
    for study in (
        made,
        other,
        replace(made, documents={}),
        *(replace(made, decisions=made.decisions[:n]) for n in (1, 2, 5)),
    ):
        figures = [
            cell
            for section in every_section(study)
            for block in section.blocks
            if isinstance(block, Table)
            for row in block.rows
            for cell in row
            if isinstance(cell, Figure)
        ]
        assert all(np.isfinite(one.value) if one.value is not None else one.why for one in figures)
