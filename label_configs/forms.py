"""The three review forms, and the names of their controls: what the label config and the results agree on.

    form      candidates  whole codebook  flags                  record
    keep      keep        missed          flag: missing, unsure  shown
    reject    reject      replacement     flag: missing, unsure  shown
    whole     -           codes           flag: unsure           shown

Results carry label keys (a choice's alias), never names. ``shown`` is a hidden text that the review prediction fills
with a record of the candidates, so that it comes back with every annotation. The whole codebook of the forms keep and
reject shows once ``missing`` is flagged: Label Studio's hotkeys reach hidden choices too, but a choice that is not
visible is dropped when the coder submits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from label_configs.codebook import Codebook, Kind
from label_configs.errors import ConfigError

TEXT_NAME = "text"
CANDIDATES_KEY = "candidates"
FLAG_NAME = "flag"
SHOWN_NAME = "shown"
MISSING = "missing"
UNSURE = "unsure"


class ReviewForm(StrEnum):
    """How a coder reviews candidates."""

    KEEP = "keep"  # candidates are ticked, the coder un-ticks the wrong ones
    REJECT = "reject"  # candidates are not ticked, the coder ticks the wrong ones and one survives
    WHOLE = "whole"  # the whole codebook, candidates ticked; needs nothing in the task's data


@dataclass(frozen=True, slots=True)
class Controls:
    """Names of a form's controls: the candidates' (None where there is none), the whole codebook's, and the flags."""

    candidates: str | None
    codebook: str
    flags: tuple[str, ...]


CONTROLS = {
    ReviewForm.KEEP: Controls("keep", "missed", (MISSING, UNSURE)),
    ReviewForm.REJECT: Controls("reject", "replacement", (MISSING, UNSURE)),
    ReviewForm.WHOLE: Controls(None, "codes", (UNSURE,)),
}


def default_form(codebook: Codebook) -> ReviewForm:
    """The form with the fewest keys: rejecting where exactly one code holds, keeping where several may."""
    return ReviewForm.REJECT if codebook.kind is Kind.EXCLUSIVE else ReviewForm.KEEP


def check_form(codebook: Codebook, form: ReviewForm) -> None:
    """Raises ConfigError when the form cannot ask what the codebook needs: rejecting leaves one code, not several."""
    if form is ReviewForm.REJECT and codebook.kind is not Kind.EXCLUSIVE:
        raise ConfigError(
            f"form reject needs a codebook in which exactly one code holds, {codebook.name} is {codebook.kind}; "
            "use the form keep or whole"
        )
