"""Agreement in a study: who is compared with whom, what counts, and what is said of it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from label_configs.codebook import Kind
from label_configs.records import Arm, CandidateSet, Decision, Proposal, ScoredLabel, chosen_labels
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.agreement import agreement_sections
from trainer.evaluation.agreement_panel import panel_of
from trainer.evaluation.agreement_time import drift, week_of_documents
from trainer.evaluation.blocks import Block, Heatmap, Lines, Link, Section, Table
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.plain import sections_json
from trainer.evaluation.study import Study, StudyDocument

FEW = ReportOptions(samples=60)
MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)


def sections(study: Study) -> dict[str, Section]:
    found = {section.key: section for section in agreement_sections(study, FEW)}
    json.dumps(sections_json(found.values()), allow_nan=False)
    return found


def block(section: Section, key: str) -> Block:
    return next(block for block in section.blocks if block.key == key)


def table(section: Section, key: str) -> dict[str, dict[str, object]]:
    """Rows by their first cell, each by the keys of its columns."""
    found = block(section, key)
    assert isinstance(found, Table)
    keys = [column.key for column in found.columns]
    return {str(row[0]): dict(zip(keys, row, strict=True)) for row in found.rows}


def figure(cell: object) -> Figure:
    assert isinstance(cell, Figure)
    return cell


def last_labels(study: Study) -> dict[str, dict[str, tuple[str, ...]]]:
    """Document -> coder -> labels of the last verified decision, by plain loops."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for one in study.decisions:
        if one.verified and not one.repeat:
            found.setdefault(one.document_id, {})[one.coder] = tuple(sorted(one.labels))
    return found


def test_overall_figures_are_those_of_the_libraries() -> None:
    study = studies.exclusive()
    own = table(sections(study)["agreement"], "overall")
    codes = {code.key: place for place, code in enumerate(study.codebook.codes)}
    rows = [
        [float(codes[coders[coder][0]]) if coder in coders else np.nan for coder in study.coders]
        for coders in last_labels(study).values()
    ]
    expected = krippendorff.alpha(np.array(rows).T, level_of_measurement="nominal")
    alpha = figure(own["Krippendorff's alpha, nominal"]["value"])
    assert alpha.value == pytest.approx(expected, abs=1e-9)
    assert alpha.n == sum(len(coders) >= 2 for coders in last_labels(study).values())
    assert alpha.low is not None
    assert alpha.low < expected


def test_graded_answers_are_ordinal_with_absence_lowest() -> None:
    study = studies.graded()
    own = table(sections(study)["agreement"], "overall")
    rows = []
    for coders in last_labels(study).values():
        for code in study.codebook.codes:
            levels = {f"{code.key}:{level}": 1.0 + place for place, level in enumerate(study.codebook.levels)}
            rows.append([
                max((levels.get(label, 0.0) for label in coders[coder]), default=0.0) if coder in coders else np.nan
                for coder in study.coders
            ])  # fmt: skip
    expected = krippendorff.alpha(np.array(rows).T, level_of_measurement="ordinal")
    assert figure(own["Krippendorff's alpha, ordinal"]["value"]).value == pytest.approx(expected, abs=1e-9)
    assert figure(own["Krippendorff's alpha, MASI for sets"]["value"]).value is not None


def test_codes_of_a_multilabel_codebook_are_judged_one_by_one_the_worst_first() -> None:
    study = studies.multilabel()
    section = sections(study)["agreement-codes"]
    own = table(section, "codes")
    for code in study.codebook.codes:
        rows = [
            [float(code.key in coders[coder]) if coder in coders else np.nan for coder in study.coders]
            for coders in last_labels(study).values()
        ]
        expected = krippendorff.alpha(np.array(rows).T, level_of_measurement="nominal")
        assert figure(own[code.key]["alpha"]).value == pytest.approx(expected, abs=1e-9)
    alphas = [figure(row["alpha"]).value or 0 for row in own.values()]
    assert alphas == sorted(alphas)
    examples = block(section, "disagreements")
    assert isinstance(examples, Table)
    for code_key, link, told in examples.rows:
        assert isinstance(link, Link)
        assert link.url == study.task_url(study.documents[link.text].task_id)
        assert "yes" in str(told)
        assert "no" in str(told)
        answers = {str(code_key) in labels for labels in last_labels(study)[link.text].values()}
        assert answers == {True, False}
    assert "tells of things" not in json.dumps(sections_json([section]))  # the documents' texts


