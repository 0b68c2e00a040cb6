"""Planted label errors are ranked first, and only by sources that did not learn from the document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import Decision, Proposal, ScoredLabel, VerifiedExample
from ml_backend.snapshot import publish_snapshot
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.versions import source_version
from trainer.evaluation.blocks import Link, Section, Table, Tone
from trainer.evaluation.label_errors import SHOWN, label_error_section, label_errors
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.out_of_sample import beliefs, learned_from
from trainer.evaluation.study import Study, StudyDocument

CODES = ("earn", "acq", "crude", "trade")
ENCODER = SourceConfig("encoder", SourceKind.SIMILARITY, model="/models/encoder")
VERSION = "encoder/similarity@base"
Truth = dict[str, tuple[str, ...]]


def truth_of(kind: Kind, documents: int = 300, seed: int = 0) -> Truth:
    random = np.random.default_rng(seed)
    ids = [f"doc-{number:04d}" for number in range(documents)]
    if kind is Kind.EXCLUSIVE:
        return {name: (CODES[random.integers(4)],) for name in ids}
    return {name: tuple(code for code in CODES if random.random() < 0.4) for name in ids}


def planted(kind: Kind, truth: Truth, number: int = 20, seed: int = 1) -> Truth:
    """Documents with another code than the true one."""
    random = np.random.default_rng(seed)
    changed: Truth = {}
    for name in random.choice(list(truth), number, replace=False):
        code = CODES[random.integers(4)]
        if kind is Kind.EXCLUSIVE:
            changed[str(name)] = (CODES[(CODES.index(truth[name][0]) + 1 + random.integers(3)) % 4],)
        else:
            changed[str(name)] = tuple(sorted(set(truth[name]) ^ {code}, key=CODES.index))
    return changed


def proposals(
    kind: Kind, truth: Truth, source: str = "encoder", version: str = VERSION, skill: float = 0.85
) -> list[Proposal]:
    """A source that is right about ``skill`` of the documents, and more sure of those than of the others."""
    random = np.random.default_rng(2)
    found = []
    for name, labels in truth.items():
        right = random.random() < skill
        held = labels if right else planted(kind, {name: labels}, 1, int(random.integers(1000)))[name]
        if kind is Kind.EXCLUSIVE:
            weights = random.random(4) + np.array([(8 if right else 1.2) * (code in held) for code in CODES])
            probabilities = weights / weights.sum()
        else:
            sure = random.uniform(0.7, 0.95) if right else random.uniform(0.5, 0.7)
            probabilities = np.array([sure if code in held else 1 - sure for code in CODES])
        scored = (ScoredLabel(code, float(p)) for code, p in zip(CODES, probabilities, strict=True))
        found.append(Proposal(name, source, version, tuple(scored)))
    return found


def study(kind: Kind, truth: Truth, coded: Truth, made: list[Proposal], config: SourceConfig = ENCODER) -> Study:
    codebook = Codebook("made", kind, tuple(Code(code, code.capitalize(), f"About {code}.", code) for code in CODES))
    documents = {
        name: StudyDocument(name, f"text {name}", 100 + number, holdout=number % 5 == 0)
        for number, name in enumerate(truth)
    }
    examples = [
        VerifiedExample(name, f"text {name}", {**truth, **coded}[name], ("7",), one.holdout, one.task_id)
        for name, one in documents.items()
    ]
    decisions = [Decision("doc-0000", 100, 1, "7", "keep")]
    return Study(
        "Made", codebook, documents, decisions, made, examples, {one.document_id: one.labels for one in examples},
        "coders", versions={config.name: made[0].version} if made else {}, configs={config.name: config},
        url="http://studio", project_id=3,
    )  # fmt: skip


def listed(section: Section) -> list[str]:
    [table] = section.blocks
    assert isinstance(table, Table)
    return [str(row[1]) for row in table.rows]


@pytest.mark.parametrize("kind", [Kind.EXCLUSIVE, Kind.MULTILABEL])
def test_planted_errors_rank_first(kind: Kind) -> None:
    truth = truth_of(kind)
    wrong = planted(kind, truth)
    section = label_error_section(study(kind, truth, wrong, proposals(kind, truth)), ReportOptions())
    ranked, [table] = listed(section), section.blocks
    assert isinstance(table, Table)
    qualities = [row[6] for row in table.rows]
    assert qualities == sorted(qualities, key=lambda one: float(str(one)))
    chance = len(wrong) / len(truth)
    assert np.mean([name in wrong for name in ranked[:20]]) > 9 * chance
    assert len(set(ranked).intersection(wrong)) >= 0.75 * len(wrong)


@pytest.mark.parametrize("kind", [Kind.EXCLUSIVE, Kind.MULTILABEL])
def test_without_the_errors_the_same_documents_are_not_suspected(kind: Kind) -> None:
    truth = truth_of(kind)
    wrong = planted(kind, truth)
    section = label_error_section(study(kind, truth, {}, proposals(kind, truth)), ReportOptions())
    ranked = listed(section) if section.blocks else []
    assert len(set(ranked).intersection(wrong)) <= 0.25 * len(wrong)


def test_a_row_links_to_the_task_and_says_what_sources_say() -> None:
    truth = truth_of(Kind.EXCLUSIVE)
    wrong: Truth = {"doc-0007": ("crude" if truth["doc-0007"] != ("crude",) else "acq",)}
    made = [
        replace(one, labels=(ScoredLabel(truth["doc-0007"][0], 0.97), ScoredLabel(wrong["doc-0007"][0], 0.01)))
        if one.document_id == "doc-0007" else one
        for one in proposals(Kind.EXCLUSIVE, truth, skill=0.97)
    ]  # fmt: skip
    section = label_error_section(study(Kind.EXCLUSIVE, truth, wrong, made), ReportOptions())
    [table] = section.blocks
    assert isinstance(table, Table)
    first = dict(zip((column.key for column in table.columns), table.rows[0], strict=True))
    assert first["task"] == Link("task 107", "http://studio/projects/3/data?task=107")
    assert (first["document"], first["labels"]) == ("doc-0007", wrong["doc-0007"][0].capitalize())
    assert first["sources_say"] == truth["doc-0007"][0].capitalize()
    assert first["quality"] == pytest.approx(0.01 / 0.98)
    assert len(table.rows) <= SHOWN
    assert "text doc" not in str(section), "no text of a document"


def test_several_codes_say_which_is_missing_and_which_should_go() -> None:
    truth: Truth = {name: ("earn",) if n % 2 else ("acq", "trade") for n, name in enumerate(truth_of(Kind.MULTILABEL))}
    wrong: Truth = {f"doc-{n:04d}": ("earn", "acq") if n % 2 else ("acq",) for n in range(10)}
    given = study(Kind.MULTILABEL, truth, wrong, proposals(Kind.MULTILABEL, truth, skill=1.0))
    [table] = label_error_section(given, ReportOptions()).blocks
    assert isinstance(table, Table)
    said = {row[1]: row[4] for row in table.rows}
    assert set(said).issubset(wrong)
    assert len(said) >= 6
    assert all(what == ("not Acq" if int(str(name)[-1]) % 2 else "also Trade") for name, what in said.items())
    assert len(set(said.values())) == 2


def test_a_source_that_learned_counts_on_the_holdout_alone() -> None:
    truth = truth_of(Kind.EXCLUSIVE)
    adapter = SourceConfig("adapter", SourceKind.ADAPTER, model="/models/base")
    made = proposals(Kind.EXCLUSIVE, truth, "adapter", "base/zero_shot@0123456789abcdef")
    given = study(Kind.EXCLUSIVE, truth, {}, made, adapter)
    held = sorted(name for name, one in given.documents.items() if one.holdout)
    found = beliefs(given, truth, truth, None)
    assert list(found.documents) == held
    assert found.notes == (f"Source adapter learns, and counts on the holdout alone: {len(held)} of {len(truth)}.",)
    section = label_error_section(given, ReportOptions())
    assert section.notes[1:] == found.notes


def test_a_probe_counts_outside_the_snapshot_that_it_learned_from(tmp_path: Path) -> None:
    truth = truth_of(Kind.EXCLUSIVE)
    probe = SourceConfig("probe", SourceKind.PROBE, model="/models/encoder")
    given = study(Kind.EXCLUSIVE, truth, {}, [], probe)
    seen = [one for one in given.examples if not one.holdout][:50]
    version = source_version(probe, None, publish_snapshot(tmp_path, seen).stem)
    given = study(Kind.EXCLUSIVE, truth, {}, proposals(Kind.EXCLUSIVE, truth, "probe", version), probe)
    ids = frozenset(one.document_id for one in seen)
    assert learned_from(given, "probe", version, tmp_path) == ids
    assert set(beliefs(given, truth, truth, tmp_path).documents) == set(truth) - ids
    assert learned_from(given, "probe", "encoder/probe-00000000@base", tmp_path) is None, "a snapshot that is gone"


def test_a_source_no_better_than_the_most_frequent_code_does_not_count() -> None:
    truth = truth_of(Kind.EXCLUSIVE)
    given = study(Kind.EXCLUSIVE, truth, {}, proposals(Kind.EXCLUSIVE, truth, skill=0.1))
    section = label_error_section(given, ReportOptions())
    assert not section.blocks
    assert any("no better than always giving the most frequent answer" in note for note in section.notes)


def test_probabilities_are_the_weighted_mean_of_the_sources() -> None:
    truth = truth_of(Kind.EXCLUSIVE)
    good, fair = (
        proposals(Kind.EXCLUSIVE, truth, name, f"{name}/1", skill) for name, skill in (("a", 0.9), ("b", 0.6))
    )
    given = replace(study(Kind.EXCLUSIVE, truth, {}, good), proposals=[*good, *fair], versions={}, configs={})
    found = beliefs(given, truth, truth, None)
    assert found.weights["a"] > found.weights["b"] > 0
    first = [{one.label: one.probability for one in source[0].labels} for source in (good, fair)]
    mixed = sum(found.weights[name] * first[i]["earn"] for i, name in enumerate("ab")) / sum(found.weights.values())
    assert found.probabilities[0, 0] == pytest.approx(mixed)
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(len(truth)))
    # By hand: the error of always giving the most frequent code, and the source's.
    right = np.mean([max(one.labels, key=lambda s: s.probability).label in truth[one.document_id] for one in good])
    frequent = max(np.mean([code in labels for labels in truth.values()]) for code in CODES)
    assert found.weights["a"] == pytest.approx(1 - (1 - right) / (1 - frequent))


def test_what_cannot_be_looked_for_says_why() -> None:
    truth = truth_of(Kind.EXCLUSIVE)
    nobody = study(Kind.EXCLUSIVE, {}, {}, [])
    no_sources = study(Kind.EXCLUSIVE, truth, {}, [])
    few = study(Kind.EXCLUSIVE, truth, {}, proposals(Kind.EXCLUSIVE, truth)[:5])
    same: Truth = dict.fromkeys(truth, ("earn",))
    alike = study(Kind.EXCLUSIVE, same, {}, proposals(Kind.EXCLUSIVE, same))
    for given, why in [
        (nobody, "no document is verified yet"),
        (no_sources, "no source has proposed anything"),
        (few, "5 documents have both a code and a source to doubt it, 20 are needed"),
        (alike, "all documents have the same code"),
    ]:
        section = label_error_section(given, ReportOptions())
        assert section.findings[0].text == f"Label errors cannot be looked for: {why}."
    lost = replace(few, examples=[replace(one, labels=("gone",)) for one in few.examples])
    assert "no document is verified yet" in label_error_section(lost, ReportOptions()).findings[0].text


def test_where_all_is_well_nothing_is_listed() -> None:
    truth = truth_of(Kind.EXCLUSIVE)
    given = study(Kind.EXCLUSIVE, truth, {}, proposals(Kind.EXCLUSIVE, truth, skill=1.0))
    assert label_errors(beliefs(given, truth, truth, None), truth, given.codebook) == []
    assert label_error_section(given, ReportOptions()).findings[0].tone is Tone.GOOD
