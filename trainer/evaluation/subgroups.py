"""Who is served badly: every figure by group of documents, and the largest gaps first.

A gap is a group's figure minus that of all other documents. Its interval is a bootstrap by document (``resampling``);
whether the share of right documents differs beyond chance is Fisher's exact test (1922), corrected for all the groups
that are compared by Holm's step-down procedure (1979).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from label_configs.codebook import Kind
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Section, Table, Tone
from trainer.evaluation.definitions import RATES, columns
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.group_counts import FIGURES, TITLES, GroupCounts
from trainer.evaluation.in_force import InForce, in_force
from trainer.evaluation.judged import measure
from trainer.evaluation.measured import as_figure
from trainer.evaluation.metadata_columns import Grouping, groupings
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.performance import headline
from trainer.evaluation.resampling import Ints, resampled
from trainer.evaluation.study import Study

LEAST = 20  # documents of a group, and of the others, that a gap is told of
LEVEL = 0.05  # of the family of all tests
TOLD = 5  # gaps in sentences
NAMED = 8  # small groups in a sentence


@dataclass(frozen=True)
class GroupRow:
    """A group under one source: its ``figures``, its ``gaps`` to the other documents, ``p`` of the accuracy's gap.

    ``verified`` counts the documents of the group that have a truth, ``p_holm`` is ``p`` after Holm's correction.
    """

    source: str
    column: str
    group: str
    n: int
    verified: int
    figures: Mapping[str, Figure]
    gaps: Mapping[str, Figure]
    p: float | None = None
    p_holm: float | None = None

    @property
    def size(self) -> float:
        """How large the accuracy's gap is, below 0 where it is undefined."""
        value = self.gaps["accuracy"].value
        return -1.0 if value is None else abs(value)


def subgroup_section(study: Study, options: ReportOptions) -> Section:
    """Figures by group of the columns ``options.by``, or of all that are fit for it, and the largest gaps first."""
    found = in_force(study)
    groups, notes = groupings(study, found.documents, options.by)
    rows = holm(row for grouping in groups for row in _rows(study, found, grouping, options))
    notes = [*found.notes, *notes]
    if not rows:
        why = _why_none(found, groups)
        return Section("subgroups", "Groups", (Finding(f"Groups cannot be compared: {why}.", Tone.WARNING),), (),
                       tuple(notes))  # fmt: skip
    by_gap = sorted(rows, key=lambda row: -row.size)
    notes.append(
        "A gap is a group's figure minus that of all other documents, with a bootstrap interval by document (Efron and "
        "Tibshirani, 1993). p: Fisher's exact test of the share of right documents, after Holm's correction (1979) for "
        f"all {sum(row.p is not None for row in rows)} gaps. Sensitivity and specificity are means over codes; a "
        "group's mean is over the codes that it has, so that figures other than accuracy differ with the codes too."
    )
    return Section(
        "subgroups",
        "Groups",
        _findings(by_gap),
        (_gap_table(by_gap), _figure_table(rows, study.codebook.kind)),
        tuple(notes),
    )


def _why_none(found: InForce, groups: Sequence[Grouping]) -> str:
    return found.why_none or ("no group has a document" if groups else "no column parts the documents into groups")


def _rows(study: Study, found: InForce, grouping: Grouping, options: ReportOptions) -> Iterator[GroupRow]:
    names = grouping.values
    verified = {name: sum(value == name for value in grouping.of_document.values()) for name in names}
    for source in found.sources:
        numbers = [names.index(grouping.of_document[id_]) for id_ in source.documents]
        counted = GroupCounts(numbers, source.truth, source.predicted, study.codebook.label_keys, study.codebook.kind)
        # The first sample is the documents themselves.
        counts = counted.patterns.counts
        draws = np.vstack([counts[None], resampled(counts, options.samples, options.seed)])
        for number, name in enumerate(names):
            own = source.of({id_ for id_, group in zip(source.documents, numbers, strict=True) if group == number})
            measured = measure(own, study.codebook, samples=options.samples, seed=options.seed)
            row = GroupRow(source.label, grouping.title, name, measured.n, verified[name], measured.overall, {})
            yield _with_gaps(row, counted, draws, counted.of_group(number))


def _with_gaps(row: GroupRow, counted: GroupCounts, draws: Ints, inside: npt.NDArray[np.bool_]) -> GroupRow:
    """``draws`` [1 + samples, patterns], the documents themselves first; ``inside`` are the group's patterns."""
    others = int(draws[0, ~inside].sum())
    if row.n < LEAST or others < LEAST:
        few = f"too small: {row.n} documents" if row.n < LEAST else f"the others are too few: {others} documents"
        why = f"{few}, {LEAST} are needed"
        return replace(row, gaps={one: undefined(why, row.n) for one in FIGURES})
    own, rest = counted.figures(draws, inside), counted.figures(draws, ~inside)
    gaps = {figure: as_figure(own[figure] - rest[figure], row.n, "undefined in a part") for figure in FIGURES}
    return replace(row, gaps=gaps, p=_fisher(counted, inside))