def test_coders_and_sources_stand_in_one_matrix() -> None:
    study = studies.exclusive()
    section = sections(study)["agreement-pairs"]
    matrix = block(section, "matrix")
    assert isinstance(matrix, Heatmap)
    assert matrix.rows == matrix.columns
    assert matrix.rows[:3] == ("Coder 1", "Coder 2", "Coder 3")  # pseudonyms
    assert set(matrix.rows[3:]) == {"adapter (adapter/1)", "adapter (adapter/0)", "prompt", "similarity"}
    panel = panel_of(study)
    assert [panel.raters[column].name for column in panel.sources] == ["adapter (adapter/1)", "prompt", "similarity"]
    proposed = {
        one.document_id: chosen_labels(one, kind=Kind.EXCLUSIVE) for one in study.proposals if one.source == "prompt"
    }
    both = [(coders["2"][0], proposed[name][0]) for name, coders in last_labels(study).items() if "2" in coders]
    expected = cohen_kappa_score([one for one, _ in both], [two for _, two in both])
    assert matrix.values[1][matrix.rows.index("prompt")] == pytest.approx(expected, abs=1e-9)
    rows = table(section, "raters")
    pairs = [
        (coders[one][0], coders[two][0])
        for coders in last_labels(study).values()
        for one, two in itertools.combinations(sorted(coders), 2)
        if "3" in (one, two)
    ]
    same = np.mean([one == two for one, two in pairs])
    assert figure(rows["Coder 3"]["percent"]).value == pytest.approx(same, abs=1e-9)


def test_names_are_shown_only_where_they_may_be() -> None:
    study = studies.exclusive()
    assert "Person" not in json.dumps(sections_json(sections(study).values()))
    named = json.dumps(sections_json(sections(replace(study, show_coder_names=True)).values()))
    assert "Person 1" in named


def decided(document: str, coder: str, label: str, arm: Arm = Arm.REVIEW, week: int = 0, **more: object) -> Decision:
    shown = CandidateSet(document, "set/1", (), arm)
    when = MONDAY + timedelta(weeks=week)
    made = Decision(document, 1, int(document) * 10 + int(coder), coder, "keep", (label,), shown=shown, updated_at=when)
    return replace(made, **more)  # type: ignore[arg-type]


def study_of(decisions: list[Decision], proposals: dict[str, str] | None = None) -> Study:
    documents = {one.document_id: StudyDocument(one.document_id, "text") for one in decisions}
    made = tuple(
        Proposal(name, "source", "source/1", (ScoredLabel(label, 0.9),)) for name, label in (proposals or {}).items()
    )
    book = studies.codebook(Kind.EXCLUSIVE)
    return Study("Made", book, documents, decisions, made, (), {}, "nothing", versions={"source": "source/1"})


def test_anchoring_is_the_difference_between_the_arms() -> None:
    """Reviewed: 9 of 10 as the source; blind: 5 of 10. The difference is 40 points, and says so."""
    decisions, proposals = [], {}
    for number in range(400):
        arm = Arm.REVIEW if number < 200 else Arm.BLIND
        follows = number % 10 < (9 if arm is Arm.REVIEW else 5)
        decisions.append(decided(str(number), "1", "earn" if follows else "acq", arm))
        proposals[str(number)] = "earn"
    section = sections(study_of(decisions, proposals))["anchoring"]
    row = table(section, "arms")["coders with source"]
    assert figure(row["review"]).value == pytest.approx(0.9)
    assert figure(row["blind"]).value == pytest.approx(0.5)
    difference = figure(row["review_less_blind"])
    assert difference.value == pytest.approx(0.4)
    assert difference.low is not None
    assert 0.25 < difference.low < 0.4
    assert figure(row["choose"]).why == "no pair in one of the arms"
    assert any("is higher: +40.0 points" in finding.text for finding in section.findings)
    assert any("undefined: no pair in one of the arms" in finding.text for finding in section.findings)  # one coder


