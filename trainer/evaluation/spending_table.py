"""What 1,000 documents cost: tokens, seconds and money of the sources, minutes of coders; and what was kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import fsum

from label_configs.records import Arm, Decision, Proposal
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Section, Table
from trainer.evaluation.costs import PER, Costs, costs_of
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.lead_times import coded, lead_times, seconds_figures
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.rubber_stamping import share_figure
from trainer.evaluation.study import Study

Version = tuple[str, str]  # a source's name and its version
ALL = "all in force"
_NOTES = (
    f"Means over the documents that a source proposed for, times {PER:,}. Tokens are those computed, at an API those "
    "of its prompts; seconds the device's, or the API's. Without a price in winnow.yaml none is known, which is not 0.",
    "Kept: of the candidates that the source proposed to coders, with Wilson's interval (1927).",
    "Coder minutes: the mean lead time, outliers trimmed, for one coder of each document; two coders cost twice that.",
)


def cost_section(study: Study, options: ReportOptions) -> Section:
    """Costs and kept rate of each source version; coder minutes by arm."""
    proposals = _by_version(study.proposals)
    shown, kept = _kept(study.decisions)
    versions = sorted({*proposals, *shown})
    if not versions and not study.decisions:
        return Section(
            "costs", "Costs", (Finding("No source has proposed and nobody has coded, so nothing is spent."),)
        )
    rows = tuple(_source_row(study, one, proposals.get(one, ()), shown[one], kept[one]) for one in versions)
    total = _total_row(study, proposals)
    sources = Table("sources", f"Sources: what {PER:,} documents cost, and what was kept", _COLUMNS, (*rows, *total))
    minutes = _minutes(study, options)
    return Section("costs", "Costs", tuple(_findings(minutes)), (sources, minutes), _NOTES)


_COLUMNS = (
    Column("source_version", "source version"),
    Column("in_force", "in force"),
    Column("documents", "documents"),
    Column("tokens", "tokens", Format.AMOUNT),
    Column("output_tokens", "output tokens", Format.AMOUNT),
    Column("device_seconds", "device seconds", Format.AMOUNT),
    Column("price", "price", Format.AMOUNT),
    Column("truncated", "truncated", Format.PERCENT),
    Column("shown", "candidates shown"),
    Column("kept", "kept", Format.PERCENT),
)


def _by_version(proposals: Iterable[Proposal]) -> dict[Version, list[Proposal]]:
    """Proposals by version, of a document the last."""
    found: dict[Version, dict[str, Proposal]] = {}
    for proposal in proposals:
        found.setdefault((proposal.source, proposal.version), {})[proposal.document_id] = proposal
    return {version: list(own.values()) for version, own in found.items()}


def _kept(decisions: Iterable[Decision]) -> tuple[Counter[Version], Counter[Version]]:
    """How many candidates of each version coders judged, and how many of them they kept; first decisions alone."""
    shown: Counter[Version] = Counter()
    kept: Counter[Version] = Counter()
    for decision in decisions:
        if decision.arm is not Arm.REVIEW or decision.repeat or not decision.verified or decision.shown is None:
            continue
        for candidate in decision.shown.candidates:
            for by in candidate.proposers:
                shown[by.source, by.version] += 1
                kept[by.source, by.version] += candidate.label in decision.kept
    return shown, kept


def _source_row(
    study: Study, version: Version, proposals: Sequence[Proposal], shown: int, kept: int
) -> tuple[Cell, ...]:
    source, name = version
    costs = costs_of(proposals, config.price if (config := study.configs.get(source)) else None)
    in_force = "yes" if study.versions.get(source) == name else ""
    rate = share_figure(kept, shown, "none of its candidates was judged")
    return f"{source} {name}", in_force, costs.documents, *_cells(costs), costs.truncated, shown, rate


def _cells(costs: Costs) -> tuple[float | None, ...]:
    return costs.tokens, costs.output_tokens, costs.seconds, costs.price


def _total_row(study: Study, proposals: dict[Version, list[Proposal]]) -> tuple[tuple[Cell, ...], ...]:
    """What the sources in force cost together; none where fewer than two have proposed."""
    found = {
        source: costs_of(own, config.price if (config := study.configs.get(source)) else None)
        for source, version in study.versions.items()
        if (own := proposals.get((source, version)))
    }
    if len(found) < 2:
        return ()
    sums = [
        None if None in (values := [_cells(costs)[i] for costs in found.values()]) else fsum(v or 0.0 for v in values)
        for i in range(4)
    ]  # fmt: skip
    return ((ALL, "", None, *sums, None, None, None),)


def _minutes(study: Study, options: ReportOptions) -> Table:
    """Coder minutes for 1,000 documents, by arm."""
    decisions = [one for one in coded(study.decisions) if one.shown is not None]
    timed = lead_times(decisions).timed
    rows = []
    for arm in Arm:
        if not any(one.arm is arm for one in decisions):
            continue
        own = [one for one in timed if one.arm is arm]
        _, mean = seconds_figures(own, samples=options.samples, seed=options.seed)
        rows.append((arm.value, len(own), _scaled(mean, PER / 60)))
    columns = (
        Column("arm", "arm"),
        Column("lead_times", "lead times"),
        Column("minutes", "coder minutes", Format.AMOUNT),
    )
    return Table("coder_minutes", f"Coders: minutes for {PER:,} documents", columns, tuple(rows))


def _scaled(figure: Figure, factor: float) -> Figure:
    if figure.value is None:
        return undefined(figure.why)
    low, high = (None if end is None else factor * end for end in (figure.low, figure.high))
    return Figure(factor * figure.value, figure.n, low, high)


def _findings(minutes: Table) -> Iterable[Finding]:
    of_arm = {str(arm): found for arm, _, found in minutes.rows if isinstance(found, Figure)}
    review = of_arm.pop(Arm.REVIEW, undefined(""))
    if review.value is None:
        yield Finding("What reviewing costs coders is not known: there are no lead times of it.")
        return
    yield Finding(f"One coder reviews {PER:,} documents in {review.value / 60:,.1f} hours of work.")
    for arm, other in of_arm.items():
        if other.value is None:
            continue
        hours, word = abs(other.value - review.value) / 60, "less" if other.value > review.value else "more"
        unsure = ", but the intervals overlap" if _overlap(review, other) else ""
        yield Finding(f"That is {hours:,.1f} hours {word} than in the arm {arm}{unsure}.")


def _overlap(one: Figure, other: Figure) -> bool:
    """Whether their intervals overlap, or one has none."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return True
    return one.low <= other.high and other.low <= one.high
