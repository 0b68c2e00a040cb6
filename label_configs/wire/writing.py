"""Records to Label Studio's JSON: task data, predictions, and what a coder submits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from typing import Any

from label_configs.codebook import Codebook, Kind
from label_configs.errors import WireError
from label_configs.forms import CANDIDATES_KEY, CONTROLS, FLAG_NAME, MISSING, SHOWN_NAME, TEXT_NAME, UNSURE, ReviewForm
from label_configs.records import Candidate, CandidateSet, Document, Proposal
from label_configs.wire.shown import PROPOSAL_KEY, candidates_to_text, proposal_to_json

JsonObject = dict[str, Any]


def task_data(document: Document, *, text_key: str = "text") -> JsonObject:
    """The ``data`` of a task to import. It has no candidates yet, but the key that the forms keep and reject need."""
    return {text_key: document.text, "document_id": document.id, CANDIDATES_KEY: []}


def candidate_choices(
    codebook: Codebook, candidate_set: CandidateSet, *, show_sources: bool = True
) -> list[JsonObject]:
    """The value of the task's data key ``candidates``: name and definition of each, and who proposed it.

    ``show_sources`` False leaves the sources out, for coders who should judge without them.
    """
    return [_candidate_choice(codebook, candidate, show_sources) for candidate in candidate_set.candidates]


def _candidate_choice(codebook: Codebook, candidate: Candidate, show_sources: bool) -> JsonObject:
    label = codebook.label(candidate.label)
    definition = codebook.code(label.code).definition
    shown = [f'<b class="winnow-name">{escape(label.name)}</b>']
    if show_sources:
        shown += [
            f'<span class="winnow-who">{escape(by.source)} {by.probability:.0%}</span>' for by in candidate.proposers
        ]
    shown.append(f'<span class="winnow-definition">{escape(definition)}</span>')
    return {"value": label.name, "alias": label.key, "html": " ".join(shown), "hint": definition}


def review_prediction(codebook: Codebook, candidate_set: CandidateSet, form: ReviewForm) -> JsonObject:
    """The prediction that a coder starts from, with the record of what is shown.

    ``score`` is the probability of the most probable candidate, 0 without candidates: uncertainty sampling then serves
    first what the sources are least sure of.
    """
    controls = CONTROLS[form]
    result: list[JsonObject] = []
    if ticked := ticked_at_first(codebook, candidate_set, form):
        result.append(_choices(controls.candidates or controls.codebook, ticked))
    result.append(_shown(candidate_set))
    score = max((candidate.probability for candidate in candidate_set.candidates), default=0.0)
    return {"result": result, "score": _score(score), "model_version": candidate_set.version}


def source_prediction(codebook: Codebook, proposal: Proposal, form: ReviewForm) -> JsonObject:
    """One source's own prediction: its most probable label, and the whole proposal in the result's ``meta``.

    Raises WireError when the proposal has no labels.
    """
    if not proposal.labels:
        raise WireError(f"source {proposal.source}: proposed nothing for {proposal.document_id}; send no prediction")
    best = max(proposal.labels, key=lambda scored: scored.probability)
    item = _choices(CONTROLS[form].codebook, [codebook.label(best.label).key])
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
    flags = [flag for flag, is_set in ((MISSING, missed), (UNSURE, unsure)) if is_set and flag in controls.flags]
    if form is ReviewForm.KEEP:
        chosen["keep"] = kept
        chosen["missed"] = list(missed)
    elif form is ReviewForm.REJECT:
        chosen["reject"] = [label for label in shown if label in rejected]
        chosen["replacement"] = list(missed)
    else:
        exclusive = codebook.kind is Kind.EXCLUSIVE
        chosen["codes"] = [*missed, *kept][:1] if exclusive else [*kept, *missed]
    chosen[FLAG_NAME] = flags
    at_first = {(controls.candidates or controls.codebook): ticked_at_first(codebook, candidate_set, form)}
    result = []
    for name, labels in chosen.items():
        if labels:
            before = at_first.get(name, [])
            origin = "prediction" if labels == before else "prediction-changed" if before else "manual"
            result.append({**_choices(name, labels), "origin": origin})
    return [*result, {**_shown(candidate_set), "origin": "prediction"}]


def ticked_at_first(codebook: Codebook, candidate_set: CandidateSet, form: ReviewForm) -> list[str]:
    """The labels that the review prediction ticks: all candidates, or in the whole codebook what may hold together."""
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


def _check_coder(
    codebook: Codebook, form: ReviewForm, shown: Sequence[str], rejected: Iterable[str], missed: Sequence[str]
) -> None:
    if unknown := [label for label in rejected if label not in shown]:
        raise WireError(f"coder: cannot reject {', '.join(unknown)}; the candidates are {', '.join(shown) or 'none'}")
    if unknown := [label for label in missed if label not in codebook.label_keys]:
        raise WireError(f"coder: cannot add {', '.join(unknown)}; codebook {codebook.name} has no such label")
    if codebook.kind is Kind.EXCLUSIVE and len(missed) > 1:
        raise WireError(f"coder: cannot add {', '.join(missed)}; exactly one code may hold in form {form}")


def _choices(name: str, labels: Sequence[str]) -> JsonObject:
    return {"from_name": name, "to_name": TEXT_NAME, "type": "choices", "value": {"choices": list(labels)}}


def _shown(candidate_set: CandidateSet) -> JsonObject:
    value = {"text": [candidates_to_text(candidate_set)]}
    return {"from_name": SHOWN_NAME, "to_name": TEXT_NAME, "type": "textarea", "value": value}


def _score(probability: float) -> float:
    # Rounding in softmax may leave [0, 1] by an ulp, which Label Studio would store without a word.
    return min(1.0, max(0.0, float(probability)))
