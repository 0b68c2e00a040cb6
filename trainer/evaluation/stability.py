"""Do the codes stay the same when a text changes in ways that do not change what it is about?

Sources were asked about texts as they are and as changed (``perturbing``; the answers are kept by ``stability_file``,
made by ``trainer.stability_run``). A document counts where a source answered both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from label_configs.errors import ConfigError
from label_configs.records import Document
from trainer.evaluation.blocks import Column, Finding, Format, Heatmap, Section, Table, Tone
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.judged import basis_of
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.perturbing import PERTURBATIONS, Perturbation
from trainer.evaluation.resampling import Floats, Ints, figure, patterns
from trainer.evaluation.stability_file import ORIGINAL, Answers, Labels, StabilityFile, document_key
from trainer.evaluation.study import Study

KEY, TITLE = "stability", "Stability"
MUCH = 0.1  # share of documents whose codes change, above which a sentence warns
FEW = 50  # documents; a share's interval is some 25 points wide then
NONE_YET = "Sources were not asked about changed texts yet: `winnow evaluate --project {project} --stability` does."


@dataclass(frozen=True)
class StabilityRow:
    """One source under one perturbation, over the same documents; ``lost`` is ``before`` minus ``after``."""

    source: str
    perturbation: Perturbation
    seed: int
    changed: Figure
    before: Figure
    after: Figure
    lost: Figure


def stability_section(study: Study, options: ReportOptions) -> Section:
    """What is kept of the sources in force, against the study's truth; where there is nothing, how to make it."""
    if options.folder is None:
        return _without("Stability is measured in a project: there is none here.", Tone.PLAIN)
    try:
        kept = StabilityFile.read(options.folder)
    except ConfigError as error:
        return _without(str(error), Tone.WARNING)
    rows = stability_rows(study, kept, options)
    if not rows:
        return _without(NONE_YET.format(project=study.project_id or "N"), Tone.NEXT)
    notes = (
        "The same documents, asked about as they are and as changed. Changed: the set of codes is another. Lost: "
        "accuracy on the text as it is minus accuracy on the changed one; intervals by bootstrap over documents, "
        "paired (Efron and Tibshirani, 1993).",
        *(f"{one.title}: {one.what}." for one in PERTURBATIONS),
        *_few(rows),
    )
    return Section(KEY, TITLE, tuple(_findings(rows)), (_table(rows), _heatmap(rows)), notes)


def stability_rows(study: Study, kept: StabilityFile, options: ReportOptions) -> list[StabilityRow]:
    """A row for each source in force, perturbation and seed of which some documents were answered."""
    truth = _truth(study)
    found = []
    order = {one.key: index for index, one in enumerate(PERTURBATIONS)}
    known = [key for key in kept.answers if key[2] in order and study.versions.get(key[0]) == key[1]]
    sources = list(study.versions)
    for source, version, key, seed in sorted(known, key=lambda k: (sources.index(k[0]), order[k[2]], k[3])):
        before = kept.answers.get((source, version, ORIGINAL, 0), {})
        after = kept.answers[(source, version, key, seed)]
        row = _row(source, PERTURBATIONS[order[key]], seed, before, after, truth, options)
        if row is not None:
            found.append(row)
    return found


def _truth(study: Study) -> dict[str, Labels]:
    """Truths of the documents that sources are judged on, by their keys in the file."""
    found = {}
    for id_ in basis_of(study).documents:
        if (document := study.documents.get(id_)) is not None:
            found[document_key(id_, Document(id_, document.text).digest)] = study.truth[id_]
    return found


def _row(
    source: str, perturbation: Perturbation, seed: int, before: Answers, after: Answers,
    truth: Mapping[str, Labels], options: ReportOptions,
) -> StabilityRow | None:  # fmt: skip
    names = [name for name in truth if name in before and name in after]
    if not names:
        return None
    table = [
        (set(before[name]) != set(after[name]), set(before[name]) == set(truth[name]),
         set(after[name]) == set(truth[name]))
        for name in names
    ]  # fmt: skip
    found = patterns(np.array(table, dtype=np.int64))

    def mean(of_pattern: Ints) -> Figure:
        def compute(drawn: Ints) -> Floats:
            return np.asarray(drawn @ of_pattern / drawn.sum(axis=1), dtype=np.float64)

        return figure(found.counts, compute, samples=options.samples, seed=options.seed)

    changed, right, still = found.rows.T
    return StabilityRow(source, perturbation, seed, mean(changed), mean(right), mean(still), mean(right - still))


def _findings(rows: list[StabilityRow]) -> list[Finding]:
    findings = []
    for source in dict.fromkeys(row.source for row in rows):
        own = [row for row in rows if row.source == source]
        worst = max(own, key=lambda row: row.changed.value or 0.0)
        changed, lost = worst.changed.value or 0.0, worst.lost.value or 0.0
        if changed == 0:
            text = f"{source} gives the same codes to all of {worst.changed.n} documents after every change."
            findings.append(Finding(text, Tone.GOOD))
            continue
        text = (
            f"{source} gives other codes to {100 * changed:.1f} % of {worst.changed.n} documents after "
            f"{worst.perturbation.title.lower()}, more than after any other change; that costs "
            + (f"{100 * lost:.1f} points of accuracy." if lost > 0 else "no accuracy.")
        )
        surely = worst.lost.low is not None and worst.lost.low > 0
        findings.append(Finding(text, Tone.WARNING if surely or changed > MUCH else Tone.GOOD))
    return findings


def _few(rows: list[StabilityRow]) -> list[str]:
    fewest = min(row.changed.n for row in rows)
    return [f"{fewest} documents are few: --documents asks about more of them."] if fewest < FEW else []


def _table(rows: list[StabilityRow]) -> Table:
    columns = (
        Column("perturbation", "Change"), Column("source", "Source"), Column("seed", "Seed"),
        Column("changed", "Codes changed", Format.PERCENT), Column("lost", "Accuracy lost", Format.PERCENT),
        Column("before", "Accuracy before", Format.PERCENT), Column("after", "Accuracy after", Format.PERCENT),
    )  # fmt: skip
    cells = tuple(
        (row.perturbation.title, row.source, row.seed, row.changed, row.lost, row.before, row.after) for row in rows
    )
    return Table("stability", "Codes changed and accuracy lost", columns, cells)


def _heatmap(rows: list[StabilityRow]) -> Heatmap:
    sources = list(dict.fromkeys(row.source for row in rows))
    used = [one for one in PERTURBATIONS if any(row.perturbation is one for row in rows)]
    values = {(row.source, row.perturbation.key): row.changed for row in reversed(rows)}
    nothing = undefined("not asked")
    return Heatmap(
        "stability_map", "Share of documents whose codes change", tuple(sources), tuple(one.title for one in used),
        tuple(tuple(values.get((source, one.key), nothing).value for one in used) for source in sources),
        format=Format.PERCENT, row_title="source", column_title="change of the text",
    )  # fmt: skip


def _without(text: str, tone: Tone) -> Section:
    return Section(KEY, TITLE, (Finding(text, tone),))
