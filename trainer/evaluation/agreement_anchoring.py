"""Do candidates anchor coders? Agreement where they reviewed candidates against where they coded without any.

Documents are drawn into their arm by their ids alone, so that a difference between arms is the arm's doing: who sees
proposals and then agrees more with the sources was led by them; who agrees more with other coders may be led with them
to the same mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy import sparse

from label_configs.records import Arm
from trainer.evaluation.agreement_panel import MISSING, Panel, usable
from trainer.evaluation.agreement_ratings import sampled
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Section, Table, Tone
from trainer.evaluation.coefficients import Coefficient
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Floats, Ints, interval
from trainer.evaluation.study import Study

ARMS = (Arm.REVIEW, Arm.CHOOSE, Arm.BLIND)
AMONG = "coder with coder"
COMPARED = (("review", (0,)), ("choose", (1,)), ("blind", (2,)), ("without", (1, 2)))
"""Groups of arms by their places in ARMS."""

NOTES = (
    "Compared are documents, which are drawn into their arm by their ids. Left out are annotations without a record of "
    "what was shown. Of a source its version in force counts where it proposed for the document, else another of its "
    "versions. Intervals are from a bootstrap by document.",
    "A source that was trained on a document's codes agrees with its coders for that reason: where adapters were "
    "trained between, look at a source that learned nothing.",
)


def anchoring_section(study: Study, panel: Panel, options: ReportOptions) -> Section:
    """Agreement of coders with the sources, and among coders, by arm, with differences of review and the others."""
    arms = _arms(study, panel)
    sources = list(dict.fromkeys(rater.source for rater in panel.raters if rater.source))
    columns = _columns(panel, arms, len(sources))
    named = [("coders with all sources", columns[0])] if len(sources) > 1 else []
    named += [(f"coders with {name}", own) for name, own in zip(sources, columns[1:-1], strict=True)]
    named.append((AMONG, columns[-1]))
    rows = [(name, _figures(own, options)) for name, own in named]
    title = "Anchoring: with candidates and without"
    findings = tuple(_findings(rows))
    if not (arms != MISSING).any():
        told = Finding("No annotation records what the coder was shown: arms cannot be compared.", Tone.WARNING)
        return Section("anchoring", title, (told,), (), NOTES)
    return Section("anchoring", title, findings, (_table(panel, rows),), NOTES)


def _arms(study: Study, panel: Panel) -> Ints:
    """The arm in which each coder coded each document, as a place in ARMS [documents, coders]; -1 for none known."""
    rows = {name: row for row, name in enumerate(panel.documents)}
    places = {panel.raters[column].name: place for place, column in enumerate(panel.coders)}
    found = np.full((len(rows), len(panel.coders)), MISSING, dtype=np.int64)
    for one in usable(study)[0]:
        if not (one.repeat or one.ground_truth):
            arm = ARMS.index(one.arm) if one.shown is not None else MISSING
            found[rows[one.document_id], places[study.coder_name(one.coder)]] = arm
    return found


def _columns(panel: Panel, arms: Ints, sources: int) -> list[Floats]:
    """For all sources, each source, and coders among themselves: how alike and how many pairs, by arm and document
    [documents, 2 arms]."""
    coded = panel.table[:, panel.coders]
    each = [np.zeros((len(coded), 2 * len(ARMS))) for _ in range(sources)]
    for place, own in enumerate(each):
        for coder in range(coded.shape[1]):
            _add(own, panel, coded[:, coder], panel.by_source[:, place], arms[:, coder])
    among = np.zeros((len(coded), 2 * len(ARMS)))
    for one, two in combinations(range(coded.shape[1]), 2):
        same = np.where(arms[:, one] == arms[:, two], arms[:, one], MISSING)
        _add(among, panel, coded[:, one], coded[:, two], same)
    return [np.sum(each, axis=0) if each else np.zeros_like(among), *each, among]


def _add(sums: Floats, panel: Panel, one: Ints, two: Ints, arm: Ints) -> None:
    rows = np.flatnonzero((one != MISSING) & (two != MISSING) & (arm != MISSING))
    alike = 1 - panel.distance.between(one[rows], two[rows])
    np.add.at(sums, (rows, arm[rows]), alike)
    np.add.at(sums, (rows, len(ARMS) + arm[rows]), 1.0)


def _figures(columns: Floats, options: ReportOptions) -> dict[str, Figure]:
    """Mean likeness in each group of arms, and review less each of the others."""
    sums = sparse.csr_array(columns)
    wanted = {name: Coefficient(sums, _mean(places), _pairs(columns, places)) for name, places in COMPARED}
    for name, places in COMPARED[1:]:
        units = _pairs(columns, (0, *places))
        wanted[f"review - {name}"] = Coefficient(sums, _difference(places), units)
    values = sampled(wanted, np.ones(len(columns), dtype=np.int64), options.samples, options.seed)
    return {name: _figure(values[name], int(one.units.sum())) for name, one in wanted.items()}


def _mean(places: Sequence[int]) -> Callable[[Floats], Floats]:
    def finish(totals: Floats) -> Floats:
        numbers = [len(ARMS) + place for place in places]
        return np.asarray(totals[:, list(places)].sum(axis=1) / totals[:, numbers].sum(axis=1))

    return finish


def _difference(places: Sequence[int]) -> Callable[[Floats], Floats]:
    review, others = _mean((0,)), _mean(places)

    def finish(totals: Floats) -> Floats:
        return np.asarray(review(totals) - others(totals))

    return finish


def _pairs(columns: Floats, places: Sequence[int]) -> Floats:
    return np.asarray(columns[:, [len(ARMS) + place for place in places]].sum(axis=1) > 0, dtype=np.float64)


def _figure(values: Floats, n: int) -> Figure:
    if not np.isfinite(values[0]):
        return undefined("no pair in one of the arms", n)
    return Figure(float(values[0]), n, *(interval(values[1:]) if len(values) > 1 else (None, None)))


def _table(panel: Panel, rows: Sequence[tuple[str, dict[str, Figure]]]) -> Table:
    what = "same code" if panel.exclusive else "likeness of sets (MASI)"
    titles = {"review": "Candidates reviewed", "choose": "Chosen", "blind": "Blind", "without": "Chosen or blind"}
    keys = [name for name, _ in COMPARED]
    differences = [f"review - {name}" for name in keys[1:]]
    columns = (
        Column("who", "Who"),
        *(Column(name, titles[name], Format.PERCENT) for name in keys),
        *(Column(name.replace(" - ", "_less_"), f"Reviewed - {titles[name[9:]].lower()}", Format.PERCENT)
          for name in differences),
    )  # fmt: skip
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *(figures[key] for key in (*keys, *differences))) for name, figures in rows
    )
    return Table("arms", f"By arm: {what}", columns, cells)


def _findings(rows: Sequence[tuple[str, dict[str, Figure]]]) -> Iterator[Finding]:
    for name, figures in (rows[0], rows[-1]) if len(rows) > 1 else rows:
        among = name == AMONG
        what = "coders' agreement with each other" if among else f"coders' agreement {name.removeprefix('coders ')}"
        difference = figures["review - without"]
        if difference.value is None or difference.low is None or difference.high is None:
            yield Finding(f"Whether candidates change {what} is undefined: {difference.why or 'too few documents'}.")
            continue
        told = f"{100 * difference.value:+.1f} points ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
        if difference.low <= 0 <= difference.high:
            yield Finding(f"Candidates make no measurable difference to {what}: {told}.")
        elif difference.value < 0:
            yield Finding(f"With candidates shown, {what} is lower: {told}.", Tone.WARNING)
        else:
            led = "it may be the same mistake they are led to" if among else "the candidates may lead them"
            yield Finding(f"With candidates shown, {what} is higher: {told}; {led}.", Tone.WARNING)
