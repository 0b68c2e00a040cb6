"""The form graded: one control for each code among the candidates, with the code's levels as its choices."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from label_configs.codebook import Codebook, Label
from label_configs.errors import WireError
from label_configs.forms import CONTROLS, SLOTS, ReviewForm
from label_configs.records import Candidate, CandidateSet

_COLUMNS = ("1qaz", "2wsx", "3edc", "4fv", "5tg", "6yb", "7jp", "8ik", "9ol")
"""A code's keys lie below each other on the keyboard: the digit is its proposed level's, the letters the others'.

Label Studio's own keys (r, u, h) and the flags' (m, n) are left out. What has none here gets the next free key.
"""


def slots(codebook: Codebook, candidate_set: CandidateSet) -> dict[str, list[Candidate]]:
    """The candidates of each code, in the order shown; the first of a code is the one that is ticked."""
    by_code: dict[str, list[Candidate]] = {}
    for candidate in candidate_set.candidates:
        by_code.setdefault(codebook.label(candidate.label).code, []).append(candidate)
    return by_code


def slot_name(number: int) -> str:
    """Name of the control of the code with this number, from 0."""
    return f"{CONTROLS[ReviewForm.GRADED].candidates}{number}"


def is_slot(name: str) -> bool:
    """Whether a control is one of ``slot_name``."""
    prefix = CONTROLS[ReviewForm.GRADED].candidates or ""
    return name.startswith(prefix) and name.removeprefix(prefix).isdecimal()


def slot_data(codebook: Codebook, candidate_set: CandidateSet, *, show_sources: bool) -> list[dict[str, Any]]:
    """What the task's data says of each slot: its code's name and definition, and the levels with who proposed them.

    Raises WireError when there are more codes than slots.
    """
    by_code = slots(codebook, candidate_set)
    if len(by_code) > SLOTS:
        raise WireError(
            f"document {candidate_set.document_id}: has {len(by_code)} codes as candidates where form graded shows "
            f"{SLOTS}; set candidates.max to {SLOTS} or less"
        )
    filled = [
        {
            "name": codebook.code(code).name,
            "definition": codebook.code(code).definition,
            "levels": list(_levels(codebook, code, candidates, number, show_sources)),
        }
        for number, (code, candidates) in enumerate(by_code.items())
    ]
    return filled + empty_slots()[len(filled) :]


def empty_slots() -> list[dict[str, Any]]:
    """What the task's data says before there are candidates: the page cannot submit a slot without a list."""
    return [{"name": "", "definition": "", "levels": []} for _ in range(SLOTS)]


def _levels(
    codebook: Codebook, code: str, candidates: list[Candidate], number: int, show_sources: bool
) -> Iterator[dict[str, Any]]:
    keys = list(_COLUMNS[number]) if number < len(_COLUMNS) else []
    labels = [label for label in codebook.labels if label.code == code]
    # The digit first, to the level that is ticked, whichever of them that is.
    order = sorted(labels, key=lambda label: label.key != candidates[0].label)
    hotkeys = dict(zip((label.key for label in order), keys, strict=False))
    for label in labels:
        choice = {
            "value": label.level,
            "alias": label.key,
            "html": _html(label, candidates, show_sources),
            "hint": codebook.code(code).definition,
        }
        if label.key in hotkeys:
            choice["hotkey"] = hotkeys[label.key]
        yield choice


def _html(label: Label, candidates: list[Candidate], show_sources: bool) -> str:
    shown = [f'<span class="winnow-name">{escape(label.level or "")}</span>']
    proposers = [by for candidate in candidates if candidate.label == label.key for by in candidate.proposers]
    if show_sources:
        shown += [f'<span class="winnow-who">{escape(by.source)} {by.probability:.0%}</span>' for by in proposers]
    return " ".join(shown)
