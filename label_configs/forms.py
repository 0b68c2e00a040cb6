"""The review forms, and the names of their controls: what the label config and the results agree on.

    form      candidates      whole codebook  flags                  record
    keep      keep            missed          flag: missing, unsure  shown
    reject    reject          replacement     flag: missing, unsure  shown
    graded    level_0, ...    missed (tree)   flag: missing, unsure  shown
    whole     -               codes           flag: unsure           shown
    choose    -               codes           flag: unsure           shown
    blind     -               codes           flag: unsure           shown

Results carry label keys (a choice's alias), never names. ``shown`` is a hidden text that the review prediction fills
with a record of the candidates, so that it comes back with every annotation. The whole codebook of the forms keep,
reject and graded shows once ``missing`` is flagged: Label Studio's hotkeys reach hidden choices too, but a choice that
is not visible is dropped when the coder submits.

The form graded has one control for each code among the candidates, in which its levels are the choices and the
proposed one is ticked. The config has ``SLOTS`` of them, and those that the task's data does not fill are hidden:
Label Studio drops predictions for the controls of a Repeater. Its whole codebook is a Taxonomy, the only control that
can be searched; results hold paths, ``[code, label]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from label_configs.codebook import Codebook, Kind
from label_configs.errors import ConfigError
from label_configs.records import Arm

TEXT_NAME = "text"
CANDIDATES_KEY = "candidates"
FLAG_NAME = "flag"
SHOWN_NAME = "shown"
RECORD_CLASS = "winnow-record"
"""The class of the view around ``shown`` where it was added to a team's own label config."""
MISSING = "missing"
UNSURE = "unsure"
SLOTS = 9
"""The most codes that the form graded can show as candidates: one for each digit on the keyboard."""


class ReviewForm(StrEnum):
    """How a coder reviews candidates."""

    KEEP = "keep"  # candidates are ticked, the coder un-ticks the wrong ones
    REJECT = "reject"  # candidates are not ticked, the coder ticks the wrong ones and one survives
    GRADED = "graded"  # codes at their proposed levels, the coder corrects levels; for graded codebooks
    WHOLE = "whole"  # the whole codebook, candidates ticked; needs nothing in the task's data
    CHOOSE = "choose"  # the whole codebook, nothing ticked
    BLIND = "blind"  # the same; nothing that a source proposed is in the task before it is coded


@dataclass(frozen=True, slots=True)
class Controls:
    """Names of a form's controls: the candidates' (None where there is none), the whole codebook's, and the flags.

    In the form graded the candidates' is the beginning of the names: ``level_`` and the number of the code, from 0.
    """

    candidates: str | None
    codebook: str
    flags: tuple[str, ...]


ARMS = {ReviewForm.CHOOSE: Arm.CHOOSE, ReviewForm.BLIND: Arm.BLIND}
"""The forms in which no candidates are shown, whatever the arm that a document is drawn into."""

CONTROLS = {
    ReviewForm.KEEP: Controls("keep", "missed", (MISSING, UNSURE)),
    ReviewForm.REJECT: Controls("reject", "replacement", (MISSING, UNSURE)),
    ReviewForm.GRADED: Controls("level_", "missed", (MISSING, UNSURE)),
    ReviewForm.WHOLE: Controls(None, "codes", (UNSURE,)),
    ReviewForm.CHOOSE: Controls(None, "codes", (UNSURE,)),
    ReviewForm.BLIND: Controls(None, "codes", (UNSURE,)),
}


def default_form(codebook: Codebook) -> ReviewForm:
    """The form with the fewest keys: rejecting where exactly one code holds, keeping or grading where several may."""
    return {
        Kind.EXCLUSIVE: ReviewForm.REJECT,
        Kind.MULTILABEL: ReviewForm.KEEP,
        Kind.GRADED: ReviewForm.GRADED,
    }[codebook.kind]


def forms_of(codebook: Codebook) -> tuple[ReviewForm, ...]:
    """The forms that can ask what a codebook needs: rejecting leaves one code, and only levels can be graded."""
    special = {ReviewForm.REJECT: Kind.EXCLUSIVE, ReviewForm.GRADED: Kind.GRADED}
    return tuple(form for form in ReviewForm if special.get(form, codebook.kind) is codebook.kind)


def check_form(codebook: Codebook, form: ReviewForm) -> None:
    """Raises ConfigError when the form is not one of ``forms_of`` the codebook."""
    if form not in (fitting := forms_of(codebook)):
        needs = "in which exactly one code holds" if form is ReviewForm.REJECT else "with levels"
        raise ConfigError(
            f"form {form} needs a codebook {needs}, {codebook.name} is {codebook.kind}; "
            f"use one of the forms {', '.join(fitting)}"
        )
