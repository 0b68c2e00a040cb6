"""Label Studio's JSON: what is sent, and what comes back as decisions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from label_configs.codebook import Code, Codebook, Kind, load_codebook
from label_configs.errors import WireError
from label_configs.forms import forms_of
from label_configs.records import Candidate, CandidateSet, Decision, Document, Proposal, Proposer, ScoredLabel
from label_configs.render import ReviewForm
from label_configs.wire import (
    candidate_data,
    coder_result,
    decisions,
    document,
    proposals,
    review_prediction,
    source_prediction,
    task_data,
    validate_prediction,
)

KEEP, REJECT, WHOLE = ReviewForm.KEEP, ReviewForm.REJECT, ReviewForm.WHOLE
REUTERS, DATAVERSE, FLOURISHING = (load_codebook(name) for name in ("reuters8", "dataverse", "flourishing"))
DOCUMENT = Document("story-1", "Shares were sold.", 7)


def candidates(*labels: str) -> CandidateSet:
    return CandidateSet(
        DOCUMENT.id,
        "candidates@1",
        tuple(
            Candidate(label, 0.6 / rank, (Proposer("smollm2", "smollm2/plain@-", 0.7 / rank, rank),))
            for rank, label in enumerate(labels, start=1)
        ),
    )


THREE = candidates("acq", "earn", "trade")
SUBJECTS = candidates("law", "physics")


def annotation(result: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    return {"id": 11, "completed_by": 3, "result": result, "was_cancelled": False, "ground_truth": False, **values}


def task(*annotations: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"id": 7, "data": task_data(DOCUMENT, form=REJECT), "annotations": list(annotations), **values}


def decide(codebook: Codebook, form: ReviewForm, result: list[dict[str, Any]], **values: Any) -> Decision:
    [decision] = decisions(task(annotation(result, **values)), codebook, form)
    return decision


def ticks(**controls: list[str]) -> list[dict[str, Any]]:
    return [
        {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": labels}}
        for name, labels in controls.items()
    ]


def record(shown: CandidateSet) -> dict[str, Any]:
    [item] = [item for item in review_prediction(REUTERS, shown, REJECT)["result"] if item["from_name"] == "shown"]
    return item


# Sending


def test_a_task_names_its_document_and_has_the_key_of_the_candidates() -> None:
    data = task_data(DOCUMENT, text_key="body", form=KEEP)
    assert data == {"body": "Shares were sold.", "document_id": "story-1", "candidates": []}
    assert document({"id": 7, "data": data}, text_key="body") == DOCUMENT


def test_tasks_of_others_are_named_by_label_studio() -> None:
    assert document({"id": 4, "data": {"text": "x"}}) == Document("task-4", "x", 4)
    assert document({"id": 4, "data": {"text": "x", "document_id": 0}}).id == "0"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"id": 4, "data": {"body": "x"}}, r"task 4: data\.text is not a text"),
        ({"id": 4, "data": {"text": 5}}, r"task 4: data\.text is not a text"),
        ({"id": 4}, r"task 4: data\.text is not a text"),
        ({"data": {"text": "x"}}, r"task: id None is not a number"),
    ],
)
def test_tasks_without_text_or_id_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(WireError, match=message):
        document(bad)


def test_a_candidate_shows_its_name_its_definition_and_who_proposed_it() -> None:
    [first, *_] = candidate_data(REUTERS, THREE, KEEP)["candidates"]
    assert (first["value"], first["alias"], first["hint"]) == (
        "Acquisitions",
        "acq",
        REUTERS.code("acq").definition,
    )
    assert first["html"] == (
        '<b class="winnow-name">Acquisitions</b> <span class="winnow-who">smollm2 70%</span> '
        f'<span class="winnow-definition">{REUTERS.code("acq").definition}</span>'
    )
    assert "smollm2" not in candidate_data(REUTERS, THREE, KEEP, show_sources=False)["candidates"][0]["html"]


def test_hostile_names_are_shown_as_text() -> None:
    codes = (Code("x", "<img src=x onerror=alert(1)>", '"><script>', "x"), Code("y", "Y", "Y", "y"))
    proposer = Proposer("<b>evil</b>", "v", 0.5, 1)
    shown = CandidateSet("d", "v", (Candidate("x", 0.5, (proposer,)),))
    [choice] = candidate_data(Codebook("h", Kind.EXCLUSIVE, codes), shown, KEEP)["candidates"]
    assert choice["html"] == (
        '<b class="winnow-name">&lt;img src=x onerror=alert(1)&gt;</b> '
        '<span class="winnow-who">&lt;b&gt;evil&lt;/b&gt; 50%</span> '
        '<span class="winnow-definition">&quot;&gt;&lt;script&gt;</span>'
    )


@pytest.mark.parametrize(
    ("codebook", "form", "shown", "control", "ticked"),
    [
        (REUTERS, KEEP, THREE, "keep", ["acq", "earn", "trade"]),
        (REUTERS, REJECT, THREE, None, []),
        (REUTERS, WHOLE, THREE, "codes", ["acq"]),
        (DATAVERSE, WHOLE, candidates("law", "physics", "other", "na"), "codes", ["law", "physics", "other"]),
        (FLOURISHING, KEEP, candidates("hope:low", "hope:high"), "keep", ["hope:low", "hope:high"]),
        (FLOURISHING, WHOLE, candidates("hope:low", "hope:high", "pain:low"), "codes", ["hope:low", "pain:low"]),
        (REUTERS, KEEP, candidates(), None, []),
    ],
)
def test_what_the_review_prediction_ticks(
    codebook: Codebook, form: ReviewForm, shown: CandidateSet, control: str | None, ticked: list[str]
) -> None:
    prediction = review_prediction(codebook, shown, form)
    *choices, hidden = prediction["result"]
    assert [(item["from_name"], item["value"]["choices"]) for item in choices] == (
        [(control, ticked)] if control else []
    )
    assert hidden["from_name"] == "shown"
    assert prediction["model_version"] == "candidates@1"
    assert prediction["score"] == (0.6 if shown.candidates else 0.0)
    validate_prediction(codebook, prediction, form, shown)


@pytest.mark.parametrize(("form", "control"), [(KEEP, "missed"), (REJECT, "replacement"), (WHOLE, "codes")])
def test_a_source_says_everything_it_knows(form: ReviewForm, control: str) -> None:
    labels = (ScoredLabel("earn", 0.2), ScoredLabel("acq", 0.8))
    proposal = Proposal("story-1", "smollm2", "smollm2/plain@-", labels, tokens=31, seconds=0.25)
    prediction = source_prediction(REUTERS, proposal, form)
    validate_prediction(REUTERS, prediction, form)
    [item] = prediction["result"]
    assert (item["from_name"], item["value"]) == (control, {"choices": ["acq"]})
    assert (prediction["score"], prediction["model_version"]) == (0.8, "smollm2/plain@-")
    stored = json.loads(json.dumps({"id": 1, **prediction}))
    assert proposals(task(predictions=[stored])) == [proposal]


def test_a_source_without_labels_sends_nothing() -> None:
    with pytest.raises(WireError, match="source s: proposed nothing for d; send no prediction"):
        source_prediction(REUTERS, Proposal("d", "s", "v", ()), WHOLE)


def test_probabilities_beyond_one_by_rounding_are_scores_of_one() -> None:
    proposal = Proposal("d", "s", "v", (ScoredLabel("acq", 1.0000000000000002),))
    assert source_prediction(REUTERS, proposal, WHOLE)["score"] == 1.0


# Receiving


@pytest.mark.parametrize("form", forms_of(REUTERS))
def test_the_same_decision_comes_back_from_every_form(form: ReviewForm) -> None:
    kept = decide(REUTERS, form, coder_result(REUTERS, THREE, form, rejected=["earn", "trade"]))
    assert (kept.kept, kept.rejected, kept.missed, kept.unresolved) == (("acq",), ("earn", "trade"), (), "")
    assert kept.shown == THREE
    everything = ["acq", "earn", "trade"]
    other = decide(REUTERS, form, coder_result(REUTERS, THREE, form, rejected=everything, missed=["ship"]))
    assert (other.kept, other.rejected, other.missed, other.unresolved) == ((), tuple(everything), ("ship",), "")
    assert other.verified
    unsure = decide(REUTERS, form, coder_result(REUTERS, THREE, form, rejected=["earn", "trade"], unsure=True))
    assert unsure.unsure
    assert not unsure.verified


@pytest.mark.parametrize("form", [KEEP, WHOLE])
@pytest.mark.parametrize(
    ("codebook", "shown", "rejected", "missed"),
    [
        (DATAVERSE, SUBJECTS, ["physics"], ["other"]),
        (DATAVERSE, SUBJECTS, ["law", "physics"], []),
        (FLOURISHING, candidates("hope:low", "pain:high"), ["hope:low"], ["hope:high"]),
    ],
)
def test_several_codes_come_back(
    codebook: Codebook, form: ReviewForm, shown: CandidateSet, rejected: list[str], missed: list[str]
) -> None:
    decision = decide(codebook, form, coder_result(codebook, shown, form, rejected=rejected, missed=missed))
    assert decision.rejected == tuple(rejected)
    assert decision.missed == tuple(missed)
    assert decision.kept == tuple(c.label for c in shown.candidates if c.label not in rejected)
    assert decision.verified


def test_what_label_studio_says_about_an_annotation_is_kept() -> None:
    decision = decide(
        REUTERS,
        REJECT,
        coder_result(REUTERS, THREE, REJECT, rejected=["earn", "trade"]),
        completed_by={"id": 5, "email": "coder@example.com"},
        lead_time=4,
        ground_truth=True,
        updated_at="2026-01-02T03:04:05.6Z",
    )
    assert decision == Decision(
        document_id="story-1",
        task_id=7,
        annotation_id=11,
        coder="5",
        form="reject",
        kept=("acq",),
        rejected=("earn", "trade"),
        ground_truth=True,
        seconds=4.0,
        shown=THREE,
        updated_at=datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC),
    )


def test_every_annotation_is_a_decision_and_a_draft_is_none() -> None:
    first = annotation(coder_result(REUTERS, THREE, REJECT, rejected=["earn", "trade"]), id=21)
    second = annotation(coder_result(REUTERS, THREE, REJECT, rejected=["acq", "trade"]), id=12, completed_by=None)
    exported = task(first, second, drafts=[annotation(ticks(reject=["acq"]), id=1)])
    made = decisions(exported, REUTERS, REJECT)
    assert [(one.annotation_id, one.coder, one.kept) for one in made] == [(12, "", ("earn",)), (21, "3", ("acq",))]
    assert decisions(task(), REUTERS, REJECT) == []


def test_a_skipped_task_decides_nothing() -> None:
    skipped = decide(REUTERS, KEEP, review_prediction(REUTERS, THREE, KEEP)["result"], was_cancelled=True)
    assert skipped.skipped
    assert (skipped.labels, skipped.rejected, skipped.untouched, skipped.verified) == ((), (), False, False)


def test_unticking_everything_leaves_only_the_record() -> None:
    decision = decide(DATAVERSE, KEEP, [record(SUBJECTS)])
    assert (decision.kept, decision.rejected, decision.untouched) == ((), ("law", "physics"), False)
    assert decision.verified


@pytest.mark.parametrize(
    ("codebook", "form", "shown"), [(DATAVERSE, KEEP, SUBJECTS), (REUTERS, REJECT, THREE), (REUTERS, WHOLE, THREE)]
)
def test_submitting_what_was_shown_is_untouched(codebook: Codebook, form: ReviewForm, shown: CandidateSet) -> None:
    as_shown = review_prediction(codebook, shown, form)["result"]
    assert decide(codebook, form, as_shown).untouched
    assert not decide(codebook, form, [*as_shown, *ticks(flag=["unsure"])]).untouched


def test_a_replacement_outweighs_what_was_not_ticked() -> None:
    decision = decide(REUTERS, REJECT, [*ticks(reject=["earn"], replacement=["ship"]), record(THREE)])
    assert (decision.kept, decision.rejected, decision.missed) == ((), ("acq", "earn", "trade"), ("ship",))
    assert decision.verified
    among = decide(REUTERS, REJECT, [*ticks(replacement=["earn"]), record(THREE)])
    assert (among.kept, among.rejected, among.missed) == (("earn",), ("acq", "trade"), ())
    assert among.verified


@pytest.mark.parametrize(
    ("codebook", "form", "result", "reason"),
    [
        (REUTERS, REJECT, [record(THREE)], "3 codes are left where exactly one holds"),
        (
            REUTERS,
            REJECT,
            [*ticks(reject=["acq", "earn", "trade"]), record(THREE)],
            "every candidate is rejected, and no code chosen instead",
        ),
        (REUTERS, REJECT, [record(candidates())], "no candidate was shown, and no code chosen instead"),
        (
            REUTERS,
            REJECT,
            ticks(reject=["acq"]),
            "no record of the candidates shown, and no code chosen instead",
        ),
        (
            REUTERS,
            REJECT,
            [*ticks(reject=["acq"], replacement=["acq"]), record(THREE)],
            "acq: rejected and chosen at once",
        ),
        (
            REUTERS,
            REJECT,
            [*ticks(reject=["acq", "earn"], flag=["missing"]), record(THREE)],
            "a code is said to be missing, but none is named",
        ),
        (REUTERS, KEEP, [*ticks(keep=["acq", "earn"]), record(THREE)], "2 codes are left where exactly one holds"),
        (REUTERS, KEEP, [record(THREE)], "no code holds where exactly one does"),
        (REUTERS, WHOLE, [record(THREE)], "no code holds where exactly one does"),
        (REUTERS, WHOLE, ticks(codes=["sports"]), "sports: not in codebook reuters8"),
        (REUTERS, REJECT, [record(candidates("acq", "sports"))], "sports: not in codebook reuters8"),
        (
            DATAVERSE,
            KEEP,
            [*ticks(keep=["law"], flag=["missing"]), record(SUBJECTS)],
            "a code is said to be missing, but none is named",
        ),
        (
            DATAVERSE,
            KEEP,
            [*ticks(keep=["law", "physics"], missed=["other", "na"]), record(SUBJECTS)],
            "4 codes where at most 3 may hold",
        ),
        (FLOURISHING, WHOLE, ticks(codes=["hope:low", "hope:high"]), "hope: several levels of one code"),
    ],
)
def test_decisions_that_cannot_be_used_say_why(
    codebook: Codebook, form: ReviewForm, result: list[dict[str, Any]], reason: str
) -> None:
    decision = decide(codebook, form, result)
    assert decision.unresolved == reason
    assert not decision.verified
    assert set(decision.labels) <= set(codebook.label_keys)


def test_annotations_made_elsewhere_may_have_the_names_that_coders_see() -> None:
    made = decide(REUTERS, WHOLE, ticks(codes=["Money and currencies"]))
    assert (made.labels, made.unresolved) == (("money-fx",), "")
    assert decide(REUTERS, REJECT, ticks(replacement=[" Crude  oil"])).labels == ("crude",)
    assert decide(DATAVERSE, KEEP, ticks(keep=["law"], missed=["Physics", "law"])).labels == ("law", "physics")
    alike = Codebook("alike", Kind.EXCLUSIVE, (Code("a", "b", "?", "x"), Code("b", "c", "?", "y")))
    assert decide(alike, WHOLE, ticks(codes=["b"])).labels == ("b",), "a key is a key"
    path = [
        {"from_name": "missed", "type": "taxonomy", "value": {"taxonomy": [["Having hope", "high"], ["Happiness"]]}}
    ]
    graded = decide(FLOURISHING, ReviewForm.GRADED, path)
    assert (graded.labels, graded.unresolved) == (("hope:high",), "no level chosen for happiness")


def test_annotations_without_a_record_still_name_their_labels() -> None:
    kept = decide(DATAVERSE, KEEP, ticks(keep=["law"], missed=["other"]))
    assert (kept.kept, kept.missed, kept.shown, kept.untouched, kept.unresolved) == (
        ("law",),
        ("other",),
        None,
        False,
        "",
    )
    whole = decide(REUTERS, WHOLE, ticks(codes=["ship"]))
    assert (whole.kept, whole.missed, whole.verified) == ((), ("ship",), True)
    replaced = decide(REUTERS, REJECT, ticks(replacement=["ship"]))
    assert (replaced.missed, replaced.verified) == (("ship",), True)


def test_the_snapshot_of_the_prediction_stands_in_for_a_lost_record() -> None:
    snapshot = {"id": 1, "result": review_prediction(REUTERS, THREE, REJECT)["result"]}
    decision = decide(REUTERS, REJECT, ticks(reject=["earn", "trade"]), prediction=snapshot)
    assert (decision.kept, decision.shown) == (("acq",), THREE)


def test_of_two_results_for_one_control_the_last_counts() -> None:
    result = [*ticks(reject=["acq"]), *ticks(reject=["earn", "trade"]), record(THREE)]
    assert decide(REUTERS, REJECT, result).kept == ("acq",)


@pytest.mark.parametrize("text", ["", "{}", "[]", "no json", '{"document":"d","version":"v","candidates":[["acq"]]}'])
def test_a_damaged_record_is_refused(text: str) -> None:
    damaged = {"from_name": "shown", "to_name": "text", "type": "textarea", "value": {"text": [text]}}
    with pytest.raises(WireError, match="control shown: is not a record of candidates"):
        decide(REUTERS, REJECT, [damaged])


def test_a_damaged_task_is_refused() -> None:
    with pytest.raises(WireError, match="task 7: annotations is not a list of objects"):
        decisions({**task(), "annotations": [1]}, REUTERS, REJECT)
    with pytest.raises(WireError, match="task 7: an annotation has no id"):
        decisions(task({"result": []}), REUTERS, REJECT)


def test_the_latest_proposal_of_a_source_and_version_counts() -> None:
    def prediction(number: int, source: str, probability: float) -> dict[str, Any]:
        proposal = Proposal("story-1", source, f"{source}/p@-", (ScoredLabel("acq", probability),))
        return {"id": number, **source_prediction(REUTERS, proposal, REJECT)}

    review = {"id": 9, **review_prediction(REUTERS, THREE, REJECT)}
    exported = task(predictions=[prediction(5, "a", 0.5), review, prediction(2, "a", 0.2), prediction(3, "b", 0.3), 17])
    assert [(one.source, one.labels[0].probability) for one in proposals(exported)] == [("a", 0.5), ("b", 0.3)]
    damaged = {"id": 1, "result": [{"meta": {"winnow": {"source": "a"}}}]}
    with pytest.raises(WireError, match=r"result meta\.winnow: is not a proposal \(KeyError\)"):
        proposals(task(predictions=[damaged]))


# What a coder cannot do, and what Label Studio would swallow


@pytest.mark.parametrize(
    ("codebook", "rejected", "missed", "message"),
    [
        (REUTERS, ["ship"], [], "coder: cannot reject ship; the candidates are acq, earn, trade"),
        (REUTERS, [], ["sports"], "coder: cannot add sports; codebook reuters8 has no such label"),
        (REUTERS, [], ["ship", "crude"], "coder: cannot add ship, crude; exactly one code may hold"),
    ],
)
def test_a_coder_cannot_do_what_the_page_does_not_offer(
    codebook: Codebook, rejected: list[str], missed: list[str], message: str
) -> None:
    with pytest.raises(WireError, match=message):
        coder_result(codebook, THREE, REJECT, rejected=rejected, missed=missed)


def test_a_coders_result_is_what_the_page_submits() -> None:
    result = coder_result(DATAVERSE, SUBJECTS, KEEP, rejected=["physics"], missed=["other"], unsure=True)
    assert [(item["from_name"], item["value"], item["origin"]) for item in result[:-1]] == [
        ("keep", {"choices": ["law"]}, "prediction-changed"),
        ("missed", {"choices": ["other"]}, "manual"),
        ("flag", {"choices": ["missing", "unsure"]}, "manual"),
    ]
    assert (result[-1]["from_name"], result[-1]["origin"]) == ("shown", "prediction")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 1.1}, "prediction: score: 1.1 is not a number from 0 to 1"),
        ({"score": float("nan")}, "prediction: score: nan is not a number from 0 to 1"),
        ({"score": "0.5"}, "prediction: score: '0.5' is not a number from 0 to 1"),
        ({"score": True}, "prediction: score: True is not a number from 0 to 1"),
        ({"model_version": ""}, "prediction: model_version: '' is not a version"),
        ({"result": None}, "prediction: result: is not a list, Label Studio would lose the whole batch"),
        ({"result": [3]}, "prediction: result.0: is not an object"),
        (
            {"result": ticks(keep=["acq"])},
            "prediction: result.0: from_name: form reject has no control 'keep', use one of",
        ),
        ({"result": ticks(replacement=["sports"])}, "prediction: result.0: control replacement has no choice sports"),
        (
            {"result": ticks(replacement=["Acquisitions"])},
            "prediction: result.0: control replacement has no choice Acq",
        ),
        (
            {"result": ticks(reject=["ship"])},
            "prediction: result.0: control reject has no choice ship, the coder would",
        ),
        ({"result": ticks(flag=["maybe"])}, "prediction: result.0: control flag has no choice maybe"),
        (
            {"result": ticks(replacement=["ship", "crude"])},
            "prediction: result.0: control replacement takes one choice, not 2",
        ),
        (
            {"result": [*ticks(reject=["acq"]), *ticks(reject=["acq"])]},
            "prediction: result: has control reject twice, only the last would show",
        ),
        ({"result": [{**record(THREE), "to_name": "body"}]}, "prediction: result.0: to_name: 'body' is not 'text'"),
        ({"result": [{**record(THREE), "type": "choices"}]}, "prediction: result.0: is not of type textarea"),
        (
            {"result": [{**record(THREE), "value": {"text": ["x"]}}]},
            "prediction: result.0: control shown: is not a record of candidates",
        ),
        (
            {"result": [{**ticks(reject=["acq"])[0], "type": "labels"}]},
            "prediction: result.0: is not of type choices with a list of choices",
        ),
    ],
)
def test_predictions_that_label_studio_would_swallow(change: dict[str, Any], message: str) -> None:
    prediction = {**review_prediction(REUTERS, THREE, REJECT), **change}
    with pytest.raises(WireError) as caught:
        validate_prediction(REUTERS, prediction, REJECT, THREE)
    assert str(caught.value).startswith(message)


def test_all_that_is_wrong_with_a_prediction_is_told_at_once() -> None:
    prediction = {"score": None, "model_version": None, "result": ticks(reject=["x"], codes=["acq"])}
    with pytest.raises(WireError) as caught:
        validate_prediction(REUTERS, prediction, REJECT)
    assert str(caught.value).count("; ") == 3