def _fisher(counted: GroupCounts, inside: npt.NDArray[np.bool_]) -> float:
    """Two-sided p of Fisher's exact test: is the share of right documents the same inside and outside?"""
    from scipy.stats import fisher_exact

    counts, right = counted.patterns.counts, counted.right
    table = [[int(counts[part & ok].sum()) for ok in (right, ~right)] for part in (inside, ~inside)]
    return float(fisher_exact(table).pvalue)


def holm(rows: Iterator[GroupRow] | Sequence[GroupRow]) -> list[GroupRow]:
    """The rows with ``p_holm``, all their tests being one family."""
    from statsmodels.stats.multitest import multipletests

    rows = list(rows)
    tested = [index for index, row in enumerate(rows) if row.p is not None]
    if tested:
        _, corrected, *_ = multipletests([rows[index].p for index in tested], alpha=LEVEL, method="holm")
        for index, p in zip(tested, corrected, strict=True):
            rows[index] = replace(rows[index], p_holm=float(p))
    return rows


def _findings(by_gap: Sequence[GroupRow]) -> tuple[Finding, ...]:
    tested = [row for row in by_gap if row.p_holm is not None]
    beyond = [row for row in tested if (row.p_holm or 0) < LEVEL and row.p_holm is not None]
    worse = [row for row in beyond if (row.gaps["accuracy"].value or 0) < 0]
    findings = [Finding(_sentence(row), Tone.BAD) for row in worse[:TOLD]]
    if len(worse) > TOLD:
        findings.append(Finding(f"{len(worse) - TOLD} more groups are served worse than the others.", Tone.BAD))
    if tested and not worse:
        findings.append(
            Finding(
                f"No group was found that a source serves worse than the others beyond chance ({len(tested)} gaps "
                "tested); small gaps need more documents to be seen.",
                Tone.GOOD,
            )
        )
    small = list(dict.fromkeys(f"{row.column} = {row.group} ({row.n})" for row in by_gap if 0 < row.n < LEAST))
    if small:
        named = ", ".join(small[:NAMED]) + (f" and {len(small) - NAMED} more" if len(small) > NAMED else "")
        findings.append(Finding(f"Too small to be compared, fewer than {LEAST} documents: {named}.", Tone.WARNING))
    return tuple(findings)


def _sentence(row: GroupRow) -> str:
    accuracy, gap = row.figures["accuracy"].value or 0.0, row.gaps["accuracy"].value or 0.0
    p = row.p_holm if row.p_holm is not None else 1.0
    shown = "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")
    return (
        f"{row.source} is right on {100 * accuracy:.1f} % of {row.n} documents with {row.column} = {row.group}, "
        f"{abs(100 * gap):.1f} points less than on the others ({shown}, Holm)."
    )


_NAMES = (Column("group", "Group"), Column("source", "Source"))


def _name(row: GroupRow) -> str:
    return f"{row.column} = {row.group}"


def _gap_table(rows: Sequence[GroupRow]) -> Table:
    gaps = tuple(Column(f"{name}_gap", f"{TITLES[name]}, gap", Format.PERCENT) for name in FIGURES)
    columns = (*_NAMES, gaps[0], Column("p_holm", "p (Holm)", Format.SHARE), *gaps[1:])
    cells = []
    for row in rows:
        first, *more = (row.gaps[name] for name in FIGURES)
        cells.append((_name(row), row.source, first, row.p_holm, *more))
    return Table("subgroup_gaps", "Gaps, the largest first", columns, tuple(cells),
                 "In points: a group minus all other documents; below 0 it is served worse.")  # fmt: skip


def _figure_table(rows: Sequence[GroupRow], kind: Kind) -> Table:
    """Every figure that a codebook of this kind has, and the mean sensitivity and specificity."""
    means = {f"macro_{name}": replace(RATES[name], title=f"{name} (macro)") for name in ("sensitivity", "specificity")}
    chosen = {**headline(kind), **means}
    names = [name for name in chosen if any(name in row.figures for row in rows)]
    cells: list[tuple[Cell, ...]] = [
        (_name(row), row.source, row.verified, *(row.figures.get(name) for name in names)) for row in rows
    ]
    heads = (*_NAMES, Column("documents", "Judged documents"))
    return Table("subgroup_figures", "Figures by group", (*heads, *columns(chosen, names)), tuple(cells))
