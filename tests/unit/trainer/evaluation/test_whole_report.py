from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from label_configs.codebook import Kind
from label_configs.errors import AdapterError
from tests.unit.trainer.evaluation.studies import codebook, empty, study
from trainer.evaluation.blocks import Tone
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.page import page_html
from trainer.evaluation.plain import write_csv
from trainer.evaluation.report_manifest import report_manifest
from trainer.evaluation.study import Study
from trainer.evaluation.whole_report import Analysis, Report, analyses, make_report

MADE_AT = datetime(2026, 11, 22, 17, tzinfo=UTC)
QUICK = ReportOptions(samples=100)
EXCLUSIVE = study(Kind.EXCLUSIVE, documents=80)


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report(EXCLUSIVE, QUICK, made_at=MADE_AT)


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for own in value.values():
            yield from strings(own)
    elif isinstance(value, list):
        for own in value:
            yield from strings(own)
    elif isinstance(value, str):
        yield value


def test_all_that_was_ordered_is_in_it(report: Report) -> None:
    keys = [section.key for section in report.sections]
    assert len(keys) == len(set(keys))
    assert set(keys) >= {
        "performance", "confusion", "comparison", "calibration", "subgroups", "stability", "contamination", "curve",
        "agreement", "label_errors", "effort", "rubber_stamping", "coders", "costs",
    }  # fmt: skip
    assert keys[-1] == "definitions"
    for section in report.sections:
        blocks = [block.key for block in section.blocks]
        assert len(blocks) == len(set(blocks)), section.key


def test_coders_have_pseudonyms_and_no_text_is_in_it(report: Report) -> None:
    told = "\n".join([str(page_html(report)), *strings(report.as_json())])
    assert "Coder 1" in told
    assert "Person 1" not in told
    assert "tells of things" not in told
    named = make_report(replace(EXCLUSIVE, show_coder_names=True), QUICK, made_at=MADE_AT)
    text = "\n".join(strings(named.as_json()))
    assert "Person 1" in text
    assert "Coder 1" not in text


def test_the_same_study_gives_the_same_report(report: Report) -> None:
    again = make_report(replace(EXCLUSIVE), QUICK, made_at=MADE_AT)
    assert json.dumps(again.as_json(), allow_nan=False) == json.dumps(report.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    "made",
    [
        study(Kind.MULTILABEL, documents=80),
        study(Kind.GRADED, documents=80),
        *(empty(kind) for kind in Kind),
        replace(EXCLUSIVE, decisions=(), examples=(), truth={}),
        replace(EXCLUSIVE, proposals=(), versions={}, configs={}),
        replace(EXCLUSIVE, decisions=tuple(one for one in EXCLUSIVE.decisions if one.coder == "1")),
        replace(EXCLUSIVE, truth=dict.fromkeys(EXCLUSIVE.truth, ("strange",))),
        replace(EXCLUSIVE, truth=dict.fromkeys(EXCLUSIVE.truth, ())),
        replace(EXCLUSIVE, documents={}),
        replace(EXCLUSIVE, codebook=codebook(Kind.MULTILABEL)),
    ],
    ids=["multilabel", "graded", *(f"empty {kind.value}" for kind in Kind), "not coded", "no proposals", "one coder",
         "unknown codes", "no codes", "no documents", "other codebook"],
)  # fmt: skip
def test_whatever_there_is_a_report_is_made(made: Study, tmp_path: Path) -> None:
    report = make_report(made, QUICK, made_at=MADE_AT)
    json.dumps(report.as_json(), allow_nan=False)
    write_csv(tmp_path, report.sections)
    assert report.summary.findings
    assert len(report.sections) >= len(analyses())


def test_an_analysis_that_cannot_be_made_says_why() -> None:
    def fails(made: Study, options: ReportOptions) -> list[object]:
        raise AdapterError("adapter 12ab: its manifest is gone; roll it back")

    (section,) = Analysis("curve", "Learning curve", fails).sections(EXCLUSIVE, QUICK)  # type: ignore[arg-type]
    assert (section.key, section.title) == ("curve", "Learning curve")
    assert section.findings[0].text == "Not computed: adapter 12ab: its manifest is gone; roll it back"
    assert section.findings[0].tone is Tone.WARNING


def test_an_error_in_the_code_is_not_hidden() -> None:
    def fails(made: Study, options: ReportOptions) -> list[object]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Analysis("curve", "Learning curve", fails).sections(EXCLUSIVE, QUICK))  # type: ignore[arg-type]


def test_the_manifest_has_what_is_needed_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "winnow.yaml").write_text("codebook: c\n")
    made = replace(
        EXCLUSIVE, url="https://lead:secret@studio.example/app?token=abc", versions={"adapter": "smol/zero@dca813f0"}
    )
    manifest = report_manifest(made, ReportOptions(folder=tmp_path, seed=3, by=("language",)))
    assert manifest["label_studio"] == "https://studio.example/app"
    assert "secret" not in json.dumps(manifest)
    assert "abc" not in json.dumps(manifest).replace(manifest["winnow_yaml"], "")
    assert manifest["winnow_yaml"] == hashlib.sha256(b"codebook: c\n").hexdigest()
    assert manifest["adapters"] == ["dca813f0"]
    assert manifest["codebook"]["fingerprint"] == EXCLUSIVE.codebook.fingerprint
    assert (manifest["samples"], manifest["seed"], manifest["by"]) == (1000, 3, ["language"])
    assert manifest["packages"]["krippendorff"]
    assert manifest["pulled_at"] == "2026-04-06T09:00:00+00:00"
    assert report_manifest(EXCLUSIVE, QUICK)["winnow_yaml"] is None
