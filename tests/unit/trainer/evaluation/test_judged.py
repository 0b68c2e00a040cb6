"""Who is judged, on what, and by what; and the sections that come of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from label_configs.codebook import Kind
from label_configs.records import Decision, Proposal, ScoredLabel
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.blocks import Heatmap, Section, Table
from trainer.evaluation.calibration_plot import calibration_section
from trainer.evaluation.comparing import comparison_section
from trainer.evaluation.figure import Figure
from trainer.evaluation.judged import Role, basis_of, judged_coders, judged_sources, measure
from trainer.evaluation.measured import NOTHING
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.performance import performance_sections
from trainer.evaluation.plain import sections_json
from trainer.evaluation.report import evaluate
from trainer.evaluation.study import Study, StudyDocument

QUICK = ReportOptions(samples=20)
BOOK = studies.codebook(Kind.EXCLUSIVE)


def all_sections(study: Study) -> dict[str, Section]:
    found = [*performance_sections(study, QUICK), comparison_section(study, QUICK), calibration_section(study, QUICK)]
    json.dumps(sections_json(found), allow_nan=False)
    return {one.key: one for one in found}


def table(section: Section, key: str) -> list[dict[str, object]]:
    (found,) = (one for one in section.blocks if isinstance(one, Table) and one.key == key)
    return [dict(zip([column.key for column in found.columns], row, strict=True)) for row in found.rows]


def small(truth: dict[str, tuple[str, ...]], decisions: list[Decision] | None = None, **fields: object) -> Study:
    documents = {name: StudyDocument(name, f"text {name}") for name in [*truth, "other"]}
    values = {"proposals": (), "truth_from": "what the coders agree on (majority)"} | fields
    return Study("small", BOOK, documents, decisions or [], examples=(), truth=truth, **values)  # type: ignore[arg-type]


def decided(document: str, coder: str, label: str, number: int = 1, **fields: object) -> Decision:
    return Decision(document, 1, number, coder, "choose", missed=(label,), **fields)  # type: ignore[arg-type]


def proposed(document: str, *labels: str, source: str = "s", version: str = "v") -> Proposal:
    return Proposal(document, source, version, tuple(ScoredLabel(label, 0.6) for label in labels))


def test_sources_are_judged_on_the_holdout_as_the_table_of_sources_has_it() -> None:
    study = studies.exclusive()
    basis = basis_of(study)
    assert basis.words.startswith("holdout")
    assert {study.documents[name].holdout for name in basis.documents} == {True}
    rows = evaluate(
        study.examples, study.proposals, study.decisions, codebook=study.codebook, versions=study.versions
    ).sources
    judged = {one.label: measure(one, study.codebook, samples=0) for one in judged_sources(study, basis.documents)}
    assert set(judged) == {"adapter", "adapter adapter/0", "prompt", "similarity"}
    for row in rows:
        mine = judged[row.name].overall
        assert (mine["accuracy"].value, mine["accuracy"].n) == (row.accuracy, row.n)
        assert mine["macro_f1"].value == pytest.approx(row.macro_f1)
        assert mine["balanced_accuracy"].value == pytest.approx(row.balanced_accuracy)


def test_without_a_holdout_the_random_documents_and_if_these_are_few_all() -> None:
    names = [f"d{number}" for number in range(40)]
    truth = dict.fromkeys(names, ("earn",))
    study = small(truth)
    chosen = replace(study, documents={n: replace(d, random=n < "d37") for n, d in study.documents.items()})
    basis = basis_of(chosen)
    assert (basis.words, len(basis.documents), basis.biased) == ("documents that were coded in random order", 31, False)
    few = replace(study, documents={n: replace(d, random=n < "d15") for n, d in study.documents.items()})
    assert (basis_of(few).biased, len(basis_of(few).documents)) == (True, 40)
    told = replace(few, proposals=[proposed("d1", "earn")])
    assert any("Sources' doubt chose" in one.text for one in all_sections(told)["performance"].findings)
    assert basis_of(study).biased is False


def test_a_coder_is_judged_by_the_others_never_by_a_consensus_with_themselves() -> None:
    decisions = [
        decided("a", "1", "earn", 1), decided("a", "2", "acq", 2), decided("a", "3", "acq", 3),
        decided("b", "1", "earn", 4), decided("b", "2", "earn", 5),
        decided("c", "1", "crude", 6),  # alone
        decided("b", "1", "trade", 7, repeat=1), decided("b", "3", "earn", 8, unsure=True),
    ]  # fmt: skip
    rows = {one.key: one for one in judged_coders(small({"a": ("acq",)}, decisions))}
    assert rows["coder 1"].documents == ("a", "b")
    assert rows["coder 1"].truth == (("acq",), ("earn",))
    assert rows["coder 1"].predicted == (("earn",), ("earn",))
    # Against coder 2 stand coders 1 and 3, who do not agree on a.
    assert rows["coder 2"].documents == ("b",)
    assert rows["coder 3"].documents == ()
    assert {one.role for one in rows.values()} == {Role.CODER}
    assert "other coders" in rows["coder 1"].against


def test_with_gold_coders_are_judged_by_it_and_ground_truth_judges_others_only() -> None:
    decisions = [decided("a", "1", "earn"), decided("b", "1", "acq"), decided("a", "9", "acq", ground_truth=True)]
    gold = {"a": ("acq",), "z": ("acq",)}
    rows = judged_coders(small(gold, decisions, truth_from="the gold file g.csv"))
    assert [(one.key, one.documents, one.truth) for one in rows] == [
        ("coder 1", ("a",), (("acq",),)),
        ("coder 9", (), ()),
    ]
    assert judged_coders(small({}, decisions))[0].truth == (("acq",),)


def test_labels_that_the_codebook_has_not_are_wrong_or_left_out_and_named() -> None:
    truth = {"a": ("acq",), "b": ("earn",), "c": ("gone",), "d": ("earn", "acq")}
    study = small(truth, proposals=[proposed("a", "acq"), proposed("b", "old", "earn"), proposed("c", "earn")])
    basis = basis_of(study)
    assert (sorted(basis.documents), basis.strange, basis.left_out) == (["a", "b"], ("gone",), 2)
    (one,) = judged_sources(study, basis.documents)
    assert one.strange == ("old",)
    assert measure(one, BOOK, samples=0).overall["accuracy"].value == 0.5
    notes = " ".join(all_sections(study)["performance"].notes)
    assert "old" in notes
    assert "gone" in notes


def test_several_codes_with_a_strange_one_are_wrong_as_a_set() -> None:
    book = studies.codebook(Kind.MULTILABEL)
    documents = {"a": StudyDocument("a", "t")}
    proposals = [proposed("a", "economy", "past")]
    study = Study("m", book, documents, (), proposals, (), {"a": ("economy",)}, "gold")
    (one,) = judged_sources(study, {"a"})
    found = measure(one, book, samples=0)
    assert (found.overall["accuracy"].value, found.overall["jaccard"].value) == (0.0, 0.5)
    assert len(found.codes) == len(book.label_keys) + 1


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_study_has_all_sections_and_each_figure_its_n(kind: Kind) -> None:
    study = studies.study(kind)
    found = all_sections(study)
    assert list(found)[:4] == ["performance", "performance_codes", "confusion", "corpus"]
    rows = table(found["performance"], "performance")
    assert [row["who"] for row in rows] == [
        "adapter", "adapter adapter/0", "prompt", "similarity", "Coder 1", "Coder 2", "Coder 3",
    ]  # fmt: skip
    for row in rows:
        for figure in row.values():
            if isinstance(figure, Figure):
                assert (figure.value is None) == bool(figure.why)
                assert figure.n > 0
    matrices = [one for one in found["confusion"].blocks if isinstance(one, Heatmap)]
    assert bool(matrices) == (kind is Kind.EXCLUSIVE)
    if kind is Kind.GRADED:
        assert table(found["performance"], "performance")[0]["macro_quadratic_kappa"]
        assert len(table(found["performance_codes"], "presence_adapter@adapter/1")) == 3


@pytest.mark.parametrize("kind", list(Kind))
def test_an_empty_project_says_so(kind: Kind) -> None:
    found = all_sections(studies.empty(kind))
    assert "Nobody can be judged yet" in found["performance"].findings[0].text
    assert found["comparison"].findings[0].text == "There are not two sources to compare."
    assert found["calibration"].blocks == ()


def test_one_coder_only_and_no_overlap_are_undefined_and_named() -> None:
    study = small({"a": ("earn",)}, [decided("a", "1", "earn")], proposals=[proposed("other", "acq")])
    found = all_sections(study)["performance"]
    coder, source = sorted(table(found, "performance"), key=lambda row: str(row["role"]))
    for row in (coder, source):
        assert row["accuracy"] == Figure(None, 0, why=NOTHING)
    assert any("Undefined, n = 0: Coder 1: no document that another coder" in note for note in found.notes)
    assert any("Undefined, n = 0: s: no proposal" in note for note in found.notes)
    assert "none can be judged" in found.findings[0].text
