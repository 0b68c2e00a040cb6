"""What is told of the examples of a round."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from label_configs.codebook import Code, Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.records import Decision, Document, Proposal, ScoredLabel, VerifiedExample
from ml_backend.experiment import Experiment, Project
from ml_backend.proposing import Plan
from ml_backend.snapshot import write_examples
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Silver, Training
from trainer.duplicates import Likeness
from trainer.example_report import ExampleReport, LabelCount, report_files
from trainer.leaks import Leak
from trainer.round_examples import RoundExamples
from trainer.rounds import rounds_folder
from trainer.silver import SilverTested
from trainer.verified import Reading

CODES = tuple(Code(key, key, f"About {key}.", key) for key in ("ship", "grain", "oil"))
SEVERAL = Codebook("several", Kind.MULTILABEL, CODES)
GRADED = Codebook("graded", Kind.GRADED, CODES[:2], levels=("low", "high"))
SHARE = 0.3


def example(
    number: int, *labels: str, holdout: bool = False, rejected: tuple[str, ...] = (), silver: bool = False
) -> VerifiedExample:
    side = "h" if holdout else "t"
    name = f"{side}{number}"
    return VerifiedExample(name, f"text {name}", labels, ("ann",), holdout, None, rejected, 1, silver)


EXAMPLES = [
    *(example(n, "ship", rejected=("grain",)) for n in range(12)),
    *(example(n, "ship", "grain", rejected=("oil",)) for n in range(12, 16)),
    example(16),
    *(example(n, "ship", holdout=True) for n in range(4)),
    example(4, holdout=True),
    *(example(n, "grain", silver=True) for n in range(20, 23)),
]
LEAKS = [Leak("t98", "h1"), Leak("t99", "h2", Likeness.NEAR, 0.912)]


def text(report: ExampleReport, width: int = 120) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(report.as_text())
    return captured.get()


def test_documents_are_counted_by_label_and_side() -> None:
    report = ExampleReport.of(EXAMPLES, SEVERAL, LEAKS)
    assert (report.training, report.holdout, report.silver) == (17, 5, 3)
    assert report.labels == (
        LabelCount("ship", 16, 0.9412, 4, 0.8, 0, 0),
        LabelCount("grain", 4, 0.2353, 0, 0.0, 3, 12),
        LabelCount("oil", 0, 0.0, 0, 0.0, 0, 4),
    )
    assert report.unlabelled == {"training": 1, "holdout": 1, "silver": 0}
    assert report.notes == (
        "Without a training document, so never learned: oil.",
        "Without a holdout document, so never judged: grain.",
        "Rare, with fewer than 10 training documents: grain (4); `training.balance`, weights or sampling, makes them "
        "count more.",
    )


def test_levels_are_counted_each() -> None:
    report = ExampleReport.of([example(1, "ship:low"), example(2, "ship:high", holdout=True)], GRADED)
    assert [(one.label, one.training, one.holdout) for one in report.labels] == [
        ("ship:low", 1, 0),
        ("ship:high", 0, 1),
        ("grain:low", 0, 0),
        ("grain:high", 0, 0),
    ]


def test_without_documents_shares_are_undefined() -> None:
    report = ExampleReport.of([], SEVERAL)
    assert {one.training_share for one in report.labels} == {one.holdout_share for one in report.labels} == {None}
    assert "There is no training document: verify more, or change `training.holdout_share`." in report.notes
    assert "There is no holdout document" in ExampleReport.of(EXAMPLES[:3], SEVERAL).notes[-1]


def test_the_report_is_saved_with_the_leaks(tmp_path: Path) -> None:
    assert report_files(tmp_path) == []
    report = ExampleReport.of(EXAMPLES, SEVERAL, LEAKS, SilverTested(10, 4, 3), ["A note."])
    report.save(tmp_path)
    assert report_files(tmp_path) == ["examples.json", "leaks.csv"]
    data = json.loads((tmp_path / "examples.json").read_text())
    assert data["labels"][1]["rejected"] == 12
    assert data["leaks"][1] == {"training_id": "t99", "holdout_id": "h2", "likeness": "near", "similarity": 0.912}
    assert data["tested"] == {"documents": 10, "verified": 4, "right": 3, "share": 0.75}
    assert data["notes"][-1] == "A note."
    assert (tmp_path / "leaks.csv").read_text().splitlines()[1:] == ["exact,t98,h1,1.0", "near,t99,h2,0.912"]


def test_the_report_fits_a_terminal() -> None:
    found = text(ExampleReport.of(EXAMPLES, SEVERAL, LEAKS * 15, SilverTested(10, 4, 3)), width=80)
    assert max(map(len, found.splitlines())) <= 80
    words = " ".join(found.split())
    assert "17 verified documents to train on, 5 to judge on." in words
    assert "│ ship │ 16 │ 94.1 % │ 4 │ 80.0 % │ 0 │ 0 │" in words
    assert "30 leaks: training documents that are like one of the holdout" in words
    assert "t99 is like h2 (near, 0.912)" in words
    assert "and 10 more" in words
    assert "3 silver documents, which no coder saw" in words
    assert "silver in earlier rounds coders verified 4; silver was right for 3 of these" in words
    plain = text(ExampleReport.of(EXAMPLES[12:13], SEVERAL))
    assert "silver" not in plain
    assert "rejected" in plain


# --- of a project ---------------------------------------------------------------------------------------------------

TRAINING = [f"d{n}" for n in range(60) if not is_holdout(f"d{n}", SHARE)]
HOLDOUT = [f"d{n}" for n in range(60) if is_holdout(f"d{n}", SHARE)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    sources = tuple(SourceConfig(name, SourceKind.FAKE) for name in ("first", "second"))
    training = Training("m", holdout_share=SHARE, silver=Silver(0.2, 0.9, 0.25))
    experiment = Experiment("several", sources, training=training)
    return Project(7, experiment, SEVERAL, tmp_path / "projects" / "7")


def reading_of(project: Project, coded: list[str]) -> Reading:
    """Documents of which the last training one is a copy of one of the holdout; all sources say ship of all."""
    texts = {name: f"Only the report {name} says what is said by {name}." for name in (*TRAINING, *HOLDOUT)}
    texts[TRAINING[0]] = texts[HOLDOUT[0]].upper()
    scored = (ScoredLabel("ship", 0.97), ScoredLabel("oil", 0.01), ScoredLabel("grain", 0.0))
    return Reading(
        [Document(name, text) for name, text in texts.items()],
        [Decision(name, 1, 1, "ann", "keep", kept=("ship",)) for name in coded],
        [Proposal(name, source, version, scored) for name in texts for source, version in Plan.of(project).names],
        [VerifiedExample(name, texts[name], ("ship",), ("ann",), name in HOLDOUT) for name in coded],
    )


def test_a_round_learns_from_verified_documents_and_silver_but_no_leaks(project: Project) -> None:
    coded = [*TRAINING[:11], *HOLDOUT[:4]]
    found = RoundExamples.of_project(project, reading_of(project, coded))
    assert {e.document_id for e in found.examples if not e.silver} == {*coded} - {TRAINING[0]}
    silver = [e for e in found.examples if e.silver]
    assert len(silver) == 2
    assert not {e.document_id for e in silver} & {*coded, *HOLDOUT}
    assert {(e.weight, e.labels, e.holdout) for e in silver} == {(0.25, ("ship",), False)}
    assert found.counts == {"leaks": 1, "silver_examples": 2}
    assert found.report.leaks == (Leak(TRAINING[0], HOLDOUT[0]),)
    assert found.report.tested == SilverTested(0, 0, 0)
    assert found == RoundExamples.of_project(project, reading_of(project, coded)), "the same again"


def test_what_was_silver_is_tested_once_coders_verified_it(project: Project) -> None:
    first = RoundExamples.of_project(project, reading_of(project, [*TRAINING[:11], *HOLDOUT[:4]]))
    write_examples(rounds_folder(project.home, 7) / "one" / "examples.parquet", first.examples)
    silver = [e.document_id for e in first.examples if e.silver]
    later = RoundExamples.of_project(project, reading_of(project, [*TRAINING[:11], *HOLDOUT[:4], *silver]))
    assert later.report.tested == SilverTested(2, 2, 2)
    assert not {e.document_id for e in later.examples if e.silver} & set(silver)


def test_without_silver_nothing_is_said_of_it(project: Project) -> None:
    training = replace(project.experiment.training or Training(""), silver=Silver())
    plain = replace(project, experiment=replace(project.experiment, training=training))
    found = RoundExamples.of_project(plain, reading_of(plain, [*TRAINING[:11], *HOLDOUT[:4]]))
    assert found.report.tested is None
    assert found.counts == {"leaks": 1, "silver_examples": 0}
    of_file = RoundExamples.of_verified(reading_of(plain, [*TRAINING[:11], *HOLDOUT[:4]]).examples, SEVERAL)
    assert found == of_file