def test_weeks_and_their_drift() -> None:
    """Five weeks of 40 documents in which 36, 32, 28, 24 and 20 get the same code: 10 points less each week."""
    decisions = []
    for number in range(200):
        week, same = number // 40, number % 40 < 36 - 4 * (number // 40)
        first = "earn" if number % 2 else "crude"
        decisions += [decided(str(number), "1", first, week=week),
                      decided(str(number), "2", first if same else "acq", week=week)]  # fmt: skip
    study = study_of(decisions)
    panel = panel_of(study)
    slope = drift(panel, week_of_documents(study, panel), FEW)
    assert slope.value == pytest.approx(-0.1)
    section = sections(study)["agreement-time"]
    rows = table(section, "by_week")
    assert list(rows) == ["2026-03-02", "2026-03-09", "2026-03-16", "2026-03-23", "2026-03-30"]
    assert [figure(row["percent"]).value for row in rows.values()] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    assert any("Agreement falls by -10.0 points" in finding.text for finding in section.findings)
    lines = block(section, "weeks")
    assert isinstance(lines, Lines)
    assert lines.series[0].x == (1, 2, 3, 4, 5)


def test_coders_with_themselves_are_paired_by_their_copies() -> None:
    study = studies.exclusive()
    first = {(one.document_id, one.coder): one for one in study.decisions if not one.repeat}
    again = [
        one for one in study.decisions if one.repeat and one.verified and first[one.document_id, one.coder].verified
    ]
    rows = table(sections(study)["agreement-repeats"], "repeats")
    same = [set(one.labels) == set(first[one.document_id, one.coder].labels) for one in again]
    every = figure(rows["all coders"]["percent"])
    assert (every.n, every.value) == (len(again), pytest.approx(np.mean(same)))
    assert set(rows) >= {"all coders", "Coder 1", "Coder 2", "Coder 3"}


def test_what_does_not_count() -> None:
    """Unsure, skipped, ground truth, repeated and unknown labels are no answers; the later of two decisions is one."""
    decisions = [
        decided("1", "1", "earn"), decided("1", "2", "acq"), decided("1", "2", "earn", week=1, annotation_id=99),
        decided("2", "1", "acq"), decided("2", "2", "acq"), decided("2", "3", "earn", unsure=True),
        decided("3", "1", "acq"), decided("3", "2", "earn", skipped=True), decided("3", "4", "earn", ground_truth=True),
        decided("3", "5", "earn", repeat=1), decided("3", "6", "gone"),
    ]  # fmt: skip
    panel = panel_of(study_of(decisions))
    assert panel.left_out == 1
    assert [rater.name for rater in panel.raters] == ["Coder 1", "Coder 2"]
    section = sections(study_of(decisions))["agreement"]
    percent = figure(table(section, "overall")["Percent agreement"]["value"])
    assert (percent.value, percent.n) == (1.0, 2)
    assert any("1 decisions hold labels that the codebook does not have" in one.text for one in section.findings)


@pytest.mark.parametrize("kind", list(Kind))
def test_poor_studies_say_what_they_lack(kind: Kind) -> None:
    assert "Nobody has coded" in sections(studies.empty(kind))["agreement"].findings[0].text
    study = studies.study(kind)
    alone = sections(replace(study, decisions=tuple(one for one in study.decisions if one.coder == "1")))
    assert "No two coders coded the same document" in alone["agreement"].findings[0].text
    for row in table(alone["agreement"], "overall").values():
        assert figure(row["value"]).value is None
        assert figure(row["value"]).why == "no document in common"
    bare = sections(replace(study, proposals=(), versions={}))
    assert all("with" in name for name in table(bare["anchoring"], "arms"))
    other = studies.codebook(Kind.MULTILABEL if kind is Kind.EXCLUSIVE else Kind.EXCLUSIVE)
    assert "No decision can be counted" in sections(replace(study, codebook=other))["agreement"].findings[0].text
