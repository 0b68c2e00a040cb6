"""Codes that got another name: what of Label Studio's JSON names them, and the same under the new names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from label_configs.codes import LEVEL_MARK
from label_configs.forms import FLAG_NAME, SHOWN_NAME
from label_configs.records import Candidate, CandidateSet, Proposal, ScoredLabel
from label_configs.wire.shown import (
    PROPOSAL_KEY,
    candidates_from_text,
    candidates_to_text,
    proposal_from_json,
    proposal_to_json,
)

JsonObject = dict[str, Any]

_LISTS = ("choices", "taxonomy")


def renamed_result(result: list[JsonObject], names: Mapping[str, str]) -> list[JsonObject]:
    """A ``result`` under the new names: ticks, the record of what was shown, and a source's proposal.

    ``names`` maps label keys (see ``Codebook.labels``), to nothing where a label is dropped. Two labels that become one
    are one from then on.
    Equal to ``result`` where nothing is named; applied twice it is the same as once, given that no new name is an old
    one. Raises WireError for a damaged record.
    """
    made = [_renamed_item(item, names) for item in result]
    return [item for item, before in zip(made, result, strict=True) if not _emptied(item, before)]


def with_shown(result: list[JsonObject], snapshot: list[JsonObject]) -> list[JsonObject]:
    """The result with the record of what was shown, from the prediction's snapshot where the result has none."""
    if any(item.get("from_name") == SHOWN_NAME for item in result):
        return result
    return [*result, *(item for item in snapshot if item.get("from_name") == SHOWN_NAME)]


def shown_in(result: list[JsonObject]) -> CandidateSet | None:
    """The record of what was shown in a result, None where it has none."""
    for item in reversed(result):
        texts = (item.get("value") or {}).get("text")
        if item.get("from_name") == SHOWN_NAME and texts:
            return candidates_from_text(texts if isinstance(texts, str) else str(texts[-1]))
    return None


def renamed_candidates(candidate_set: CandidateSet, names: Mapping[str, str]) -> CandidateSet:
    """The candidates under the new names. Of two that become one the first stands, with the proposers of both."""
    merged: dict[str, Candidate] = {}
    for candidate in candidate_set.candidates:
        label = names.get(candidate.label, candidate.label)
        if not label:
            continue
        if (first := merged.get(label)) is None:
            merged[label] = replace(candidate, label=label)
        else:
            known = {by.source for by in first.proposers}
            others = tuple(by for by in candidate.proposers if by.source not in known)
            merged[label] = replace(first, proposers=first.proposers + others)
    return replace(candidate_set, candidates=tuple(merged.values()))


def renamed_proposal(proposal: Proposal, names: Mapping[str, str]) -> Proposal:
    """The proposal under the new names. Labels that become one have the larger of their probabilities."""
    merged: dict[str, float] = {}
    for scored in proposal.labels:
        label = names.get(scored.label, scored.label)
        merged[label] = max(merged.get(label, 0.0), scored.probability)
    merged.pop("", None)
    labels = sorted(merged.items(), key=lambda pair: -pair[1])
    return replace(proposal, labels=tuple(ScoredLabel(*pair) for pair in labels))


def _renamed_item(item: JsonObject, names: Mapping[str, str]) -> JsonObject:
    value, meta = item.get("value"), item.get("meta")
    made = dict(item)
    if isinstance(value, dict) and item.get("from_name") != FLAG_NAME:
        changed = {key: _renamed_list(value[key], names) for key in _LISTS if isinstance(value.get(key), list)}
        if item.get("from_name") == SHOWN_NAME and (texts := value.get("text")):
            text = texts if isinstance(texts, str) else str(texts[-1])
            before = candidates_from_text(text)
            after = renamed_candidates(before, names)
            if after != before:
                changed["text"] = [candidates_to_text(after)]
        made["value"] = value | changed
    if isinstance(meta, dict) and PROPOSAL_KEY in meta:
        proposal = proposal_from_json(meta[PROPOSAL_KEY])
        if any(scored.label in names for scored in proposal.labels):
            proposal = renamed_proposal(proposal, names)
            made["meta"] = meta | {PROPOSAL_KEY: proposal_to_json(proposal)}
            if made.get("value", {}).get("choices") == [] and proposal.labels:
                made["value"] = {**made["value"], "choices": [proposal.labels[0].label]}
    return made


def _renamed_list(values: Iterable[Any], names: Mapping[str, str]) -> list[Any]:
    """Label keys, or a taxonomy's paths of code and label key, under the new names, each once."""
    codes = {old.partition(LEVEL_MARK)[0]: new.partition(LEVEL_MARK)[0] for old, new in names.items()}
    made: list[Any] = []
    for value in values:
        if isinstance(value, list):
            new: Any = [codes.get(part, part) if LEVEL_MARK not in part else names.get(part, part) for part in value]
        else:
            new = names.get(value, value)
        if new not in made and new and not (isinstance(new, list) and "" in new):
            made.append(new)
    return made


def _emptied(item: JsonObject, before: JsonObject) -> bool:
    """Whether all that an item ticked has been dropped; Label Studio has no item then."""
    return any(item["value"].get(key) == [] and before["value"].get(key) for key in _LISTS
               if isinstance(item.get("value"), dict))  # fmt: skip
