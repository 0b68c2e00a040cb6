"""Which metadata columns part documents into groups that can be compared."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from trainer.evaluation.study import Study

FEWEST, MOST = 2, 30  # groups
NO_VALUE = "(no value)"
NAMED = 12  # columns in a note
_DATE = re.compile(r"(\d{4})(?:[-/.]\d{1,2}(?:[-/.]\d{1,2})?)?(?:[T ].*)?")
_DAY_FIRST = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.](\d{4})")


@dataclass(frozen=True)
class Grouping:
    """A column, or the years of one, with the value of each document."""

    title: str
    of_document: Mapping[str, str]

    @property
    def values(self) -> list[str]:
        """The groups' names, sorted; documents without a value come last."""
        return sorted(set(self.of_document.values()), key=lambda value: (value == NO_VALUE, value))


def groupings(study: Study, documents: Collection[str], by: Sequence[str]) -> tuple[list[Grouping], list[str]]:
    """The groupings of ``documents`` by the columns ``by``, and notes on what was chosen or cannot be.

    Without ``by``, every column that has 2 to 30 different values; dates count by their years. A column that is named
    is taken with any number of values above one.
    """
    known = sorted({column for id_ in documents for column in study.documents[id_].metadata})
    notes, found, others = [], [], []
    for column in dict.fromkeys(by or known):
        if column not in known:
            notes.append(f"no document has a column {column!r}; there are {_named(known)}")
            continue
        grouping = _grouping(study, documents, column)
        number = len(grouping.values)
        if number < FEWEST or (number > MOST and not by):
            others.append(f"{column} ({number})")
        else:
            found.append(grouping)
    if not by:
        chosen = _named([grouping.title for grouping in found])
        notes.append(f"Compared by every column with {FEWEST} to {MOST} different values: {chosen}; --by names others")
    if others:
        notes.append(f"Columns that part documents into too few or too many groups: {_named(others)}")
    return found, notes


def _grouping(study: Study, documents: Collection[str], column: str) -> Grouping:
    values = {id_: study.documents[id_].metadata.get(column, "").strip() or NO_VALUE for id_ in documents}
    if len(set(values.values())) > MOST:
        years = {id_: _year(value) for id_, value in values.items()}
        if all(years.values()):
            return Grouping(f"{column} (year)", years)
    return Grouping(column, values)


def _year(value: str) -> str:
    """The year of a date; what stands for no value is left as it is, "" for what is no date."""
    if value == NO_VALUE:
        return value
    found = _DATE.fullmatch(value) or _DAY_FIRST.fullmatch(value)
    return found.group(1) if found else ""


def _named(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
