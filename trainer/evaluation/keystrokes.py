"""The least keystrokes that a decision takes in its form: Label Studio records what was decided, not the keys.

Counted as ``tests/browser/test_keystrokes.py`` counts real ones: a chord is one key, submitting is one, and a coder
works as the form asks. In the form reject that is a key for each wrong candidate, or where none fits one for the flag
and one for the right code.
"""

from __future__ import annotations

from collections.abc import Iterable

from label_configs.codebook import Codebook, Kind
from label_configs.forms import CONTROLS, FLAG_NAME, MISSING, ReviewForm
from label_configs.records import CandidateSet, Decision
from label_configs.wire.slots import slots
from label_configs.wire.writing import at_first

HOTKEYS = 32
"""Keys that Label Studio gives to choices, flags among them; what comes after has none, and needs the mouse."""
SEARCH = 5
"""The form graded, to find a code in the tree: tab, arrow down, one letter at least, enter, escape."""


def least_keys(decision: Decision, codebook: Codebook) -> int | None:
    """How many keys the decision takes at least, skipping or submitting included.

    None where that cannot be said: there is no record of what was shown, the form or a label is not one of ours, or a
    choice has no key. In the form graded a code from the tree takes one letter at least, and one tab.
    """
    if decision.skipped:
        return 1
    shown = decision.shown
    if shown is None or decision.form not in list(ReviewForm) or not _known(decision, shown, codebook):
        return None
    form = ReviewForm(decision.form)
    before = at_first(codebook, shown, form)
    opened = MISSING in before.get(FLAG_NAME, ())
    if CONTROLS[form].candidates is None:
        keys = _in_codebook(set(before.get(CONTROLS[form].codebook, ())), decision, codebook)
    elif form is ReviewForm.GRADED:
        keys = _graded(decision, shown, codebook, opened=opened)
    else:
        keys = _judging(decision, shown, codebook, form, opened=opened)
    return None if keys is None else keys + decision.unsure + 1


def _known(decision: Decision, shown: CandidateSet, codebook: Codebook) -> bool:
    labels = {*decision.labels, *(candidate.label for candidate in shown.candidates)}
    return labels.issubset(codebook.label_keys)


def _in_codebook(ticked: set[str], decision: Decision, codebook: Codebook) -> int | None:
    """Ticks and un-ticks where the whole codebook is on the page; of a single choice a tick un-ticks the other."""
    changed = ticked ^ set(decision.labels)
    if not _have_keys(changed, codebook, HOTKEYS - 1):
        return None
    return min(len(changed), 1) if codebook.kind is Kind.EXCLUSIVE and len(decision.labels) < 2 else len(changed)


def _judging(
    decision: Decision, shown: CandidateSet, codebook: Codebook, form: ReviewForm, *, opened: bool
) -> int | None:
    """In the forms keep and reject; where a code is chosen instead, the candidates need not be rejected one by one."""
    if not _have_keys(decision.missed, codebook, HOTKEYS - 2 - len(shown.candidates)):
        return None
    added = len(decision.missed) + (not opened if decision.missed else 0)
    return added if form is ReviewForm.REJECT and decision.missed else added + len(decision.rejected)


def _have_keys(labels: Iterable[str], codebook: Codebook, free: int) -> bool:
    """Whether these choices are among the first ``free`` of the codebook."""
    return set(labels).issubset(codebook.label_keys[: max(free, 0)])


def _graded(decision: Decision, shown: CandidateSet, codebook: Codebook, *, opened: bool) -> int:
    """A key for each code that is not left at its level, and the search for each that is not among the candidates."""
    left, keys = list(decision.labels), 0
    for code, candidates in slots(codebook, shown).items():
        here = [label for label in left if codebook.label(label).code == code]
        keys += here != [candidates[0].label]
        left = [label for label in left if label not in here]
    levels = [codebook.label(label).level or "" for label in left]
    # The arrows lead from the search to the code, and from there to its level.
    searches = sum(SEARCH + codebook.levels.index(level) + 2 for level in levels)
    return keys + searches + (not opened if left else 0)
