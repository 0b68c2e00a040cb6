"""Documents that are coded without candidates, and copies that are coded twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from label_configs.codebook import Codebook, load_codebook
from label_configs.forms import ReviewForm, forms_of
from label_configs.records import Arm, Candidate, CandidateSet, Decision, Document, Proposer
from label_configs.wire import (
    candidate_data,
    coder_result,
    decisions,
    document,
    review_prediction,
    task_data,
    validate_prediction,
)

REUTERS, DATAVERSE, FLOURISHING = (load_codebook(name) for name in ("reuters8", "dataverse", "flourishing"))
DOCUMENT = Document("story-1", "Shares were sold.", 7)
LABEL = {"reuters8": "earn", "dataverse": "law", "flourishing": "hope:low"}
PAIRS = [pytest.param(book, form, id=f"{book.name}-{form}") for book in (REUTERS, DATAVERSE, FLOURISHING)
         for form in forms_of(book)]  # fmt: skip


def nothing(arm: Arm) -> CandidateSet:
    return CandidateSet(DOCUMENT.id, "candidates@1", (), arm)


def decide(codebook: Codebook, form: ReviewForm, result: list[dict[str, Any]], **values: Any) -> Decision:
    data = {"text": "x", "document_id": "story-1"}
    [made] = decisions({"id": 7, "data": data, "annotations": [{"id": 1, "result": result, **values}]}, codebook, form)
    return made


@pytest.mark.parametrize(("codebook", "form"), PAIRS)
@pytest.mark.parametrize("arm", [Arm.CHOOSE, Arm.BLIND])
def test_nothing_is_shown_and_the_whole_codebook_is_open(codebook: Codebook, form: ReviewForm, arm: Arm) -> None:
    assert candidate_data(codebook, nothing(arm), form).items() <= task_data(DOCUMENT, form=form).items()
    prediction = review_prediction(codebook, nothing(arm), form)
    validate_prediction(codebook, prediction, form, nothing(arm))
    *flags, record = prediction["result"]
    gated = form in (ReviewForm.KEEP, ReviewForm.REJECT, ReviewForm.GRADED)
    assert [item["value"] for item in flags] == ([{"choices": ["missing"]}] if gated else [])
    assert json.loads(record["value"]["text"][0])["arm"] == arm


@pytest.mark.parametrize(("codebook", "form"), PAIRS)
def test_what_is_chosen_holds(codebook: Codebook, form: ReviewForm) -> None:
    label = LABEL[codebook.name]
    decision = decide(codebook, form, coder_result(codebook, nothing(Arm.BLIND), form, missed=[label]))
    assert (decision.arm, decision.labels, decision.rejected) == (Arm.BLIND, (label,), ())
    assert decision.verified
    assert not decision.untouched
    unsure = decide(codebook, form, coder_result(codebook, nothing(Arm.BLIND), form, missed=[label], unsure=True))
    assert (unsure.unsure, unsure.verified) == (True, False)


@pytest.mark.parametrize(("codebook", "form"), PAIRS)
def test_nothing_chosen_says_that_no_code_holds_where_none_may(codebook: Codebook, form: ReviewForm) -> None:
    decision = decide(codebook, form, review_prediction(codebook, nothing(Arm.CHOOSE), form)["result"])
    assert (decision.labels, decision.untouched) == ((), False)
    assert decision.unresolved == ("no code holds where exactly one does" if codebook is REUTERS else "")


def test_the_page_may_close_the_codebook_again() -> None:
    record = review_prediction(DATAVERSE, nothing(Arm.CHOOSE), ReviewForm.KEEP)["result"][-1:]
    assert decide(DATAVERSE, ReviewForm.KEEP, record).verified


def test_two_codes_where_one_may_hold_are_unresolved() -> None:
    record = review_prediction(REUTERS, nothing(Arm.CHOOSE), ReviewForm.REJECT)["result"]
    two = {"from_name": "replacement", "to_name": "text", "type": "choices", "value": {"choices": ["earn", "acq"]}}
    assert decide(REUTERS, ReviewForm.REJECT, [*record, two]).unresolved == "2 codes are left where exactly one holds"


@pytest.mark.parametrize("form", [ReviewForm.CHOOSE, ReviewForm.BLIND])
def test_a_whole_project_without_candidates_needs_no_record(form: ReviewForm) -> None:
    codes = {"from_name": "codes", "to_name": "text", "type": "choices", "value": {"choices": ["earn"]}}
    imported = decide(REUTERS, form, [codes], ground_truth=True)
    assert (imported.arm.value, imported.labels, imported.verified) == (form.value, ("earn",), True)
    skipped = decide(REUTERS, form, [], was_cancelled=True)
    assert (skipped.arm.value, skipped.skipped, skipped.unresolved) == (form.value, True, "")


@pytest.mark.parametrize("form", [ReviewForm.CHOOSE, ReviewForm.BLIND])
def test_such_a_project_ticks_nothing_even_where_there_are_candidates(form: ReviewForm) -> None:
    shown = CandidateSet("story-1", "v", (Candidate("earn", 0.9, (Proposer("s", "v", 0.9, 1),)),))
    assert [item["from_name"] for item in review_prediction(REUTERS, shown, form)["result"]] == ["shown"]


def test_records_from_before_there_were_arms_are_reviews() -> None:
    text = '{"document":"story-1","version":"v","candidates":[["earn",0.5,[["s","v",0.5,1]]]]}'
    record = {"from_name": "shown", "to_name": "text", "type": "textarea", "value": {"text": [text]}}
    decision = decide(REUTERS, ReviewForm.REJECT, [record])
    assert (decision.arm, decision.kept) == (Arm.REVIEW, ("earn",))


def test_the_score_is_what_is_asked_for() -> None:
    shown = CandidateSet("story-1", "v", (Candidate("earn", 0.9, (Proposer("s", "v", 0.9, 1),)),))
    assert review_prediction(REUTERS, shown, ReviewForm.REJECT)["score"] == 0.9
    assert review_prediction(REUTERS, shown, ReviewForm.REJECT, score=0.25)["score"] == 0.25
    assert review_prediction(REUTERS, nothing(Arm.CHOOSE), ReviewForm.REJECT)["score"] == 0.0


def test_a_copy_is_the_same_document_and_says_so() -> None:
    copy = Document("story-1", "Shares were sold.", 9, repeat=1)
    data = task_data(copy, form=ReviewForm.REJECT)
    assert data["repeat"] == 1
    task = {"id": 9, "data": data, "annotations": [{"id": 1, "result": []}]}
    assert document(task) == copy
    [decision] = decisions(task, REUTERS, ReviewForm.REJECT)
    assert (decision.document_id, decision.task_id, decision.repeat) == ("story-1", 9, 1)


@pytest.mark.parametrize("repeat", ["yes", "2", -1, 0, True, None, 1.5])
def test_a_column_of_the_teams_own_makes_no_copy(repeat: object) -> None:
    assert document({"id": 9, "data": {"text": "x", "document_id": "d", "repeat": repeat}}).repeat == 0
    assert document({"id": 9, "data": {"text": "x", "repeat": 1}}).repeat == 0
