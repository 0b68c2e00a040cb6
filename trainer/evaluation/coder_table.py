"""The coders one by one: what they did, how fast, what they kept, how far others agree, and what to look at."""

from __future__ import annotations

from collections.abc import Sequence

from label_configs.records import Arm, Decision
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Section, Table
from trainer.evaluation.coder_quality import Quality, Votes, crowdlab, raw_agreement, votes_of
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.lead_times import LeadTimes, coded, lead_times, seconds_figures
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.rubber_stamping import flags_of, share_figure, signs
from trainer.evaluation.study import Study

HOUR = 3600  # seconds
_NOTES = (
    "An hour of work is an hour of lead times, outliers trimmed: breaks do not count.",
    "Kept: of the candidates shown to the coder, with Wilson's interval (1927).",
    "Agreement: the share of other coders' decisions on the same documents that are the same, all codes alike, with a "
    "bootstrap interval by document. Quality: CROWDLAB (Goh, Tkachenko and Mueller 2022) by cleanlab, which weighs "
    "coders and sources by how trustworthy each is; 1 is best.",
    "Repeated: decisions on documents that the coder had coded before; agreement has how far they are the same.",
    "A flag is a reason to look, no verdict; see rubber-stamping.",
)


def coder_section(study: Study, options: ReportOptions) -> Section:
    """A row for each coder, by pseudonym unless names may be shown."""
    if not study.coders:
        return Section("coders", "Coders", (Finding("Nobody has coded anything yet."),))
    votes = votes_of(study)
    quality = crowdlab(study, votes, options.folder)
    times = lead_times(coded(study.decisions))
    found = signs(study.decisions, study.documents)
    flags = {coder: flags_of(found, coder) for coder in study.coders}
    rows = tuple(_row(study, coder, votes, quality, times, flags[coder], options) for coder in study.coders)
    columns = (
        Column("coder", "coder"),
        Column("documents", "documents"),
        Column("decisions", "decisions"),
        Column("skips", "skips"),
        Column("pace", "documents an hour", Format.AMOUNT),
        Column("median_seconds", "median seconds", Format.SECONDS),
        Column("kept", "kept", Format.PERCENT),
        Column("agreement", "agreement", Format.PERCENT),
        Column("quality", "quality", Format.SHARE),
        Column("repeated", "repeated"),
        Column("flags", "flags"),
    )
    notes = (*_NOTES, *quality.notes)
    if quality.why:
        notes = (*notes, f"No CROWDLAB quality: {quality.why}.")
    table = Table("coders", "Coders", columns, rows)
    return Section("coders", "Coders", (_finding(study, flags),), (table,), notes)


def _finding(study: Study, flags: dict[str, tuple[str, ...]]) -> Finding:
    flagged = [study.coder_name(coder) for coder, own in flags.items() if own]
    number = len(study.coders)
    who = "One coder has" if number == 1 else f"{number:,} coders have"
    if not flagged:
        return Finding(
            f"{who} decided on {len({d.document_id for d in study.decisions}):,} documents; none is flagged."
        )
    return Finding(f"{who} coded; look at some documents of {', '.join(flagged)}.")


def _row(
    study: Study,
    coder: str,
    votes: Votes,
    quality: Quality,
    times: LeadTimes,
    flags: Sequence[str],
    options: ReportOptions,
) -> tuple[Cell, ...]:
    own = [one for one in study.decisions if one.coder == coder]
    timed = [one for one in times.timed if one.coder == coder]
    median, mean = seconds_figures(timed, samples=options.samples, seed=options.seed)
    return (
        study.coder_name(coder),
        len({one.document_id for one in own if not one.skipped}),
        sum(not one.skipped for one in own),
        sum(one.skipped for one in own),
        _per_hour(mean),
        median,
        kept_rate(own),
        raw_agreement(votes, coder, samples=options.samples, seed=options.seed),
        quality.of(coder),
        sum(one.repeat > 0 and not one.skipped for one in own),
        ", ".join(flags),
    )


def _per_hour(seconds: Figure) -> Figure:
    """Documents an hour, of mean seconds a document; what is longest is slowest."""
    if seconds.value is None:
        return undefined(seconds.why)
    low, high = (None if end is None else HOUR / end for end in (seconds.high, seconds.low))
    return Figure(HOUR / seconds.value, seconds.n, low, high)


def kept_rate(decisions: Sequence[Decision]) -> Figure:
    """Of the candidates shown in verified first decisions, how many were kept; ``n`` counts candidates."""
    judged = [one for one in decisions if one.arm is Arm.REVIEW and one.verified and not one.repeat and one.shown]
    shown = sum(len(one.shown.candidates) for one in judged if one.shown)
    return share_figure(sum(len(one.kept) for one in judged), shown, "no candidates were judged")
