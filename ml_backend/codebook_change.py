"""A codebook that changes after coding began: what it would orphan, and the migration to new names.

Label Studio takes a label config that lacks codes in use, and coders then see their old annotations without them: so it
is checked here, before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from label_configs import wire
from label_configs.codebook import Codebook, Kind
from label_configs.codes import LEVEL_MARK
from label_configs.errors import CodebookError
from label_configs.forms import ReviewForm
from label_configs.records import Decision
from label_configs.team_form import TeamForm

TOLD = 10  # codes, and tasks of a code, that a message names


@dataclass(frozen=True, slots=True)
class CodebookChange:
    """What a new codebook does to the labels of the one before.

    ``names`` maps label keys, old to new, or to nothing where a label is dropped.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    names: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.names)


def codebook_change(old: Codebook, new: Codebook, renames: Mapping[str, str]) -> CodebookChange:
    """Compare two codebooks, ``renames`` mapping keys of codes or labels, old to new, or to nothing to drop one.

    An old key that neither codebook has is kept: it may be left from an earlier migration. Raises CodebookError for a
    rename that cannot be, or would not be the same when it is done twice.
    """
    names: dict[str, str] = {}
    for before, after in renames.items():
        names |= _names(old, new, before, after)
    for before, after in names.items():
        if before in new.label_keys:
            raise CodebookError(
                f"--map {before}={after}: codebook {new.name} still has {before}; only a code that is gone is renamed, "
                "so swap two by a third name, in two runs"
            )
    if new.kind is Kind.GRADED and len(set(names.values()) - {""}) < len(names):
        # In the form graded a control is named by the place of its code among the candidates.
        raise CodebookError(
            "--map: codes of a graded codebook can neither become one nor be dropped; map each to a code of its own"
        )
    added = tuple(key for key in new.label_keys if key not in old.label_keys and key not in names.values())
    removed = tuple(key for key in old.label_keys if key not in new.label_keys and key not in names)
    return CodebookChange(added, removed, names)


def _names(old: Codebook, new: Codebook, before: str, after: str) -> dict[str, str]:
    """A rename as one of labels: a graded code stands for all its levels."""
    if new.kind is Kind.GRADED and LEVEL_MARK not in before:
        levels = dict.fromkeys((*old.levels, *new.levels))
        pairs = {f"{before}{LEVEL_MARK}{level}": f"{after}{LEVEL_MARK}{level}" if after else "" for level in levels}
    else:
        pairs = {before: after}
    for target in pairs.values():
        if target and target not in new.label_keys:
            raise CodebookError(
                f"--map {before}={after}: codebook {new.name} has no {target}; its codes are "
                f"{some([code.key for code in new.codes])}"
            )
    return pairs


def check_dropped(tasks: Sequence[wire.JsonObject], old: Codebook, form: ReviewForm, text_key: str,
                  names: Mapping[str, str], team: TeamForm | None = None) -> None:  # fmt: skip
    """Raises CodebookError when a label that is dropped holds in some decision: that would change what a coder said."""
    dropped = [label for label, new in names.items() if not new]
    found = {
        label: holding
        for label, decisions in orphans(tasks, old, form, text_key, dropped, team).items()
        if (holding := [decision for decision in decisions if label in decision.labels])
    }
    if found:
        raise CodebookError(
            f"--map {next(iter(found))}=: drops a code that holds in decisions: {orphans_line(found)}; "
            "map it to the code that holds there now"
        )


def orphans(tasks: Sequence[wire.JsonObject], old: Codebook, form: ReviewForm, text_key: str,
            removed: Sequence[str], team: TeamForm | None = None) -> dict[str, list[Decision]]:  # fmt: skip
    """Decisions that name each removed label, as kept, missed or rejected; only labels that are named."""
    found: dict[str, list[Decision]] = {}
    gone = set(removed)
    for task in tasks:
        for decision in wire.decisions(task, old, form, text_key=text_key, team=team):
            shown = [candidate.label for candidate in decision.shown.candidates] if decision.shown else []
            for label in sorted(gone & {*decision.labels, *decision.rejected, *shown}):
                found.setdefault(label, []).append(decision)
    return found


def orphans_line(found: Mapping[str, Sequence[Decision]]) -> str:
    """Counts of decisions by code, and the first tasks of each."""
    parts = []
    for label, decisions in sorted(found.items(), key=lambda pair: -len(pair[1]))[:TOLD]:
        holding = sum(label in decision.labels for decision in decisions)
        tasks = list(dict.fromkeys(decision.task_id for decision in decisions))
        more = f" and {len(tasks) - TOLD} more" if len(tasks) > TOLD else ""
        parts.append(
            f"{label} in {len(decisions)} ({holding} say it holds; tasks {', '.join(map(str, tasks[:TOLD]))}{more})"
        )
    if len(found) > TOLD:
        parts.append(f"{len(found) - TOLD} more codes")
    return ", ".join(parts)


def some(keys: Sequence[str]) -> str:
    """The first few keys, fit for one line."""
    return ", ".join(keys) if len(keys) <= TOLD else f"{', '.join(keys[:TOLD])} and {len(keys) - TOLD} more"
