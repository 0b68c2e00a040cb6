"""How far coders agree, with each other, with the sources and with themselves: the sections of a report.

agreement_sections(study, options) -> overall, pairs, per code, per coder, over time, repeated, by arm
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from trainer.evaluation.agreement_anchoring import anchoring_section
from trainer.evaluation.agreement_codes import code_section
from trainer.evaluation.agreement_pairs import ceiling, pair_heatmap, pair_table, pairs, rater_figures, rater_table
from trainer.evaluation.agreement_panel import Panel, panel_of
from trainer.evaluation.agreement_repeats import repeat_section
from trainer.evaluation.agreement_time import time_section
from trainer.evaluation.agreement_words import (
    NAMES,
    SCALES,
    coefficient_table,
    prevalence_warning,
    tone,
    verbal,
    with_interval,
)
from trainer.evaluation.blocks import Block, Column, Finding, Format, Section, Table, Tone
from trainer.evaluation.coefficients import kappa, percent
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.study import Study

MANY_PAIRS = 60  # from so many on, fewer samples are drawn for each
FEWEST = 200


def agreement_sections(study: Study, options: ReportOptions) -> Sequence[Section]:
    """Every section on agreement; what cannot be computed is said to be undefined, with the reason."""
    panel = panel_of(study)
    if not panel.coders:
        why = "No decision can be counted" if study.decisions else "Nobody has coded a document yet"
        told = Finding(f"{why}: there is nothing to compare.", Tone.WARNING)
        return [Section("agreement", "Agreement", (told, *_left_out(panel)))]
    return [
        overall_section(panel, options),
        pair_section(panel, options),
        code_section(study, panel, options),
        time_section(study, panel, options),
        repeat_section(study, panel, options),
        anchoring_section(study, panel, options),
    ]


def overall_section(panel: Panel, options: ReportOptions) -> Section:
    """Coders among themselves in all coefficients, and beside it coders with sources and sources with each other."""
    figures = panel.overall(panel.coders, samples=options.samples, seed=options.seed)
    rows = [(NAMES[name], figure, verbal(name, figure.value)) for name, figure in figures.items()]
    blocks: list[Block] = [coefficient_table(rows, "Coders among themselves")]
    if panel.sources:
        blocks.append(_groups(panel, options))
    notes = (_answers(panel), *NOTES, SCALES)
    return Section("agreement", "Agreement", tuple(_findings(panel, figures)), tuple(blocks), notes)


def pair_section(panel: Panel, options: ReportOptions) -> Section:
    """Every pair of coders and sources as a matrix and a table, and every coder against all others."""
    columns = range(len(panel.raters))
    number = len(columns) * (len(columns) - 1) // 2
    samples = options.samples if number <= MANY_PAIRS else max(FEWEST, options.samples * MANY_PAIRS // number)
    samples = min(samples, options.samples)
    found = pairs(panel.ratings, len(columns), samples=samples, seed=options.seed, weights=panel.weights)
    names = [rater.name for rater in panel.raters]
    blocks: list[Block] = []
    if number:
        kinds = ["source" if rater.source else "coder" for rater in panel.raters]
        blocks = [pair_heatmap(found, names), pair_table(found, names, kinds)]
        figures = rater_figures(panel, options)
        blocks.append(rater_table(panel, figures))
        findings = [told] if (told := ceiling(panel, figures)) else []
    else:
        findings = [Finding("There is one coder and no source: no pair to compare.", Tone.WARNING)]
    notes = [f"Intervals of pairs are from {samples} samples."] if samples != options.samples else []
    weighted = "Kappa has quadratic weights on levels (Cohen 1968). " if panel.weights is not None else ""
    notes.append(
        f"{weighted}Versions of a source that are not in force stand beside it with their own names. Coders who review "
        "candidates were shown what sources proposed: see anchoring for what that changes."
    )
    return Section("agreement-pairs", "Coders and sources in pairs", tuple(findings), tuple(blocks), tuple(notes))


def _groups(panel: Panel, options: ReportOptions) -> Table:
    """Coder with coder, coder with source, source with source."""
    coders, sources = panel.coders, panel.sources
    every = [*coders, *sources]
    ratings = panel.ratings(every)
    inside, outside = range(len(coders)), range(len(coders), len(every))
    groups = (
        ("coder with coder", list(combinations(inside, 2))),
        ("coder with source", [(one, two) for one in inside for two in outside]),
        ("source with source", list(combinations(outside, 2))),
    )
    wanted = {}
    for name, chosen in groups:
        wanted[f"{name}: percent"] = percent(ratings.rows, chosen)
        wanted[f"{name}: kappa"] = kappa(ratings.rows, ratings.categories, panel.weights, chosen)
    figures = ratings.figures(wanted, samples=options.samples, seed=options.seed)
    columns = (
        Column("who", "Who"), Column("pairs", "Pairs"), Column("n", "Documents"),
        Column("percent", "Agreement", Format.PERCENT), Column("kappa", "Kappa of all pairs", Format.SHARE),
    )  # fmt: skip
    rows = tuple(
        (name, len(chosen), figures[f"{name}: percent"].n, figures[f"{name}: percent"], figures[f"{name}: kappa"])
        for name, chosen in groups
    )
    return Table("groups", "Coders and sources", columns, rows)


def _findings(panel: Panel, figures: dict[str, Figure]) -> Iterator[Finding]:
    name = panel.alpha_name if panel.exclusive else "masi_alpha"
    alpha, agreed = figures[name], figures["percent" if panel.exclusive else "percent_sets"]
    who = f"{len(panel.coders)} coders" if len(panel.coders) > 1 else "one coder"
    if agreed.value is None:
        yield Finding(f"No two coders coded the same document ({who}): agreement is undefined.", Tone.WARNING)
        yield Finding("Give some documents to two coders or more (review.overlap in winnow.yaml).", Tone.NEXT)
    else:
        what = "code" if panel.exclusive else "whole set of codes"
        yield Finding(
            f"Coders give the same {what} in {100 * agreed.value:.0f} % of pairs; documents coded by two or more: "
            f"{agreed.n:,}."
        )
        if alpha.value is None:
            yield Finding(f"Krippendorff's alpha is undefined: {alpha.why}.", Tone.WARNING)
        else:
            word = verbal(name, alpha.value)
            yield Finding(f"{NAMES[name]}, is {with_interval(alpha)}: {word}.", tone(alpha.value))
    shares = panel.ratings(panel.coders).shares
    most = int(shares.argmax()) if len(shares) else 0
    told = (
        panel.codebook.codes[most].key if panel.exclusive else "that a code does not hold" if not most else "positive"
    )
    warning = prevalence_warning(shares, figures, told)
    if warning and alpha.value is not None:
        yield warning
    yield from _left_out(panel)


def _left_out(panel: Panel) -> Iterator[Finding]:
    if panel.left_out:
        yield Finding(
            f"{panel.left_out} decisions hold labels that the codebook does not have (it was changed, or they are of "
            "another): they are left out.",
            Tone.WARNING,
        )


def _answers(panel: Panel) -> str:
    if panel.exclusive:
        return "A rating is the one code of a document."
    levels = ", and at which level" if panel.codebook.levels else ""
    return (
        f"A rating is the answer about one code of a document: whether it holds{levels}; all answers about a document "
        "are drawn together. Sets are a document's codes as a whole, compared by MASI (Passonneau 2006)."
    )


NOTES = (
    "Counted is each coder's last decision on a document; skipped, unsure and unresolved ones are missing values, "
    "repeated ones and adjudicators' ground truth are left out. Intervals are 95 % percentile intervals of a bootstrap "
    "by document. Percent agreement and Cohen's kappa are over all pairs of raters; for Fleiss' kappa, AC1 and AC2 "
    "with missing ratings see Gwet (Handbook of Inter-Rater Reliability, 2014).",
)
