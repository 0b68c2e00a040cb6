"""Documents that are judged on and were trained on as well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import Proposal, ScoredLabel, VerifiedExample
from ml_backend import promotions
from ml_backend.adapter_files import FILES
from ml_backend.adapters import store_of
from ml_backend.snapshot import write_examples
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.blocks import Link, Table, Tone
from trainer.evaluation.contamination import contamination_section
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.study import Study, StudyDocument
from trainer.fit_plan import EXAMPLES_FILE

BOOK = Codebook("b", Kind.EXCLUSIVE, tuple(Code(key, key.upper(), "d", key) for key in "ab"))
LONG = " ".join(f"word{at}" for at in range(60))
OPTIONS = ReportOptions(samples=100)


def example(id_: str, text: str, *, holdout: bool = False) -> VerifiedExample:
    return VerifiedExample(id_, text, ("a",), ("c",), holdout)


def study(*examples: VerifiedExample) -> Study:
    """Four documents that are judged on; the source is right on h0 and h1."""
    texts = {"h0": LONG, "h1": "Another text altogether, of ships", "h2": "A third one on corn", "h3": "The fourth"}
    documents = {id_: StudyDocument(id_, text, at, holdout=True) for at, (id_, text) in enumerate(texts.items())}
    proposals = [Proposal(id_, "m", "m/1", (ScoredLabel("ab"[at > 1], 1.0),)) for at, id_ in enumerate(texts)]
    truth = dict.fromkeys(texts, ("a",))
    return Study("p", BOOK, documents, (), proposals, examples, truth, "consensus", {"m": "m/1"}, url="http://ls",
                 project_id=3)  # fmt: skip


def promoted(home: Path, *examples: VerifiedExample) -> Path:
    """A project's folder with an adapter that was trained on ``examples``."""
    folder, made = home / "projects" / "3", home / "made"
    made.mkdir(parents=True)
    for name in FILES:
        (made / name).write_text(name)
    write_examples(made / EXAMPLES_FILE, examples)
    adapter = store_of(home).publish(made, {}, {EXAMPLES_FILE: made / EXAMPLES_FILE})
    folder.mkdir(parents=True)
    promotions.promote(folder, adapter)
    return folder


def test_copies_are_listed_with_likeness_and_links_and_without_text() -> None:
    near = LONG.replace("word30", "other")
    found = contamination_section(
        study(example("t0", near), example("t1", "ANOTHER text  altogether, of ships"), example("t2", "new")), OPTIONS
    )
    listed, accuracy = found.blocks
    assert isinstance(listed, Table)
    assert isinstance(accuracy, Table)
    assert [[cell.text if isinstance(cell, Link) else cell for cell in row[:4]] for row in listed.rows] == [
        ["h1", "t1", "verified now", "exact copy"], ["h0", "t0", "verified now", "near copy"],
    ]  # fmt: skip
    similarity = listed.rows[1][4]
    assert isinstance(similarity, float)
    assert 0.8 <= similarity < 1
    assert listed.rows[0][0] == Link("h1", "http://ls/projects/3/data?task=1")
    assert "word1" not in str(found)
    (row,) = accuracy.rows
    assert [cell.value for cell in row[1:] if isinstance(cell, Figure)] == [0.5, 0.0, 1.0]
    assert [one.tone for one in found.findings] == [Tone.WARNING], "rounds leave these out"


def test_what_a_promoted_adapter_was_trained_on_makes_its_figures_too_good(tmp_path: Path) -> None:
    folder = promoted(tmp_path, example("h2", "A third one on corn"), example("h3", "The fourth", holdout=True))
    found = contamination_section(study(), replace(OPTIONS, folder=folder))
    (finding,) = found.findings
    assert finding.tone is Tone.BAD
    assert finding.text.startswith("1 of 4 documents judged on are among those of adapter ")
    listed = found.blocks[0]
    assert isinstance(listed, Table)
    assert [row[3] for row in listed.rows] == ["same document"]


def test_nothing_in_common_is_good_and_nothing_known_is_said(tmp_path: Path) -> None:
    (finding,) = contamination_section(study(example("t", "new")), OPTIONS).findings
    assert (finding.tone, finding.text) == (Tone.GOOD, "None of 4 documents judged on was trained on.")
    (finding,) = contamination_section(study(), replace(OPTIONS, folder=tmp_path)).findings
    assert finding.text.startswith("Nothing is known of what was trained on")
    (finding,) = contamination_section(studies.empty(), OPTIONS).findings
    assert finding.text.startswith("No document with a truth")


def test_an_adapter_whose_examples_are_gone_is_named(tmp_path: Path) -> None:
    folder = promoted(tmp_path, example("t", "new"))
    (identifier,) = promotions.history(folder)
    (store_of(tmp_path).described(identifier).folder / EXAMPLES_FILE).write_bytes(b"damaged")
    notes = " ".join(contamination_section(study(), replace(OPTIONS, folder=folder)).notes)
    assert f"adapter {identifier} is not compared: " in notes
