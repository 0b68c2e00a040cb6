"""The sources of a project in one table: how much of what each put before coders was kept, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.evaluation.blocks import Cell, Column, Finding, Format, Section, Table, Tone
from trainer.evaluation.code_rates import ratio
from trainer.evaluation.costs import costs_of
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Floats, Ints, figure, patterns
from trainer.evaluation.study import Study

ENOUGH = 30  # documents, below which no source is named the best
COLUMNS = (
    Column("source", "Source"),
    Column("kept_rate", "Candidates kept", Format.PERCENT),
    Column("candidates", "Candidates judged"),
    Column("tokens", "Tokens", Format.AMOUNT),
    Column("seconds", "Device time", Format.SECONDS),
    Column("price", "Price", Format.AMOUNT),
)


def kept_rates(study: Study, options: ReportOptions) -> dict[str, Figure]:
    """By source, the share of its candidates that coders kept, over all its versions, with an interval by document.

    The sources in force come first. Documents shown again count once, skips and adjudicators' verdicts not at all.
    """
    judged: dict[str, dict[str, list[int]]] = {name: {} for name in study.versions}
    for decision in study.decisions:
        if decision.shown is None or not decision.verified or decision.repeat or decision.ground_truth:
            continue
        for candidate in decision.shown.candidates:
            for source in {by.source for by in candidate.proposers}:
                tally = judged.setdefault(source, {}).setdefault(decision.document_id, [0, 0])
                tally[0] += candidate.label in decision.kept
                tally[1] += 1
    return {name: _rate(list(found.values()), options) for name, found in judged.items()}


def source_section(study: Study, rates: Mapping[str, Figure]) -> Section:
    """A row for each source; costs are those of its version in force, for 1,000 documents."""
    rows = []
    for name, rate in rates.items():
        config = study.configs.get(name)
        made = [one for one in study.proposals if one.source == name and one.version == study.versions.get(name)]
        costs = costs_of(made, config.price if config else None)
        row: tuple[Cell, ...] = (
            name if name in study.versions else f"{name} (no longer asked)", rate, _candidates(study, name),
            costs.tokens, costs.seconds, costs.price,
        )  # fmt: skip
        rows.append(row)
    note = "Tokens, device time and price are for 1,000 documents. A dash: not known."
    return Section(
        "sources", "Sources", _findings(rates), (Table("sources", "Sources", COLUMNS, tuple(rows), note),),
        ("Kept: of the candidates that a source proposed and coders judged, the share that they kept; 95 % interval by "
         "bootstrap over documents.",),
    )  # fmt: skip


def _rate(tallies: list[list[int]], options: ReportOptions) -> Figure:
    if not tallies:
        return undefined("coders judged none of its candidates")
    found = patterns(tallies)
    kept, shown = found.rows.T.astype(float)

    def share(counts: Ints) -> Floats:
        return ratio(counts @ kept, counts @ shown)

    return figure(found.counts, share, samples=options.samples, seed=options.seed)


def _candidates(study: Study, source: str) -> int:
    return sum(
        any(by.source == source for by in candidate.proposers)
        for decision in study.decisions
        if decision.shown is not None and decision.verified and not decision.repeat and not decision.ground_truth
        for candidate in decision.shown.candidates
    )


def _findings(rates: Mapping[str, Figure]) -> tuple[Finding, ...]:
    told = {name: one for name, one in rates.items() if one.value is not None and one.n >= ENOUGH}
    if len(told) < 2:
        return ()
    best, worst = (choose(told, key=lambda name: told[name].value or 0.0) for choose in (max, min))
    apart = (told[best].low or 0.0) > (told[worst].high or 1.0)
    text = f"Coders keep most of {best} ({told[best].value:.0%}) and least of {worst} ({told[worst].value:.0%})"
    return (Finding(f"{text}{'.' if apart else '; the intervals overlap.'}", Tone.PLAIN),)
