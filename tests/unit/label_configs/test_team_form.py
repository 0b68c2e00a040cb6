"""A team's own label config: what is understood, what is refused, and results in its names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import CodebookError, LabelConfigError, WireError
from label_configs.forms import ReviewForm, forms_of
from label_configs.read_config import read_label_config
from label_configs.records import Candidate, CandidateSet, Decision, Proposal, Proposer, ScoredLabel
from label_configs.render import render_label_config
from label_configs.team_form import (
    TeamForm,
    check_team_config,
    dump_team_form,
    load_team_form,
    team_form,
    with_record,
)
from label_configs.wire import decisions, prediction_to_team, review_prediction, source_prediction
from label_configs.wire.team import from_team, renamed_in_team, to_team

THEIRS = """<View>
  <!-- ours since 2021 -->
  <Text name="doc" value="$body"/>
  <Choices name="topic" toName="doc" choice="multiple">
    <Choice value="Politics"/>
    <Choice value="Law &amp; order" alias="LAW"/>
    <Choice value="Sport"/>
  </Choices>
  <TextArea name="remarks" toName="doc"/>
  <Rating name="quality" toName="doc"/>
</View>
"""
BOOK = Codebook(
    "topics",
    Kind.MULTILABEL,
    (
        Code("pol", "Politics", "Parties and elections", "politics"),
        Code("LAW", "Courts", "Courts and police", "law"),
        Code("sport", "Sport", "Games", "sport"),
    ),
)
TEAM = TeamForm("doc", "topic", {"pol": "Politics", "LAW": "LAW", "sport": "Sport"})
SHOWN = CandidateSet(
    "d1",
    "winnow-review-1",
    tuple(Candidate(key, 0.5, (Proposer("words", "words/fake@base", 0.5, 1),)) for key in ("pol", "sport")),
)


def exported(result: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": 7, "data": {"body": "x", "document_id": "d1"}, "annotations": [{"id": 1, "result": result}]}


def decide(result: list[dict[str, Any]], codebook: Codebook = BOOK) -> Decision:
    [decision] = decisions(exported(result), codebook, ReviewForm.WHOLE, text_key="body", team=TEAM)
    return decision


def topics(*values: str) -> dict[str, Any]:
    return {"from_name": "topic", "to_name": "doc", "type": "choices", "value": {"choices": list(values)}}


REMARK = {"from_name": "remarks", "to_name": "doc", "type": "textarea", "value": {"text": ["Sport"]}}
STARS = {"from_name": "quality", "to_name": "doc", "type": "rating", "value": {"rating": 4}}


def test_choices_are_the_codes_of_their_key_else_of_their_name() -> None:
    assert team_form(read_label_config(THEIRS), BOOK) == TEAM
    made_of_it = read_label_config(THEIRS).codebook
    assert made_of_it.label_keys == ("Politics", "LAW", "Sport")
    assert team_form(read_label_config(THEIRS), made_of_it).values == {
        "Politics": "Politics",
        "LAW": "LAW",
        "Sport": "Sport",
    }


def test_names_are_kept_in_a_file(tmp_path: Path) -> None:
    odd = replace(TEAM, values={"yes": "Yes", "1": "1", "0E0": "null", "long": "x " * 200 + "é: #"})
    (tmp_path / "team.yaml").write_text(dump_team_form(odd), encoding="utf-8")
    assert load_team_form(tmp_path / "team.yaml") == odd


def test_a_record_is_added_and_all_else_is_as_it_was() -> None:
    added = with_record(THEIRS)
    [line] = [line for line in added.splitlines() if line not in THEIRS.splitlines()]
    assert line.strip() == (
        '<View className="winnow-record" style="display:none"><TextArea name="shown" toName="doc"/></View>'
    )
    assert added.replace(f"{line}\n", "") == THEIRS
    assert with_record(added) == added
    assert check_team_config(added, BOOK) == TEAM
    with pytest.raises(LabelConfigError, match="lacks the hidden TextArea 'shown'"):
        check_team_config(THEIRS, BOOK)


def test_what_it_is_called_does_not_make_it_winnows() -> None:
    alike = with_record(THEIRS.replace('"doc"', '"text"').replace('"topic"', '"codes"'))
    assert read_label_config(alike).form is None
    for form in forms_of(BOOK):
        with pytest.raises(LabelConfigError, match=f"is Winnow's form {form}, no team's own"):
            check_team_config(render_label_config(BOOK, form), BOOK)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('choice="multiple"', 'choice="single-radio"', "Choices 'topic' is exclusive, codebook topics multilabel; say"),
        ('value="Politics"', 'value="Policy"', "lacks the codes pol and has the choices Policy that the codebook has"),
        ("<Choice value=\"Sport\"/>", "", "lacks the codes sport; give each choice a code with the same name"),
        ('choice="multiple"', 'visibleWhen="region-selected"', "Choices 'topic' shows under a condition"),
        ('value="$body"', 'value="$body" valueType="url"', "Text 'doc' shows what is at an address; put the texts"),
        ('choice="multiple"', 'value="$more"', "Choices 'topic' takes choices from the task too; leave"),
        ('choice="multiple"', 'perRegion="true"', "it asks by Choices 'topic' for regions; Winnow proposes"),
        ("Choices", "Taxonomy", "has no Choices for the text, it asks by Taxonomy 'topic'; Winnow proposes"),
        ('"Sport"/>', '"Sport"><Choice value="Golf"/></Choice>', "Choices 'topic' are nested; make them a flat list"),
        ("<Rating", '<Choices name="b" toName="doc"><Choice value="a"/></Choices><Rating', "has several Choices for"),
        ('name="remarks"', 'name="shown"', "has a control 'shown', the name of Winnow's record"),
        ("</View>\n", "</View>\n<!-- </View> -->", "ends in a comment with a tag; remove the comment"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_told(old: str, new: str, told: str) -> None:
    xml = THEIRS.replace(old, new)
    assert xml != THEIRS
    with pytest.raises((LabelConfigError, CodebookError)) as caught:
        team_form(read_label_config(with_record(xml)), BOOK)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_condition_or_a_repeater_around_the_choices_is_told() -> None:
    for around, told in (('View visibleWhen="x"', "shows under a condition"), ('Repeater on="$x"', "is in a Repeater")):
        xml = THEIRS.replace("<Choices", f"<{around}><Choices").replace(
            "</Choices>", f"</Choices></{around.split()[0]}>"
        )
        with pytest.raises(LabelConfigError, match=told):
            team_form(read_label_config(xml), BOOK)


def test_predictions_are_in_the_teams_names() -> None:
    made = prediction_to_team(review_prediction(BOOK, SHOWN, ReviewForm.WHOLE), TEAM)
    ticked, record = made["result"]
    assert ticked == topics("Politics", "Sport")
    assert (record["from_name"], record["to_name"], record["type"]) == ("shown", "doc", "textarea")
    proposal = Proposal("d1", "words", "words/fake@base", (ScoredLabel("pol", 0.5),))
    [own] = prediction_to_team(source_prediction(BOOK, proposal, ReviewForm.WHOLE), TEAM)["result"]
    assert own["value"] == {"choices": ["Politics"]}
    with pytest.raises(WireError, match="has no choice for sport; run `winnow init` again"):
        to_team(review_prediction(BOOK, SHOWN, ReviewForm.WHOLE)["result"], replace(TEAM, values={"pol": "Politics"}))


def test_results_in_the_teams_names_are_decisions() -> None:
    _, record = prediction_to_team(review_prediction(BOOK, SHOWN, ReviewForm.WHOLE), TEAM)["result"]
    reviewed = decide([topics("Politics", "LAW"), REMARK, STARS, record])
    assert (reviewed.kept, reviewed.rejected, reviewed.missed) == (("pol",), ("sport",), ("LAW",))
    assert reviewed.verified
    assert not reviewed.untouched
    assert reviewed.shown == SHOWN
    assert decide([topics("Politics", "Sport"), REMARK, record]).untouched

    old = decide([topics("Sport"), REMARK, STARS])
    assert (old.kept, old.missed, old.verified, old.shown) == ((), ("sport",), True, None)
    gone = decide([topics("Sport", "Weather")])
    assert gone.unresolved == "Weather: not in codebook topics"
    exclusive = replace(BOOK, kind=Kind.EXCLUSIVE)
    assert decide([REMARK], exclusive).unresolved == "no code holds where exactly one does"


def test_there_and_back_is_the_same() -> None:
    result = review_prediction(BOOK, SHOWN, ReviewForm.WHOLE)["result"]
    assert from_team(to_team(result, TEAM), TEAM) == result


def test_codes_get_other_keys_and_choices_other_values() -> None:
    result = [topics("Politics", "Sport"), REMARK, STARS]
    record = prediction_to_team(review_prediction(BOOK, SHOWN, ReviewForm.WHOLE), TEAM)["result"][1]
    keyed = replace(TEAM, values={"policy": "Politics", "LAW": "LAW", "sport": "Sport"})
    made = renamed_in_team([*result, record], {"pol": "policy"}, TEAM, keyed)
    assert made[:3] == result, "the choice is called what it was"
    assert '["policy",' in made[3]["value"]["text"][0]
    assert renamed_in_team(made, {"pol": "policy"}, keyed, keyed) == made
    valued = replace(TEAM, values={"policy": "Policy", "LAW": "LAW", "sport": "Sport"})
    moved = renamed_in_team(result, {"pol": "policy"}, TEAM, valued)
    assert moved == [topics("Policy", "Sport"), REMARK, STARS]
    assert renamed_in_team(moved, {"pol": "policy"}, TEAM, valued) == moved
