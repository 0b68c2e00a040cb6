"""`winnow candidates` on a file, with sources that need no model, and on what was read of a project."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.codebook import load_codebook
from label_configs.drawing import is_holdout
from label_configs.records import Document, VerifiedExample
from ml_backend.experiment import CandidateRule, Experiment, Project
from ml_backend.mixing import Evidence, MixingWeights
from ml_backend.registered_projects import register
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.fake import FakeSource
from ml_backend.training_config import Training
from ml_backend.weights_file import taking_over
from trainer.candidate_sample import sample_of_project
from trainer.cli import main
from trainer.verified import Reading

BOOK = load_codebook("reuters8")
YAML = """codebook: reuters8
sources:
  - {name: words, kind: fake}
  - {name: again, kind: fake}
candidates: {top_k: 1}
"""
ROWS = [
    ("n1", "Wheat and grain.", "grain"),
    ("n2", "Oil, oil and shipping.", "ship"),
    ("n3", "Quarterly earnings.", "earn"),
]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "winnow.yaml").write_text(YAML)
    lines = ["id,text,topic", *(f'{number},"{text}",{code}' for number, text, code in ROWS)]
    (tmp_path / "coded.csv").write_text("\n".join(lines) + "\n")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["candidates", *arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


FILES = ("--config", "winnow.yaml", "--examples", "coded.csv", "--code-column", "topic")


def test_a_file_is_proposed_for_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *FILES, "--json")
    assert code == 0
    told = json.loads(out)
    (point,) = told["points"]
    assert (told["title"], told["sources"]) == ("coded.csv", ["words", "again"])
    assert (point["n"], point["held"], point["mean"], point["present"]) == (3, 2, 1.0, True)
    (kept,) = (tmp_path / "home" / "candidates").glob("*.jsonl")
    before = kept.read_bytes()
    assert b"Wheat" not in before
    code, out, _ = run(capsys, *FILES, "--curve")
    assert code == 0
    assert "coded.csv, 3 documents" in out
    assert "The plot is in candidates.png." in out
    assert (tmp_path / "candidates.png").read_bytes().startswith(b"\x89PNG")
    assert kept.read_bytes() == before, "nothing was proposed again"
    with (tmp_path / "coded.csv").open("a") as file:
        file.write('n4,"A tariff on trade.",trade\n')
    code, out, _ = run(capsys, *FILES, "--json")
    assert json.loads(out)["points"][0]["n"] == 4
    assert kept.read_bytes().startswith(before)
    assert kept.read_bytes().count(b"\n") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --project, or --config with --examples"),
        (["--project", "3", "--config", "winnow.yaml"], "give --project, or --config with --examples"),
        (["--config", "winnow.yaml"], "--config and --examples go together"),
        (["--project", "3", "--examples", "coded.csv"], "--config and --examples go together"),
        (["--project", "3", "--text-column", "body"], "--text-column goes with --examples only"),
        ([*FILES, "--out", "a.png"], "--out goes with --curve only"),
        ([*FILES, "--curve", "--out", "a.docx"], "--out a.docx: no kind of picture"),
        ([*FILES[:4], "--code-column", "code"], "code"),
    ],
)
def test_what_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("winnow: ")
    assert message in line


SHARE = 0.4


@pytest.fixture
def project(tmp_path: Path) -> Project:
    sources = (SourceConfig("words", SourceKind.FAKE), SourceConfig("again", SourceKind.FAKE))
    rule, training = CandidateRule(top_k=1), Training("no-model", holdout_share=SHARE)
    return register(tmp_path / "home", 3, Experiment("reuters8", sources, candidates=rule, training=training), BOOK)


def reading() -> Reading:
    documents = [Document(number, text) for number, text, _ in ROWS]
    examples = [VerifiedExample(n, text, (code,), ("ann",), is_holdout(n, SHARE)) for n, text, code in ROWS]
    versions = ("words", "older"), ("words", "words/fake@base"), ("again", "older")
    made = [p for name, version in versions for p in FakeSource(name, version, BOOK).propose(documents)]
    return Reading(documents, (), made, examples)


def test_of_a_project_the_latest_proposals_of_every_source_count(project: Project) -> None:
    sample = sample_of_project(project, reading())
    assert [[p.version for p in one.proposals] for one in sample.documents] == [["words/fake@base", "older"]] * 3
    held = sum(is_holdout(number, SHARE) for number, _, _ in ROWS)
    assert sample.notes[0].startswith(f"{held} of 3 documents were coded without candidates")
    assert len(sample.notes) == 1
    lacking = [p for p in reading().proposals if (p.document_id, p.source) != ("n2", "again")]
    sample = sample_of_project(project, replace(reading(), proposals=lacking))
    assert [one.document_id for one in sample.documents] == ["n1", "n3"]
    assert sample.notes[1] == "1 verified documents lack proposals of a source and are left out."


def test_a_project_has_its_weights_and_says_what_they_were_learned_from(project: Project) -> None:
    weights = MixingWeights({("words", "words/fake@base", "ship"): Evidence(3, 9)}, ("n1", "n2", "gone"))
    with taking_over(project.folder, weights):
        pass
    sample = sample_of_project(project, reading())
    assert sample.weights == weights
    assert sample.notes[-1] == "The weights of the sources were learned from 2 of these documents."
