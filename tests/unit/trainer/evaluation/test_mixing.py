from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from label_configs.codebook import Code, Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.records import Candidate, CandidateSet, Decision, Proposal, Proposer, ScoredLabel, VerifiedExample
from ml_backend.candidates import candidate_set
from ml_backend.experiment import CandidateRule, Experiment, Project
from ml_backend.mixing import MixingWeights
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from ml_backend.weights_file import taking_over
from trainer.evaluation.mixing import mixing_report
from trainer.evaluation.report import evaluate
from trainer.evaluation.tables import tables
from trainer.source_weights import learn_weights
from trainer.verified import Reading

LABELS = ("earn", "acq", "crude", "ship")
BOOK = Codebook("four", Kind.EXCLUSIVE, tuple(Code(key, key, f"About {key}.", key) for key in LABELS))
RULE = CandidateRule(top_k=1)
SHARE = 0.2
IDS = [f"d{n}" for n in range(150)]


def proposal(document_id: str, source: str, first: str, probability: float) -> Proposal:
    rest = round((1 - probability) / 3, 6)
    labels = [ScoredLabel(first, probability), *(ScoredLabel(key, rest) for key in LABELS if key != first)]
    return Proposal(document_id, source, f"{source}@1", tuple(labels))


def truth(n: int) -> str:
    return ("earn", "acq")[n % 2]


def proposals(n: int) -> list[Proposal]:
    """``sure`` is always wrong, ``right`` always right; without weights the former comes first."""
    return [proposal(f"d{n}", "sure", "crude", 0.7), proposal(f"d{n}", "right", truth(n), 0.6)]


def reading(numbers: Sequence[int]) -> Reading:
    decisions, examples = [], []
    for n in numbers:
        shown = candidate_set(f"d{n}", proposals(n), RULE, "v", BOOK)
        decisions.append(Decision(f"d{n}", n, n, "ann", "reject", (truth(n),), ("crude",), shown=shown))
        examples.append(VerifiedExample(f"d{n}", f"text {n}", (truth(n),), ("ann",), is_holdout(f"d{n}", SHARE)))
    return Reading((), decisions, [p for n in numbers for p in proposals(n)], examples)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    sources = (SourceConfig("sure", SourceKind.FAKE), SourceConfig("right", SourceKind.FAKE))
    experiment = Experiment("four", sources, candidates=RULE, training=Training("m", holdout_share=SHARE))
    return Project(7, experiment, BOOK, tmp_path / "7")


def take_over(project: Project, weights: MixingWeights) -> None:
    with taking_over(project.folder, weights):
        pass


def test_equal_weights_need_no_report(project: Project) -> None:
    assert mixing_report(project, reading(range(10))) is None


def test_what_the_weights_changed_and_whether_for_the_better(project: Project) -> None:
    read = reading(range(150))
    learned = learn_weights(project, read)
    take_over(project, learned)
    report = mixing_report(project, read)
    assert report is not None
    trained = [one for one in IDS if not is_holdout(one, SHARE)]
    assert report.documents == report.effect.n == len(trained), "the holdout is no part of it"
    assert [(row.source, row.kept) for row in report.sources] == [
        ("right", pytest.approx(0.6 * len(trained))), ("sure", 0),
    ]  # fmt: skip
    right, sure = (row.weight for row in report.sources)
    assert right > 0.9
    assert sure < 0.1
    effect = report.effect
    assert (effect.first, effect.order, effect.set) == (effect.n, effect.n, 0)
    assert (effect.right_equal, effect.right_weighted, effect.gained, effect.lost) == (0, effect.n, effect.n, 0)


def test_documents_whose_proposals_are_gone_or_of_another_version_are_left_out(project: Project) -> None:
    read = reading(range(150))
    take_over(project, learn_weights(project, read))
    newer = [replace(one, version="later") for one in read.proposals]
    report = mixing_report(project, replace(read, proposals=newer))
    assert report is not None
    assert report.effect.n == 0
    assert report.as_json()["effect"]["shares"]["first"] is None
    both = mixing_report(project, replace(read, proposals=[*read.proposals, *newer]))
    assert both == mixing_report(project, read)


def test_weights_that_hold_for_no_other_document_gain_nothing_cross_fitted(project: Project) -> None:
    """Each code occurs once: what is learned of it says nothing of the others."""
    keys = [f"c{n}" for n in range(60)]
    book = Codebook("many", Kind.EXCLUSIVE, tuple(Code(key, key, f"About {key}.", key) for key in keys))
    decisions, examples, made = [], [], []
    for n in range(0, 60, 2):
        one, other = keys[n], keys[n + 1]
        shown = tuple(
            Candidate(label, p / 2, (Proposer(source, "1", p, 1),))
            for label, p, source in ((one, 0.6, "sure"), (other, 0.5, "right"))
        )
        kept = one if n % 4 else other
        decisions.append(Decision(f"d{n}", n, n, "ann", "reject", (kept,), shown=CandidateSet(f"d{n}", "v", shown)))
        examples.append(VerifiedExample(f"d{n}", f"text {n}", (kept,), (), False))
        made += [
            Proposal(f"d{n}", "sure", "1", (ScoredLabel(one, 0.6), ScoredLabel(other, 0.0))),
            Proposal(f"d{n}", "right", "1", (ScoredLabel(other, 0.5), ScoredLabel(one, 0.0))),
        ]
    many = replace(project, codebook=book)
    read = Reading((), decisions, made, examples)
    take_over(many, learn_weights(many, read))
    report = mixing_report(many, read)
    assert report is not None
    effect = report.effect
    assert effect.n >= 20
    assert abs(effect.right_weighted - effect.n / 2) < effect.n / 4, "fitted to itself it would be all of them"


def test_the_evaluation_tells_the_weights_as_table_and_json(project: Project) -> None:
    read = reading(range(150))
    take_over(project, learn_weights(project, read))
    result = evaluate(read.examples, read.proposals, read.decisions, codebook=BOOK, mixing=mixing_report(project, read))
    data = json.loads(json.dumps(result.as_json()))
    assert data["mixing"]["sources"][0]["codes"][0].keys() == {"code", "weight", "kept", "shown"}
    assert data["mixing"]["effect"]["shares"]["right_weighted"] == 1
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(tables(result))
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    report = mixing_report(project, read)
    assert report is not None
    (first, *_) = report.sources
    console.print(tables(replace(result, mixing=replace(report, sources=(first, replace(first, version="v2"))))))
    assert first.version not in text
    assert f"{first.source} v2" in console.file.getvalue()  # type: ignore[attr-defined]
    n = data["mixing"]["documents"]
    assert f"Weights of the sources, learned from decisions on {n} documents" in text
    assert "another candidate comes first in 100.0 %, the order differs in 100.0 %, the set in 0.0 %" in text
    assert f"0.0 % by equal weights, in 100.0 % by learned ones (cross-fitted: {n} gained, 0 lost)" in text
    plain = evaluate(read.examples, read.proposals, read.decisions, codebook=BOOK)
    assert plain.as_json()["mixing"] is None
