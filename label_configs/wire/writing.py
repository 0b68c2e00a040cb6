"""Records to Label Studio's JSON: task data, predictions, and what a coder submits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from typing import Any

from label_configs.codebook import Codebook, Kind
from label_configs.codes import LEVEL_MARK
from label_configs.errors import WireError
from label_configs.forms import (
    ARMS,
    CANDIDATES_KEY,
    CONTROLS,
    FLAG_NAME,
    MISSING,
    SHOWN_NAME,
    TEXT_NAME,
    UNSURE,
    ReviewForm,
)
from label_configs.literal import to_literal
from label_configs.records import Arm, Candidate, CandidateSet, Document, Proposal
from label_configs.wire.shown import PROPOSAL_KEY, candidates_to_text, proposal_to_json
from label_configs.wire.slots import empty_slots, slot_data, slot_name, slots

JsonObject = dict[str, Any]


def task_data(document: Document, *, text_key: str = "text", form: ReviewForm) -> JsonObject:
    """The ``data`` of a task to import. It has no candidates yet, but every key that the form draws on."""
    data: JsonObject = {text_key: document.text, "document_id": document.id}
    if document.repeat:
        data["repeat"] = document.repeat
    if CONTROLS[form].candidates:
        data[CANDIDATES_KEY] = empty_slots() if form is ReviewForm.GRADED else []
    return data


def candidate_data(
    codebook: Codebook, candidate_set: CandidateSet, form: ReviewForm, *, show_sources: bool = True
) -> JsonObject:
    """The keys of the task's data that the form draws on: name and definition of each candidate, and who proposed it.

    Empty for the forms that draw on none. ``show_sources`` False leaves the sources out, for coders who should judge
    without them.
    """
    if CONTROLS[form].candidates is None:
        return {}
    if form is ReviewForm.GRADED:
        return {CANDIDATES_KEY: slot_data(codebook, candidate_set, show_sources=show_sources)}
    return {CANDIDATES_KEY: [_candidate_choice(codebook, one, show_sources) for one in candidate_set.candidates]}


def _candidate_choice(codebook: Codebook, candidate: Candidate, show_sources: bool) -> JsonObject:
    label = codebook.label(candidate.label)
    definition = codebook.code(label.code).definition
    shown = [f'<b class="winnow-name">{escape(label.name)}</b>']
    if show_sources:
        shown += [
            f'<span class="winnow-who">{escape(by.source)} {by.probability:.0%}</span>' for by in candidate.proposers
        ]
    shown.append(f'<span class="winnow-definition">{escape(definition)}</span>')
    return {"value": to_literal(label.name), "alias": label.key, "html": " ".join(shown), "hint": definition}


def review_prediction(
    codebook: Codebook, candidate_set: CandidateSet, form: ReviewForm, *, score: float | None = None
) -> JsonObject:
    """The prediction that a coder starts from, with the record of what is shown.

    In an arm without candidates it flags ``missing``, so that the whole codebook shows. Uncertainty sampling serves the
    lowest ``score`` in [0, 1] first; None is the probability of the most probable candidate, 0 without candidates.
    """
    result = [_ticks(form, name, labels) for name, labels in at_first(codebook, candidate_set, form).items()]
    result.append(_shown(candidate_set))
    if score is None:
        score = max((candidate.probability for candidate in candidate_set.candidates), default=0.0)
    return {"result": result, "score": _score(score), "model_version": candidate_set.version}


def source_prediction(codebook: Codebook, proposal: Proposal, form: ReviewForm) -> JsonObject:
    """One source's own prediction: its most probable label, and the whole proposal in the result's ``meta``.

    Raises WireError when the proposal has no labels.
    """
    if not proposal.labels:
        raise WireError(f"source {proposal.source}: proposed nothing for {proposal.document_id}; send no prediction")
    best = max(proposal.labels, key=lambda scored: scored.probability)
    item = _ticks(form, CONTROLS[form].codebook, [codebook.label(best.label).key])
    item["meta"] = {PROPOSAL_KEY: proposal_to_json(proposal)}
    return {"result": [item], "score": _score(best.probability), "model_version": proposal.version}


def coder_result(
    codebook: Codebook,
    candidate_set: CandidateSet,
    form: ReviewForm,
    *,
    rejected: Collection[str] = (),
    missed: Sequence[str] = (),
    unsure: bool = False,
) -> list[JsonObject]:
    """The ``result`` that the page submits when a coder rejects, adds and flags as said.

    Where exactly one code may hold, the first of ``missed`` is the code that the coder chooses instead; only one may be
    given. Raises WireError for labels that could not be rejected or added.
    """
    shown = [candidate.label for candidate in candidate_set.candidates]
    _check_coder(codebook, form, shown, rejected, missed)
    kept = [label for label in shown if label not in rejected]
    controls = CONTROLS[form]
    chosen: dict[str, list[str]] = {}
    opened = bool(missed) or candidate_set.arm is not Arm.REVIEW
    flags = [flag for flag, is_set in ((MISSING, opened), (UNSURE, unsure)) if is_set and flag in controls.flags]
    if form is ReviewForm.KEEP:
        chosen["keep"] = kept
        chosen["missed"] = list(missed)
    elif form is ReviewForm.GRADED:
        chosen, missed = _graded(codebook, candidate_set, kept, missed)
        flags = [flag for flag in flags if flag != MISSING or missed or candidate_set.arm is not Arm.REVIEW]
    elif form is ReviewForm.REJECT:
        chosen["reject"] = [label for label in shown if label in rejected]
        chosen["replacement"] = list(missed)
    else:
        exclusive = codebook.kind is Kind.EXCLUSIVE
        chosen["codes"] = [*missed, *kept][:1] if exclusive else [*kept, *missed]
    chosen[FLAG_NAME] = flags
    as_shown = at_first(codebook, candidate_set, form)
    result = []
    for name, labels in chosen.items():
        if labels:
            before = as_shown.get(name, [])
            origin = "prediction" if labels == before else "prediction-changed" if before else "manual"
            result.append({**_ticks(form, name, labels), "origin": origin})
    return [*result, {**_shown(candidate_set), "origin": "prediction"}]


def at_first(codebook: Codebook, candidate_set: CandidateSet, form: ReviewForm) -> dict[str, list[str]]:
    """Control -> what the review prediction ticks there; controls without a tick are left out."""
    controls = CONTROLS[form]
    if candidate_set.arm is not Arm.REVIEW or form in ARMS:
        return {FLAG_NAME: [MISSING]} if MISSING in controls.flags else {}
    if form is ReviewForm.GRADED:
        firsts = [candidates[0].label for candidates in slots(codebook, candidate_set).values()]
        return {slot_name(number): [label] for number, label in enumerate(firsts)}
    ticked = _ticked(codebook, candidate_set, form)
    return {controls.candidates or controls.codebook: ticked} if ticked else {}


def _ticked(codebook: Codebook, candidate_set: CandidateSet, form: ReviewForm) -> list[str]:
    """All candidates, or in the whole codebook what may hold together."""
    labels = [candidate.label for candidate in candidate_set.candidates]
    if form is ReviewForm.REJECT:
        return []
    if form is ReviewForm.KEEP:
        return labels
    if codebook.kind is Kind.EXCLUSIVE:
        return labels[:1]
    if codebook.kind is Kind.GRADED:
        by_code: dict[str, str] = {}
        for label in labels:
            by_code.setdefault(codebook.label(label).code, label)
        return list(by_code.values())
    return labels[: codebook.max_codes]


def _graded(
    codebook: Codebook, candidate_set: CandidateSet, kept: Sequence[str], missed: Sequence[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """What is ticked in the form graded: a level corrected where its code is a candidate, the rest in the codebook.

    Returns the ticks, and of ``missed`` what needed the whole codebook.
    """
    chosen: dict[str, list[str]] = {}
    left = list(missed)
    for number, code in enumerate(slots(codebook, candidate_set)):
        here = [label for label in (*kept, *left) if codebook.label(label).code == code]
        if len(here) > 1:
            raise WireError(f"coder: cannot keep {', '.join(here)}; one code has one level in form graded")
        chosen[slot_name(number)] = here
        left = [label for label in left if label not in here]
    return {**chosen, CONTROLS[ReviewForm.GRADED].codebook: left}, left


def _check_coder(
    codebook: Codebook, form: ReviewForm, shown: Sequence[str], rejected: Iterable[str], missed: Sequence[str]
) -> None:
    if unknown := [label for label in rejected if label not in shown]:
        raise WireError(f"coder: cannot reject {', '.join(unknown)}; the candidates are {', '.join(shown) or 'none'}")
    if unknown := [label for label in missed if label not in codebook.label_keys]:
        raise WireError(f"coder: cannot add {', '.join(unknown)}; codebook {codebook.name} has no such label")
    if codebook.kind is Kind.EXCLUSIVE and len(missed) > 1:
        raise WireError(f"coder: cannot add {', '.join(missed)}; exactly one code may hold in form {form}")


def _ticks(form: ReviewForm, name: str, labels: Sequence[str]) -> JsonObject:
    item: JsonObject = {"from_name": name, "to_name": TEXT_NAME}
    if form is ReviewForm.GRADED and name == CONTROLS[form].codebook:
        return {**item, "type": "taxonomy", "value": {"taxonomy": [_path(label) for label in labels]}}
    return {**item, "type": "choices", "value": {"choices": list(labels)}}


def _path(label: str) -> list[str]:
    return [label.partition(LEVEL_MARK)[0], label]


def _shown(candidate_set: CandidateSet) -> JsonObject:
    value = {"text": [candidates_to_text(candidate_set)]}
    return {"from_name": SHOWN_NAME, "to_name": TEXT_NAME, "type": "textarea", "value": value}


def _score(probability: float) -> float:
    # Rounding in softmax may leave [0, 1] by an ulp, which Label Studio would store without a word.
    return min(1.0, max(0.0, float(probability)))
