"""Results in a team's own label config to results in Winnow's names, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from label_configs.errors import WireError
from label_configs.forms import CONTROLS, SHOWN_NAME, TEXT_NAME, ReviewForm
from label_configs.team_form import TeamForm
from label_configs.wire.renaming import renamed_result

JsonObject = dict[str, Any]

_CODES = CONTROLS[ReviewForm.WHOLE].codebook


def from_team(result: list[JsonObject], team: TeamForm) -> list[JsonObject]:
    """A result as the form ``whole`` would have it; what other controls of the team's say is left out.

    A choice that the config no longer has keeps its value, so that the decision names it.
    """
    keys = {value: key for key, value in team.values.items()}
    return [made for item in result if (made := _from_team(item, team, keys)) is not None]


def to_team(result: list[JsonObject], team: TeamForm) -> list[JsonObject]:
    """A result of the form ``whole`` as the team's label config has it; raises WireError for a label it lacks."""
    return [_to_team(item, team, strict=True) for item in result]


def prediction_to_team(prediction: JsonObject, team: TeamForm | None) -> JsonObject:
    """A prediction as the project's label config has it: itself where that is Winnow's."""
    return prediction if team is None else {**prediction, "result": to_team(prediction["result"], team)}


def renamed_in_team(
    result: list[JsonObject], names: Mapping[str, str], before: TeamForm, after: TeamForm
) -> list[JsonObject]:
    """A result under the new names (see ``renamed_result``), choices from ``before`` as ``after`` has them.

    What other controls of the team's say stays.
    """
    keys = {value: key for form in (before, after) for key, value in form.values.items()}
    made: list[JsonObject] = []
    for item in result:
        read = _from_team(item, before, keys)
        if read is None:
            made.append(item)
        else:
            made += [_to_team(one, after, strict=False) for one in renamed_result([read], names)]
    return made


def _from_team(item: JsonObject, team: TeamForm, keys: Mapping[str, str]) -> JsonObject | None:
    if item.get("from_name") == SHOWN_NAME:
        return {**item, "to_name": TEXT_NAME}
    value = item.get("value")
    if item.get("from_name") != team.choices_name or not isinstance(value, dict):
        return None
    choices = value.get("choices")
    if isinstance(choices, list):
        # Not nested: a path, as Label Studio writes some, has one part.
        parts = [one[-1] if isinstance(one, list) and one else one for one in choices]
        value = {**value, "choices": [keys.get(str(one), one) for one in parts]}
    return {**item, "from_name": _CODES, "to_name": TEXT_NAME, "value": value}


def _to_team(item: JsonObject, team: TeamForm, *, strict: bool) -> JsonObject:
    if item.get("from_name") == SHOWN_NAME:
        return {**item, "to_name": team.text_name}
    value = item.get("value")
    if item.get("from_name") == _CODES and isinstance(value, dict) and isinstance(value.get("choices"), list):
        unknown = [str(key) for key in value["choices"] if key not in team.values]
        if unknown and strict:
            raise WireError(f"label config: has no choice for {', '.join(unknown)}; run `winnow init` again")
        value = {**value, "choices": [team.values.get(key, key) for key in value["choices"]]}
    elif strict:
        raise WireError(f"label config: the team's own has no control {item.get('from_name')}; run `winnow init` again")
    return {**item, "from_name": team.choices_name, "to_name": team.text_name, "value": value}
