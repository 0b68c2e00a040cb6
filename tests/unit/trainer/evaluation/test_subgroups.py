"""Groups that are served worse: figures by group, gaps with intervals and tests, what is too small."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import Proposal, ScoredLabel
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.blocks import Table, Tone
from trainer.evaluation.figure import Figure
from trainer.evaluation.group_counts import FIGURES, GroupCounts
from trainer.evaluation.metadata_columns import NO_VALUE, groupings
from trainer.evaluation.metrics import measure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.study import Study, StudyDocument
from trainer.evaluation.subgroups import GroupRow, holm, subgroup_section

BOOK = Codebook("b", Kind.EXCLUSIVE, tuple(Code(key, key.upper(), "d", key) for key in "ab"))
OPTIONS = ReportOptions(samples=200)
RIGHT = {"en": 90, "fr": 30, "it": 5}  # of 100, 50 and 10 documents
NUMBERS = {"en": 100, "fr": 50, "it": 10}


def study(**metadata: str) -> Study:
    """Documents in three languages, of which a source gets ``RIGHT`` ones right."""
    documents, truth, proposals = {}, {}, []
    for language, number in NUMBERS.items():
        for at in range(number):
            id_ = f"{language}{at}"
            documents[id_] = StudyDocument(id_, "text", at, {"language": language, **metadata}, holdout=True)
            truth[id_] = ("ab"[at % 2],)
            said = "ab"[at % 2] if at < RIGHT[language] else "ba"[at % 2]
            proposals.append(Proposal(id_, "model", "m/1", (ScoredLabel(said, 0.9),)))
    return Study("p", BOOK, documents, (), proposals, (), truth, "consensus", {"model": "m/1"})


def tables(of: Study, options: ReportOptions = OPTIONS) -> dict[str, dict[str, dict[str, Any]]]:
    """table -> "column = group" -> column's key -> cell."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for block in subgroup_section(of, options).blocks:
        assert isinstance(block, Table)
        keys = [column.key for column in block.columns]
        found[block.key] = {str(row[0]): dict(zip(keys, row, strict=True)) for row in block.rows}
    return found


def test_the_largest_gap_comes_first_with_interval_and_test() -> None:
    gaps = tables(study())["subgroup_gaps"]
    assert list(gaps) == ["language = en", "language = fr", "language = it"]
    gap = gaps["language = fr"]["accuracy_gap"]
    assert isinstance(gap, Figure)
    assert gap.value == pytest.approx(30 / 50 - 95 / 110)
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low < 30 / 50 - 95 / 110 < gap.high < 0
    # Of two gaps that are tested the smaller p counts twice.
    p = min(fisher_exact([[30, 20], [95, 15]]).pvalue, fisher_exact([[90, 10], [35, 25]]).pvalue)
    assert min(gaps[name]["p_holm"] for name in list(gaps)[:2]) == pytest.approx(2 * p)


def test_small_groups_are_named_and_shown_without_a_gap() -> None:
    found = tables(study())
    gap, figures = found["subgroup_gaps"]["language = it"], found["subgroup_figures"]["language = it"]
    assert gap["accuracy_gap"] == Figure(None, 10, why="too small: 10 documents, 20 are needed")
    assert gap["p_holm"] is None
    assert isinstance(figures["accuracy"], Figure)
    assert (figures["accuracy"].value, figures["accuracy"].n, figures["documents"]) == (0.5, 10, 10)
    told = {finding.tone: finding.text for finding in subgroup_section(study(), OPTIONS).findings}
    assert "fewer than 20 documents: language = it (10)" in told[Tone.WARNING]
    assert told[Tone.BAD].startswith("model is right on 60.0 % of 50 documents with language = fr, 26.4 points less")


@pytest.mark.parametrize("kind", Kind)
def test_figures_of_groups_are_those_of_the_metrics(kind: Kind) -> None:
    made = studies.study(kind)
    keys = made.codebook.label_keys
    rng = np.random.default_rng(1)
    truth = list(made.truth.values())[:120]
    predicted = [truth[at] for at in rng.integers(len(truth), size=len(truth))]
    groups = rng.integers(2, size=len(truth)).tolist()
    counted = GroupCounts(groups, truth, predicted, keys, kind)
    for group in (0, 1):
        own = counted.figures(counted.patterns.counts[None], counted.of_group(group))
        chosen = [at for at, one in enumerate(groups) if one == group]
        expected = measure([truth[at] for at in chosen], [predicted[at] for at in chosen], keys, kind=kind)
        for name in ("accuracy", "macro_f1", "balanced_accuracy"):
            assert own[name][0] == pytest.approx(getattr(expected, name), abs=1e-12), name
        for name in ("sensitivity", "specificity"):
            of_codes = [value for code in expected.codes if (value := getattr(code, name)) is not None]
            assert own[name][0] == pytest.approx(np.mean(of_codes), abs=1e-12), name


def test_the_tables_agree_with_each_other() -> None:
    made = studies.exclusive()
    found = tables(made, replace(OPTIONS, by=("language",)))
    for name, row in found["subgroup_gaps"].items():
        assert {f"{figure}_gap" for figure in FIGURES} <= row.keys()
        assert name in found["subgroup_figures"]
    assert {"language = en", "language = de", "language = fr"} == set(found["subgroup_figures"])


def test_columns_are_chosen_and_dates_are_cut_to_years() -> None:
    documents = {
        f"d{at}": StudyDocument(
            f"d{at}", "t", at,
            {"id2": str(at), "day": f"{2019 + at % 3}-05-{1 + at % 28:02}", "one": "same", "half": "x" * (at % 2)},
        )
        for at in range(90)
    }  # fmt: skip
    made = replace(study(), documents=documents)
    found, notes = groupings(made, documents, ())
    assert {one.title: one.values for one in found} == {
        "day (year)": ["2019", "2020", "2021"], "half": ["x", NO_VALUE],
    }  # fmt: skip
    assert "id2 (90), one (1)" in " ".join(notes)
    found, notes = groupings(made, documents, ("id2", "lang"))
    assert [one.title for one in found] == ["id2"]
    assert notes == ["no document has a column 'lang'; there are day, half, id2, one"]


def test_what_cannot_be_compared_says_why() -> None:
    def said(of: Study) -> str:
        section = subgroup_section(of, OPTIONS)
        assert not section.blocks
        (finding,) = section.findings
        return finding.text

    assert said(studies.empty()) == "Groups cannot be compared: no document has a truth."
    assert "no source in force has proposed" in said(replace(study(), proposals=()))
    plain = {id_: replace(one, metadata={}) for id_, one in study().documents.items()}
    assert "no column parts the documents into groups" in said(replace(study(), documents=plain))


def test_an_unknown_label_is_wrong_and_no_error() -> None:
    made = study()
    strange = [replace(one, labels=(ScoredLabel("zz", 1.0),)) for one in made.proposals]
    figures = tables(replace(made, proposals=strange))["subgroup_figures"]["language = en"]
    assert isinstance(figures["accuracy"], Figure)
    assert figures["accuracy"].value == 0


def test_holm_is_over_all_tests() -> None:
    rows = [GroupRow("m", "c", str(p), 30, 30, {}, {"accuracy": Figure(0.1, 30)}, p) for p in (0.01, 0.04, 0.03)]
    assert [row.p_holm for row in holm(rows)] == pytest.approx([0.03, 0.06, 0.06])
    assert holm([replace(rows[0], p=None)])[0].p_holm is None
