"""Agreement about each code, the most disputed first, with documents to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.agreement_panel import MISSING, Panel
from trainer.evaluation.agreement_words import NAMES, PREVALENT, RELIABLE, verbal
from trainer.evaluation.blocks import Block, Cell, Column, Finding, Format, Link, Section, Table, Tone
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.study import Study

DISPUTED = 10  # codes of which documents are shown
EXAMPLES = 3  # documents of each


NOTES = (
    "Each code by itself: whether coders say that it holds, in a graded codebook at which level, not holding being the "
    f"lowest. Where nearly all ratings are the same ({100 * PREVALENT:.0f} % or more), alpha and kappa can be low "
    "although coders agree nearly always (Feinstein and Cicchetti 1990): read them beside percent agreement and AC1.",
)


@dataclass(frozen=True)
class _CodeRow:
    place: int
    key: str
    share: float  # of ratings that say it holds
    figures: dict[str, Figure]


def code_section(study: Study, panel: Panel, options: ReportOptions) -> Section:
    """A table of the codes by their alpha, and examples of what coders disagree on, as links to tasks without texts."""
    rows = [_row(panel, place, code.key, options) for place, code in enumerate(panel.codebook.codes)]
    name = panel.alpha_name
    rows.sort(key=lambda row: (row.figures[name].value is None, row.figures[name].value or 0.0))
    blocks: list[Block] = [_table(panel, rows)]
    examples = [one for row in rows[:DISPUTED] for one in _examples(study, panel, row)]
    if examples:
        columns = (Column("code", "Code"), Column("document", "Document"), Column("answers", "Answers"))
        note = f"The first {EXAMPLES} documents of each of the {DISPUTED} codes with the lowest alpha."
        blocks.append(Table("disagreements", "Examples of disagreement", columns, tuple(examples), note))
    return Section("agreement-codes", "Agreement about each code", tuple(_findings(rows, name)), tuple(blocks), NOTES)


def _row(panel: Panel, place: int, key: str, options: ReportOptions) -> _CodeRow:
    ratings = panel.code_ratings(place, panel.coders)
    figures = ratings.figures(panel.coefficients(ratings), samples=options.samples, seed=options.seed)
    return _CodeRow(place, key, float(1 - ratings.shares[0]) if ratings.paired.any() else 0.0, figures)


def _table(panel: Panel, rows: list[_CodeRow]) -> Table:
    names = [name for name in rows[0].figures if name not in ("percent", panel.alpha_name)]
    columns = (
        Column("code", "Code"),
        Column(panel.alpha_name, NAMES[panel.alpha_name], Format.SHARE),
        Column("word", "In words"),
        Column("share", "Ratings with it", Format.PERCENT),
        Column("percent", NAMES["percent"], Format.PERCENT),
        *(Column(name, NAMES[name], Format.SHARE) for name in names),
        Column("warning", "Prevalence"),
    )
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (
            row.key,
            row.figures[panel.alpha_name],
            verbal(panel.alpha_name, row.figures[panel.alpha_name].value),
            row.share,
            row.figures["percent"],
            *(row.figures[name] for name in names),
            _warning(row.share, row.figures[panel.alpha_name].value),
        )
        for row in rows
    )
    return Table("codes", "Codes, lowest alpha first", columns, cells)


def _warning(share: float, alpha: float | None) -> str:
    """What may have made alpha low, where it is and nearly all ratings are the same."""
    if alpha is None or alpha >= RELIABLE:
        return ""
    if share <= 1 - PREVALENT:
        return "rare: read beside percent and AC1"
    return "on nearly all: read beside percent and AC1" if share >= PREVALENT else ""


def _examples(study: Study, panel: Panel, row: _CodeRow) -> Iterator[tuple[Cell, ...]]:
    said = panel.about(row.place)[panel.table[:, panel.coders]]
    most, given = said.max(axis=1, initial=MISSING), np.where(said == MISSING, panel.answers + 1, said)
    for document in np.flatnonzero((most > given.min(axis=1, initial=panel.answers + 1)) & (most > MISSING))[:EXAMPLES]:
        name = panel.documents[document]
        told = "; ".join(
            f"{panel.raters[column].name}: {_told(panel, document, column, int(answer))}"
            for column, answer in zip(panel.coders, said[document], strict=True)
            if answer != MISSING
        )
        yield row.key, Link(name, study.task_url(study.documents[name].task_id)), told


def _told(panel: Panel, document: int, column: int, answer: int) -> str:
    """An answer in words: the code that was given, or where several may hold what is said about this one."""
    if panel.exclusive:
        return panel.sets[int(panel.table[document, column])][0]
    if not answer:
        return "no"
    return panel.codebook.levels[answer - 1] if panel.codebook.levels else "yes"


def _findings(rows: list[_CodeRow], name: str) -> Iterator[Finding]:
    known = [row for row in rows if row.figures[name].value is not None]
    low = [row for row in known if verbal(name, row.figures[name].value) == "not reliable"]
    if low:
        told = ", ".join(row.key for row in low[:5]) + (f" and {len(low) - 5} more" if len(low) > 5 else "")
        yield Finding(f"Coders do not agree reliably (alpha below .667) about {told}.", Tone.BAD)
        yield Finding(
            f"Look at the examples of {low[0].key} with the coders, and make its definition sharper.", Tone.NEXT
        )
    elif known:
        yield Finding("Coders agree about every code with an alpha of .667 or more.", Tone.GOOD)
    if lacking := len(rows) - len(known):
        yield Finding(f"For {lacking} of {len(rows)} codes alpha is undefined; the table says why.", Tone.PLAIN)
