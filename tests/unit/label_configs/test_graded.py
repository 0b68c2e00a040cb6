"""The form graded on the wire: a slot for each code among the candidates, the whole codebook as a tree."""

from __future__ import annotations

from typing import Any

import pytest

from label_configs.codebook import Code, Codebook, Kind, load_codebook
from label_configs.errors import WireError
from label_configs.forms import SLOTS, ReviewForm
from label_configs.records import Arm, Candidate, CandidateSet, Decision, Document, Proposal, Proposer, ScoredLabel
from label_configs.wire import (
    candidate_data,
    coder_result,
    decisions,
    proposals,
    review_prediction,
    source_prediction,
    task_data,
    validate_prediction,
)

GRADED = ReviewForm.GRADED
FLOURISHING = load_codebook("flourishing")
DOCUMENT = Document("diary", "Today was a good day.", 7)


def candidates(*labels: str) -> CandidateSet:
    return CandidateSet(
        DOCUMENT.id,
        "candidates@1",
        tuple(Candidate(label, 0.5, (Proposer("smollm2", "smollm2/p@-", 0.5, 1),)) for label in labels),
    )


SHOWN = candidates("hope:high", "pain:low", "hope:low")


def slots(**levels: str) -> list[dict[str, Any]]:
    return [
        {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": [label]}}
        for name, label in levels.items()
    ]


def tree(*paths: list[str], kind: str = "taxonomy") -> dict[str, Any]:
    return {"from_name": "missed", "to_name": "text", "type": kind, "value": {kind: list(paths)}}


def decide(result: list[dict[str, Any]], shown: CandidateSet | None = SHOWN) -> Decision:
    record = review_prediction(FLOURISHING, shown, GRADED)["result"][-1:] if shown else []
    annotation = {"id": 1, "result": [*result, *record]}
    [made] = decisions({"id": 7, "data": {"text": "x"}, "annotations": [annotation]}, FLOURISHING, GRADED)
    return made


def test_a_task_has_every_slot_and_those_of_codes_are_filled() -> None:
    empty = task_data(DOCUMENT, form=GRADED)["candidates"]
    assert empty == [{"name": "", "definition": "", "levels": []}] * SLOTS
    drawn = candidate_data(FLOURISHING, SHOWN, GRADED)["candidates"]
    assert [slot["name"] for slot in drawn] == [FLOURISHING.code("hope").name, "Feeling pain"] + [""] * (SLOTS - 2)
    assert drawn[2:] == empty[2:]
    hope = drawn[0]["levels"]
    assert [(level["value"], level["alias"]) for level in hope] == [
        ("low", "hope:low"),
        ("medium", "hope:medium"),
        ("high", "hope:high"),
    ]
    assert ["smollm2" in level["html"] for level in hope] == [True, False, True]
    assert {level["hint"] for level in hope} == {FLOURISHING.code("hope").definition}
    anonymous = candidate_data(FLOURISHING, SHOWN, GRADED, show_sources=False)
    assert "smollm2" not in str(anonymous)


def test_the_number_rejects_and_the_letters_below_it_change_the_level() -> None:
    hope, pain, *_ = candidate_data(FLOURISHING, SHOWN, GRADED)["candidates"]
    assert {level["value"]: level["hotkey"] for level in hope["levels"]} == {"high": "1", "low": "q", "medium": "a"}
    assert {level["value"]: level["hotkey"] for level in pain["levels"]} == {"low": "2", "medium": "w", "high": "s"}


def test_no_key_is_given_twice_and_none_that_the_page_needs() -> None:
    full = candidates(*(f"{code.key}:low" for code in FLOURISHING.codes[:SLOTS]))
    drawn = candidate_data(FLOURISHING, full, GRADED)["candidates"]
    keys = [level["hotkey"] for slot in drawn for level in slot["levels"]]
    assert len(keys) == 3 * SLOTS
    assert len(set(keys)) == len(keys)
    assert not set(keys) & set("mnruh")


def test_more_codes_than_slots_are_refused() -> None:
    many = candidates(*(f"{code.key}:low" for code in FLOURISHING.codes[: SLOTS + 1]))
    with pytest.raises(
        WireError, match="document diary: has 10 codes as candidates where form graded shows 9; set cand"
    ):
        candidate_data(FLOURISHING, many, GRADED)


def test_the_first_level_of_each_code_is_ticked() -> None:
    prediction = review_prediction(FLOURISHING, SHOWN, GRADED)
    ticked = {item["from_name"]: item["value"].get("choices") for item in prediction["result"]}
    assert ticked == {"level_0": ["hope:high"], "level_1": ["pain:low"], "shown": None}
    validate_prediction(FLOURISHING, prediction, GRADED, SHOWN)


def test_submitted_as_shown_the_first_levels_are_kept() -> None:
    decision = decide(slots(level_0="hope:high", level_1="pain:low"))
    assert (decision.kept, decision.rejected, decision.missed) == (("hope:high", "pain:low"), ("hope:low",), ())
    assert decision.untouched
    assert decision.verified


def test_a_corrected_level_is_missed_and_an_unticked_code_rejected() -> None:
    decision = decide(slots(level_0="hope:medium"))
    assert (decision.kept, decision.rejected) == ((), ("hope:high", "pain:low", "hope:low"))
    assert decision.missed == ("hope:medium",)
    assert decision.verified
    other = decide(slots(level_0="hope:low"))
    assert (other.kept, other.missed) == (("hope:low",), ())
    nothing = decide([])
    assert (nothing.labels, nothing.rejected, nothing.verified) == ((), ("hope:high", "pain:low", "hope:low"), True)


@pytest.mark.parametrize(
    "added",
    [
        tree(["trust", "trust:low"], ["optimism", "optimism:high"]),
        tree(["trust", "low"], ["optimism", "high"]),
        tree("trust:low", "optimism:high", kind="choices"),  # type: ignore[arg-type]
    ],
)
def test_what_is_missing_comes_from_the_tree_or_an_import(added: dict[str, Any]) -> None:
    imported = decide([added], None)
    assert (set(imported.missed), imported.kept, imported.verified) == ({"trust:low", "optimism:high"}, (), True)
    flag = {"from_name": "flag", "to_name": "text", "type": "choices", "value": {"choices": ["missing"]}}
    decision = decide([*slots(level_0="hope:high"), flag, added])
    assert (set(decision.missed), decision.kept) == ({"trust:low", "optimism:high"}, ("hope:high",))
    assert decision.verified


def test_what_was_reviewed_in_the_form_keep_is_still_read() -> None:
    decision = decide(slots(keep="hope:low"))
    assert (decision.kept, decision.rejected) == (("hope:low",), ("hope:high", "pain:low"))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ([*slots(level_0="hope:high"), tree(["hope", "hope:low"])], "hope: several levels of one code"),
        ([tree(["hope", "hope:low"], ["hope", "hope:high"])], "hope: several levels of one code"),
        ([tree(["hope"])], "no level chosen for hope"),
        ([tree(["hope"], ["sport"])], "no level chosen for hope; sport: not in codebook flourishing"),
        ([tree(["sport", "sport:low"])], "sport:low: not in codebook flourishing"),
    ],
)
def test_what_cannot_hold_together_is_unresolved(result: list[dict[str, Any]], reason: str) -> None:
    decision = decide(result)
    assert decision.unresolved == reason
    assert not decision.verified


