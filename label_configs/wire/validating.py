"""What Label Studio accepts without a word and a coder would never see: refused before it is sent."""

from __future__ import annotations

import math
from typing import Any

from label_configs.codebook import Codebook, Kind
from label_configs.errors import WireError
from label_configs.forms import CONTROLS, FLAG_NAME, SHOWN_NAME, TEXT_NAME, ReviewForm
from label_configs.records import CandidateSet
from label_configs.wire.shown import candidates_from_text
from label_configs.wire.slots import is_slot, slot_name, slots


def validate_prediction(
    codebook: Codebook, prediction: dict[str, Any], form: ReviewForm, candidates: CandidateSet | None = None
) -> None:
    """Raises WireError, with all that is wrong, when a prediction does not fit the form's label config.

    ``candidates`` are the choices of the task's candidate control; without them any label of the codebook is taken.
    """
    told = []
    score = prediction.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1 or math.isnan(score):
        told.append(f"score: {score!r} is not a number from 0 to 1")
    version = prediction.get("model_version")
    if not isinstance(version, str) or not version:
        told.append(f"model_version: {version!r} is not a version, give the source's or the candidates'")
    result = prediction.get("result")
    if not isinstance(result, list):
        told.append("result: is not a list, Label Studio would lose the whole batch")
    else:
        for index, item in enumerate(result):
            told += [f"result.{index}: {problem}" for problem in _problems_of_item(codebook, item, form, candidates)]
        names = [item.get("from_name") for item in result if isinstance(item, dict)]
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        told += [f"result: has control {name} twice, only the last would show" for name in twice]
    if told:
        raise WireError(f"prediction: {'; '.join(told)}")


def _problems_of_item(codebook: Codebook, item: Any, form: ReviewForm, candidates: CandidateSet | None) -> list[str]:
    controls = CONTROLS[form]
    if not isinstance(item, dict):
        return ["is not an object"]
    name, value = item.get("from_name"), item.get("value")
    told = []
    if item.get("to_name") != TEXT_NAME:
        told.append(f"to_name: {item.get('to_name')!r} is not '{TEXT_NAME}'")
    if name == SHOWN_NAME:
        return told + _problems_of_shown(item.get("type"), value)
    choices: dict[Any, tuple[str, ...]] = {controls.codebook: codebook.label_keys, FLAG_NAME: controls.flags}
    if form is ReviewForm.GRADED:
        choices |= _slot_choices(codebook, name, candidates)
    elif controls.candidates:
        among = codebook.label_keys if candidates is None else tuple(one.label for one in candidates.candidates)
        choices[controls.candidates] = among
    if name not in choices:
        return [*told, f"from_name: form {form} has no control {name!r}, use one of {', '.join(map(str, choices))}"]
    kind = "taxonomy" if form is ReviewForm.GRADED and name == controls.codebook else "choices"
    labels = value.get(kind) if isinstance(value, dict) else None
    if item.get("type") != kind or not isinstance(labels, list):
        return [*told, f"is not of type {kind} with a list of choices"]
    if kind == "taxonomy":
        labels = [path[-1] if isinstance(path, list) and path else path for path in labels]
    if unknown := [str(label) for label in labels if label not in choices[name]]:
        told.append(f"control {name} has no choice {', '.join(unknown)}, the coder would not see it")
    single = codebook.kind is Kind.EXCLUSIVE if name == controls.codebook else is_slot(str(name))
    if single and len(labels) > 1:
        told.append(f"control {name} takes one choice, not {len(labels)}")
    return told


def _slot_choices(codebook: Codebook, name: Any, candidates: CandidateSet | None) -> dict[Any, tuple[str, ...]]:
    """The controls of the form graded with their choices: the levels of one code each."""
    if candidates is None:
        return {name: codebook.label_keys} if is_slot(str(name)) else {}
    return {
        slot_name(number): tuple(label.key for label in codebook.labels if label.code == code)
        for number, code in enumerate(slots(codebook, candidates))
    }


def _problems_of_shown(kind: Any, value: Any) -> list[str]:
    texts = value.get("text") if isinstance(value, dict) else None
    if kind != "textarea" or not isinstance(texts, list) or len(texts) != 1:
        return ["is not of type textarea with one text"]
    try:
        candidates_from_text(str(texts[0]))
    except WireError as problem:
        return [str(problem)]
    return []
