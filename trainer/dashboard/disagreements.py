"""Codes that coders agree on least, each with documents that they coded differently, linked to their tasks.

Krippendorff's alpha for nominal data (Content Analysis, 4th ed. 2018, chapter 12), of each code by itself: whether a
coder saw it in a document, in a graded codebook at which level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from label_configs.records import Decision
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Link, Section, Table, Tone
from trainer.evaluation.code_rates import ratio
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Floats, Ints, figure, patterns
from trainer.evaluation.study import Study

EXAMPLES = 3  # documents of a code
LOW = 0.667  # below which not even tentative conclusions are drawn from a code (Krippendorff 2018, section 12.3.4)
Codings = Mapping[str, Sequence[Mapping[str, int]]]
"""document -> for each of its coders, code -> 1, or in a graded codebook the number of the level; absent is 0."""

COLUMNS = (
    Column("code", "Code"),
    Column("alpha", "Krippendorff’s alpha", Format.SHARE),
    Column("differ", "Documents coded differently"),
    *(Column(f"example_{number}", f"Example {number}") for number in range(1, EXAMPLES + 1)),
)


def disagreement_section(study: Study, options: ReportOptions) -> Section:
    """The codes, the lowest alpha first; those that cannot be judged last, with the reason."""
    codings = codings_of(study)
    rows: list[tuple[Figure, tuple[Cell, ...]]] = []
    for code in study.codebook.codes:
        table = [tuple(coder.get(code.key, 0) for coder in coders) for coders in codings.values()]
        alpha = alpha_of(table, options)
        differ = [one for one, values in zip(codings, table, strict=True) if len(set(values)) > 1]
        links: list[Cell] = [_link(study, one) for one in differ[:EXAMPLES]]
        links += [None] * (EXAMPLES - len(links))
        rows.append((alpha, (code.name, alpha, len(differ), *links)))
    rows.sort(key=lambda row: (row[0].value is None, row[0].value or 0.0))
    note = f"{len(codings)} documents have two coders or more."
    table_block = Table("disagreements", "Codes", COLUMNS, tuple(row for _, row in rows), note)
    return Section(
        "disagreements", "Codes that coders disagree on", _findings(rows), (table_block,),
        ("Alpha is 1 where coders always agree on a code and 0 where they agree as often as by chance; 95 % interval "
         "by bootstrap over documents. A coder’s last decision on a document counts.",),
    )  # fmt: skip


def codings_of(study: Study) -> Codings:
    """What each coder said of the documents that several coded; the last word of each counts."""
    last: dict[tuple[str, str], Decision] = {}
    for decision in sorted(study.decisions, key=lambda one: one.updated_at or datetime.min.replace(tzinfo=UTC)):
        if decision.verified and not decision.repeat and not decision.ground_truth:
            last[decision.document_id, decision.coder] = decision
    values = {
        label.key: (label.code, study.codebook.levels.index(label.level) + 1 if label.level else 1)
        for label in study.codebook.labels
    }
    found: dict[str, list[dict[str, int]]] = {}
    for (document, _), decision in last.items():
        found.setdefault(document, []).append(dict(values[one] for one in decision.labels if one in values))
    return {document: coders for document, coders in found.items() if len(coders) > 1}


def alpha_of(table: Sequence[Sequence[int]], options: ReportOptions) -> Figure:
    """Nominal alpha of values by document and coder; documents may have different numbers of coders, two at least."""
    if not table:
        return undefined("no document has two coders")
    width = max(max(row) for row in table) + 1
    found = patterns([np.bincount(row, minlength=width) for row in table])
    sizes = found.rows.sum(axis=1)
    within = (sizes**2 - (found.rows**2).sum(axis=1)) / (sizes - 1)

    def alpha(counts: Ints) -> Floats:
        total = (counts @ sizes).astype(float)
        expected = (total**2 - ((counts @ found.rows).astype(float) ** 2).sum(axis=1)) / (total - 1)
        return 1 - ratio(counts @ within, expected)

    why = "all coders say the same of every document"
    return figure(found.counts, alpha, samples=options.samples, seed=options.seed, why=why)


def _link(study: Study, document: str) -> Link:
    known = study.documents.get(document)
    return Link(document, study.task_url(known.task_id if known else None))


def _findings(rows: Sequence[tuple[Figure, tuple[Cell, ...]]]) -> tuple[Finding, ...]:
    low = [str(cells[0]) for alpha, cells in rows if alpha.value is not None and alpha.value < LOW]
    if not low:
        return ()
    named = ", ".join(low[:5]) + (f" and {len(low) - 5} more" if len(low) > 5 else "")
    return (Finding(f"Coders disagree on {named} (alpha below {LOW}): sharpen the definitions.", Tone.WARNING),)