def test_a_coder_corrects_a_level_where_it_is_shown_and_adds_the_rest() -> None:
    result = coder_result(
        FLOURISHING, SHOWN, GRADED, rejected=["hope:high", "hope:low"], missed=["hope:medium", "trust:low"]
    )
    assert [(item["from_name"], item["value"], item["origin"]) for item in result[:-1]] == [
        ("level_0", {"choices": ["hope:medium"]}, "prediction-changed"),
        ("level_1", {"choices": ["pain:low"]}, "prediction"),
        ("missed", {"taxonomy": [["trust", "trust:low"]]}, "manual"),
        ("flag", {"choices": ["missing"]}, "manual"),
    ]
    decision = decide(result, None)
    assert (decision.kept, decision.missed) == (("pain:low",), ("hope:medium", "trust:low"))
    only_corrected = coder_result(
        FLOURISHING, SHOWN, GRADED, rejected=["hope:high", "hope:low"], missed=["hope:medium"]
    )
    assert [item["from_name"] for item in only_corrected] == ["level_0", "level_1", "shown"]
    with pytest.raises(
        WireError, match="coder: cannot keep hope:high, hope:low; one code has one level in form graded"
    ):
        coder_result(FLOURISHING, SHOWN, GRADED)


def test_in_an_arm_everything_comes_from_the_tree() -> None:
    shown = CandidateSet(DOCUMENT.id, "candidates@1", (), Arm.CHOOSE)
    result = coder_result(FLOURISHING, shown, GRADED, missed=["trust:low"])
    assert [item["from_name"] for item in result] == ["missed", "flag", "shown"]
    decision = decide(result, None)
    assert (decision.arm, decision.missed, decision.verified) == (Arm.CHOOSE, ("trust:low",), True)


def test_a_source_names_its_best_label_in_the_tree() -> None:
    proposal = Proposal(
        "diary", "smollm2", "smollm2/p@-", (ScoredLabel("trust:low", 0.7), ScoredLabel("trust:high", 0.3))
    )
    prediction = source_prediction(FLOURISHING, proposal, GRADED)
    assert prediction["result"][0]["value"] == {"taxonomy": [["trust", "trust:low"]]}
    validate_prediction(FLOURISHING, prediction, GRADED)
    assert proposals({"predictions": [{"id": 1, **prediction}]}) == [proposal]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (slots(level_2="trust:low"), "from_name: form graded has no control 'level_2', use one of"),
        (slots(level_0="pain:low"), "control level_0 has no choice pain:low"),
        ([tree(["trust", "trust:huge"])], "control missed has no choice trust:huge"),
        ([tree("trust:low", kind="choices")], "is not of type taxonomy"),  # type: ignore[arg-type]
        (
            [{**slots(level_0="hope:low")[0], "value": {"choices": ["hope:low", "hope:high"]}}],
            "control level_0 takes one choice, not 2",
        ),
    ],
)
def test_predictions_that_the_page_would_not_show(result: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(WireError) as caught:
        validate_prediction(FLOURISHING, {"score": 0.5, "model_version": "v", "result": result}, GRADED, SHOWN)
    assert message in str(caught.value)


def test_levels_without_a_key_of_their_own_are_left_to_label_studio() -> None:
    codes = tuple(Code(f"k{number}", f"N{number}", "d", f"w{number}") for number in range(SLOTS))
    five = Codebook("five", Kind.GRADED, codes, levels=("a", "b", "c", "d", "e"))
    drawn = candidate_data(five, candidates(*(f"k{number}:c" for number in range(SLOTS))), GRADED)["candidates"]
    for number, slot in enumerate(drawn, start=1):
        assert [level["value"] for level in slot["levels"]] == ["a", "b", "c", "d", "e"]
        assert slot["levels"][2]["hotkey"] == str(number)
        assert "hotkey" not in slot["levels"][4]
