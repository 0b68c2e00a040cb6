"""Codes under other names in Label Studio's JSON."""

from __future__ import annotations

from label_configs import wire
from label_configs.codebook import Code, Codebook, Kind
from label_configs.forms import ReviewForm
from label_configs.records import Candidate, CandidateSet, Proposal, Proposer, ScoredLabel
from label_configs.wire.renaming import renamed_candidates, renamed_proposal, renamed_result, shown_in, with_shown

CODES = tuple(Code(key, key.title(), f"About {key}.", key) for key in ("a", "b", "c", "missing"))
BOOK = Codebook("book", Kind.MULTILABEL, CODES)


def candidates(*labels: str) -> CandidateSet:
    made = tuple(Candidate(label, 0.5, (Proposer(f"source-{label}", "v", 0.5, 1),)) for label in labels)
    return CandidateSet("d1", "v1", made)


def test_ticks_and_the_record_get_the_new_names_and_the_rest_stays() -> None:
    result = wire.coder_result(BOOK, candidates("a", "b"), ReviewForm.KEEP, rejected=["b"], missed=["c"])
    made = renamed_result(result, {"a": "x", "c": "y"})
    ticks = {item["from_name"]: item["value"].get("choices") for item in made}
    assert ticks["keep"] == ["x"]
    assert ticks["missed"] == ["y"]
    shown = shown_in(made)
    assert shown is not None
    assert [one.label for one in shown.candidates] == ["x", "b"]
    assert renamed_result(made, {"a": "x", "c": "y"}) == made, "twice is the same as once"
    assert renamed_result(result, {"z": "x"}) == result


def test_a_flag_is_never_taken_for_a_code() -> None:
    result = wire.coder_result(BOOK, candidates("a"), ReviewForm.KEEP, missed=["missing"])
    made = renamed_result(result, {"missing": "x"})
    ticks = {item["from_name"]: item["value"].get("choices") for item in made}
    assert ticks["flag"] == ["missing"]
    assert ticks["missed"] == ["x"]


def test_labels_that_become_one_are_one() -> None:
    merged = renamed_candidates(candidates("a", "b", "c"), {"b": "a"})
    assert [one.label for one in merged.candidates] == ["a", "c"]
    assert [by.source for by in merged.candidates[0].proposers] == ["source-a", "source-b"]
    result = wire.coder_result(BOOK, candidates("a", "b"), ReviewForm.KEEP)
    assert renamed_result(result, {"b": "a"})[0]["value"]["choices"] == ["a"]
    proposal = Proposal("d1", "s", "v", (ScoredLabel("b", 0.7), ScoredLabel("c", 0.6), ScoredLabel("a", 0.2)))
    assert renamed_proposal(proposal, {"b": "a"}).labels == (ScoredLabel("a", 0.7), ScoredLabel("c", 0.6))


def test_a_dropped_label_leaves_no_trace() -> None:
    result = wire.coder_result(BOOK, candidates("a", "b"), ReviewForm.KEEP, rejected=["b"])
    made = renamed_result(result, {"a": "", "b": ""})
    assert [item["from_name"] for item in made] == ["shown"], "a control without a tick has no item"
    shown = shown_in(made)
    assert shown is not None
    assert shown.candidates == ()


def test_a_source_whose_first_label_is_dropped_proposes_its_next() -> None:
    proposal = Proposal("d1", "s", "v", (ScoredLabel("a", 0.7), ScoredLabel("b", 0.3)))
    prediction = wire.source_prediction(BOOK, proposal, ReviewForm.KEEP)
    (item,) = renamed_result(prediction["result"], {"a": ""})
    assert item["value"]["choices"] == ["b"]
    (read,) = wire.proposals({"predictions": [{"id": 1, "result": [item]}]})
    assert read.labels == (ScoredLabel("b", 0.3),)


def test_a_taxonomys_paths_are_renamed_in_both_parts() -> None:
    item = {"from_name": "missed", "value": {"taxonomy": [["joy", "joy:high"], ["fear", "fear:low"]]}}
    (made,) = renamed_result([item], {"joy:high": "delight:high", "joy:low": "delight:low"})
    assert made["value"]["taxonomy"] == [["delight", "delight:high"], ["fear", "fear:low"]]


def test_what_was_shown_comes_from_the_snapshot_only_where_the_result_lacks_it() -> None:
    own = wire.coder_result(BOOK, candidates("a"), ReviewForm.KEEP)
    snapshot = wire.review_prediction(BOOK, candidates("b"), ReviewForm.KEEP)["result"]
    assert with_shown(own, snapshot) == own
    shown = shown_in(with_shown([item for item in own if item["from_name"] != "shown"], snapshot))
    assert shown is not None
    assert [one.label for one in shown.candidates] == ["b"]
