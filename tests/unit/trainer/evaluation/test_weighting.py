"""Estimates for the corpus where sources' doubt chose what was coded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from label_configs.codebook import Kind
from label_configs.records import Proposal, ScoredLabel
from ml_backend.source_config import SourceConfig, SourceKind
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.blocks import Table
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.performance import performance_sections
from trainer.evaluation.study import Study, StudyDocument
from trainer.evaluation.weighting import ALL, HOLDOUT, INVERSE, RANDOM, corpus_section, inverse_probabilities

QUICK = ReportOptions(samples=200)
BOOK = studies.codebook(Kind.EXCLUSIVE)
KEYS = BOOK.label_keys


def corpus(documents: int = 6000, seed: int = 0) -> tuple[Study, float]:
    """A corpus of which the random tenth and the documents that the source doubts most are coded, and the source's
    accuracy on all of it. The surer the source, the more often it is right."""
    random = np.random.default_rng(seed)
    sure = random.uniform(0.25, 1.0, size=documents)
    right = random.random(documents) < sure
    drawn = random.random(documents) < 0.1
    coded = (drawn & (random.random(documents) < 0.7)) | (~drawn & (sure < 0.55))
    names = [f"d{number}" for number in range(documents)]
    proposals = [
        Proposal(name, "s", "v", tuple(ScoredLabel(key, p) for key, p in zip(KEYS, _spread(one), strict=True)))
        for name, one in zip(names, sure.tolist(), strict=True)
    ]
    truth = {name: (KEYS[0] if ok else KEYS[1],) for name, ok, has in zip(names, right, coded, strict=True) if has}
    known = {name: StudyDocument(name, name, random=bool(own)) for name, own in zip(names, drawn, strict=True)}
    study = Study("c", BOOK, known, (), proposals, (), truth, "gold", versions={"s": "v"},
                  configs={"s": SourceConfig("s", SourceKind.CAUSAL)})  # fmt: skip
    return study, float(right.mean())


def _spread(first: float) -> list[float]:
    return [first, *[(1 - first) / (len(KEYS) - 1)] * (len(KEYS) - 1)]


def rows_of(study: Study) -> dict[str, dict[str, object]]:
    section = corpus_section(study, QUICK)
    assert section is not None
    (table,) = section.blocks
    assert isinstance(table, Table)
    columns = [column.key for column in table.columns]
    return {str(row[1]): dict(zip(columns, row, strict=True)) for row in table.rows}


def accuracy(row: dict[str, object]) -> Figure:
    found = row["accuracy"]
    assert isinstance(found, Figure)
    return found


def test_both_ways_come_to_the_corpus_and_the_unweighted_figure_does_not() -> None:
    study, true = corpus()
    rows = rows_of(study)
    unweighted = accuracy(rows[ALL])
    assert unweighted.high is not None
    assert unweighted.high < true - 0.1
    for basis in (RANDOM, INVERSE):
        figure = accuracy(rows[basis])
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < true < figure.high, basis
    assert accuracy(rows[RANDOM]).n < accuracy(rows[INVERSE]).n == len(study.truth)


def test_the_headline_is_of_the_random_share() -> None:
    study, true = corpus()
    overall = performance_sections(study, QUICK)[0]
    assert "coded in random order" in overall.notes[0]
    table = overall.blocks[0]
    assert isinstance(table, Table)
    (row,) = table.rows
    figure = row[3]
    assert isinstance(figure, Figure)
    assert figure.value == pytest.approx(true, abs=0.06)


def test_weights_by_hand() -> None:
    # Twenty documents in order of doubt make ten strata of two; coded are one of the first stratum, both of the
    # second, and one of the last: the strata between are joined to the second.
    names = [f"d{number:02}" for number in range(20)]
    shares = dict(zip(names, np.linspace(0.99, 0.3, 20).tolist(), strict=True))
    proposals = [
        Proposal(name, "s", "v", tuple(ScoredLabel(key, p) for key, p in zip(KEYS, _spread(one), strict=True)))
        for name, one in shares.items()
    ]
    study = Study("h", BOOK, {name: StudyDocument(name, name) for name in names}, (), proposals, (), {}, "gold",
                  versions={"s": "v"})  # fmt: skip
    found = inverse_probabilities(study, ["d00", "d02", "d03", "d19", "unknown"])
    scale = 4 / 20
    assert found == pytest.approx({"d00": 2 * scale, "d02": 8 * scale, "d03": 8 * scale, "d19": 2 * scale})
    assert sum(found.values()) == pytest.approx(4)


def test_what_learned_from_coded_documents_has_no_weighted_figure() -> None:
    study, _ = corpus(600)
    probe = replace(study, configs={"s": SourceConfig("s", SourceKind.PROBE)})
    rows = rows_of(probe)
    assert set(rows) == {HOLDOUT, INVERSE}
    figure = accuracy(rows[INVERSE])
    assert (figure.value, figure.n) == (None, 0)
    assert "trained or fitted" in figure.why
    assert (accuracy(rows[HOLDOUT]).value, accuracy(rows[HOLDOUT]).n) == (None, 0)
    drawn = [name for name in study.truth if study.documents[name].random]
    held = {**study.documents} | {name: replace(study.documents[name], holdout=True) for name in drawn[:20]}
    assert accuracy(rows_of(replace(probe, documents=held))[HOLDOUT]).n == 20
    assert any("No holdout: s learned" in note for note in performance_sections(probe, QUICK)[0].notes)


def test_without_proposals_for_the_corpus_the_weights_are_unknown_and_said_so() -> None:
    study, _ = corpus(600)
    bare = replace(study, versions={"other": "v"}, configs={})
    figure = accuracy(rows_of(bare)[INVERSE])
    assert figure.value is None
    assert "nobody knows" in figure.why


def test_where_all_came_in_random_order_no_weighting_is_needed() -> None:
    study, _ = corpus(600)
    drawn = {name: replace(one, random=True) for name, one in study.documents.items()}
    assert corpus_section(replace(study, documents=drawn), QUICK) is None
    none = {name: replace(one, random=False) for name, one in study.documents.items()}
    section = corpus_section(replace(study, documents=none), QUICK)
    assert section is not None
    assert "set review.random_share" in section.findings[0].text


@pytest.mark.parametrize("kind", [Kind.MULTILABEL, Kind.GRADED])
def test_several_codes_have_weights_too(kind: Kind) -> None:
    study = studies.study(kind)
    weights = inverse_probabilities(study, study.truth.keys())
    assert np.mean(list(weights.values())) == pytest.approx(1)
    assert corpus_section(study, QUICK) is not None
