"""Codes by disagreement, sources by what was kept of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import krippendorff
import numpy as np
import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import Candidate, CandidateSet, Decision, Proposal, Proposer, ScoredLabel
from trainer.dashboard.disagreements import alpha_of, codings_of, disagreement_section
from trainer.dashboard.source_table import kept_rates, source_section
from trainer.evaluation.blocks import Link, Table
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.study import Study, StudyDocument

OPTIONS = ReportOptions(samples=200)
START = datetime(2026, 1, 1, tzinfo=UTC)
BOOK = Codebook(
    "b", Kind.MULTILABEL, (Code("a", "Ships", "x", "s"), Code("b", "Grain", "y", "g"), Code("c", "Ore", "z", "o"))
)
GRADED = Codebook("g", Kind.GRADED, (Code("a", "Hope", "x", "s"), Code("b", "Fear", "y", "f")), levels=("low", "high"))


def said(document: str, coder: str, *labels: str, after: int = 0, **more: object) -> Decision:
    at = START + timedelta(minutes=after)
    return Decision(document, int(document[1:]), 1, coder, "choose", labels, updated_at=at, **more)  # type: ignore[arg-type]


def study(*decisions: Decision, codebook: Codebook = BOOK, **more: object) -> Study:
    ids = {one.document_id: one.task_id for one in decisions}
    documents = {one: StudyDocument(one, "text", task) for one, task in ids.items()}
    parts: dict[str, object] = {"url": "http://ls", "project_id": 7, "versions": {"s": "s/1@base"}} | more
    return Study("t", codebook, documents, decisions, parts.pop("proposals", ()), (), {}, "", **parts)  # type: ignore[arg-type]


def rows(section: object) -> tuple[tuple[object, ...], ...]:
    (table,) = section.blocks  # type: ignore[attr-defined]
    assert isinstance(table, Table)
    return table.rows


@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_krippendorffs(seed: int) -> None:
    random = np.random.default_rng(seed)
    table = [random.integers(0, 3, random.integers(2, 5)).tolist() for _ in range(60)]
    units = np.full((4, len(table)), np.nan)
    for column, row in enumerate(table):
        units[: len(row), column] = row
    found = alpha_of(table, OPTIONS)
    assert found.value == pytest.approx(krippendorff.alpha(units, level_of_measurement="nominal"), abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_the_code_of_most_disagreement_comes_first_with_its_tasks() -> None:
    made = [
        one
        for n in range(8)
        for one in (said(f"d{n}", "1", "a", *(["b"] if n % 2 else [])), said(f"d{n}", "2", *(["a"] if n else [])))
    ]
    found = disagreement_section(study(*made), OPTIONS)
    assert [row[0] for row in rows(found)] == ["Grain", "Ships", "Ore"]
    grain, ships, ore = rows(found)
    assert grain[2:] == (4, *(Link(f"d{n}", f"http://ls/projects/7/data?task={n}") for n in (1, 3, 5)))
    assert ships[2:] == (1, Link("d0", "http://ls/projects/7/data?task=0"), None, None)
    assert isinstance(ore[1], Figure)
    assert (ore[1].value, ore[1].why) == (None, "all coders say the same of every document")
    assert "Grain" in found.findings[0].text


def test_a_coders_last_word_counts_and_only_what_can_be_used() -> None:
    codings = codings_of(
        study(
            said("d1", "1", "a"), said("d1", "1", "b", after=2), said("d1", "2", "b", after=1),
            said("d2", "1", "a"), said("d2", "2", skipped=True), said("d3", "1", "a"), said("d3", "2", "a", repeat=1),
            said("d4", "1", "a"), said("d4", "9", "b", ground_truth=True),
        )
    )  # fmt: skip
    assert codings == {"d1": [{"b": 1}, {"b": 1}]}


def test_levels_are_values() -> None:
    made = [said("d1", "1", "a:low"), said("d1", "2", "a:high"), said("d2", "1", "a:low"), said("d2", "2", "a:low")]
    assert codings_of(study(*made, codebook=GRADED))["d1"] == [{"a": 1}, {"a": 2}]
    assert rows(disagreement_section(study(*made, codebook=GRADED), OPTIONS))[0][2] == 1


def test_without_two_coders_it_says_so() -> None:
    found = disagreement_section(study(said("d1", "1", "a")), OPTIONS)
    assert {row[1].why for row in rows(found) if isinstance(row[1], Figure)} == {"no document has two coders"}
    assert rows(disagreement_section(study(), OPTIONS))


def shown(document: str, kept: tuple[str, ...], **sources: tuple[str, ...]) -> Decision:
    by: dict[str, list[Proposer]] = {}
    for source, labels in sources.items():
        for rank, label in enumerate(labels, 1):
            by.setdefault(label, []).append(Proposer(source, f"{source}/1@base", 0.5, rank))
    candidates = tuple(Candidate(label, 0.5, tuple(proposers)) for label, proposers in by.items())
    rejected = tuple(label for label in by if label not in kept)
    return replace(said(document, "1", *kept), rejected=rejected, shown=CandidateSet(document, "v", candidates))


def test_the_kept_rate_of_a_source_is_over_its_own_candidates() -> None:
    made = [shown(f"d{n}", ("a",), s=("a", "b"), t=("b",)) for n in range(10)]
    made += [replace(made[0], repeat=1), replace(made[1], skipped=True)]
    rates = kept_rates(study(*made), OPTIONS)
    assert (rates["s"].value, rates["t"].value) == (0.5, 0.0)
    assert (rates["s"].n, rates["s"].low, rates["s"].high) == (10, 0.5, 0.5)


def test_a_source_that_nobody_judged_has_no_rate_and_a_cost() -> None:
    proposal = Proposal("d1", "s", "s/1@base", (ScoredLabel("a", 0.9),), tokens=50, seconds=0.25)
    whole = study(said("d1", "1", "a"), proposals=[proposal, replace(proposal, version="old")])
    ((name, rate, candidates, tokens, seconds, price),) = rows(source_section(whole, kept_rates(whole, OPTIONS)))
    assert isinstance(rate, Figure)
    assert (name, rate.value, rate.why) == ("s", None, "coders judged none of its candidates")
    assert (candidates, tokens, seconds, price) == (0, 50_000, 250.0, None)
