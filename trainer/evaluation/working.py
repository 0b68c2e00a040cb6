"""What coding costs the coders: seconds and keys per document, reviewing against choosing, rubber-stamping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from label_configs.records import Arm, Decision
from trainer.evaluation.arm_comparison import Comparison, Method, compare_arms
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Section, Table, Tone
from trainer.evaluation.figure import Figure
from trainer.evaluation.keystrokes import least_keys
from trainer.evaluation.lead_times import (
    KEY_DIGITS,
    LeadTimes,
    coded,
    lead_times,
    mean,
    per_document,
    seconds_figures,
)
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.rubber_stamping import AS_SHOWN, FLOOR, MARGIN, Sign, share_figure, signs
from trainer.evaluation.study import Study

NOT_RECORDED = "not recorded"
_TIME_NOTE = (
    "Seconds are Label Studio's lead times. Trimmed is what lies beyond the third quartile plus three interquartile "
    "ranges of the logarithms of the coder's own ones in the arm (Tukey 1977). A document's seconds are the mean of "
    "its coders'; intervals are bootstrapped by document. Skips, ground truth and documents shown again do "
    "not count."
)
_KEY_NOTE = (
    "Label Studio records no keys: these are the fewest that each decision takes in its form, submitting included, "
    "with Label Studio's hotkeys. Decisions without a record of what was shown have none."
)
_SHARE_NOTE = "Submitted as shown: of decisions on candidates, with Wilson's interval (1927)."
_ARMS_NOTE = (
    "Documents are drawn into arms by their ids alone, so the difference is not that of the documents. With enough "
    "coders: mixed-effects model of the logarithms of seconds with a random intercept for each coder (Laird and Ware "
    "1982), fitted by REML; else a permutation test within coders, its interval the same test inverted (Ernst 2004)."
)
_STAMP_NOTE = (
    f"A lead time is short below {FLOOR.words_per_second:g} words a second, at least {FLOOR.least:g} s and at most "
    f"{FLOOR.most:g} s a document; adults read some four words a second (Brysbaert 2019). A coder is flagged whose "
    f"share is more than {100 * MARGIN:.0f} points above that of all others together with all of the interval above 0: "
    "Newcombe's (1998), at 95 % for all coders at once. A flag is a reason to look, no verdict: good candidates are "
    "rightly left as they are."
)


@dataclass(frozen=True)
class _Measured:
    """``decisions`` with what was measured of each: the ids of those whose lead time counts, and the least keys.

    Outliers are those of all that a coder did, so that the same lead times count in every table.
    """

    decisions: Sequence[Decision]
    timed: frozenset[int]
    keys: Mapping[int, int | None]
    options: ReportOptions

    @classmethod
    def of(cls, decisions: Sequence[Decision], times: LeadTimes, study: Study, options: ReportOptions) -> _Measured:
        keys = {id(one): least_keys(one, study.codebook) for one in decisions}
        return cls(decisions, frozenset(map(id, times.timed)), keys, options)


def effort_sections(study: Study, options: ReportOptions) -> tuple[Section, ...]:
    """Effort by arm, form, coder and source version; reviewing against choosing; signs of rubber-stamping."""
    decisions = coded(study.decisions)
    if not decisions:
        nothing = Finding("Nothing is coded yet, so there is no effort to report.")
        return (Section("effort", "Effort", (nothing,)),)
    times = lead_times(decisions)
    return (
        _effort(study, decisions, times, options),
        _reject_or_choose(decisions, times, options),
        rubber_stamping_section(study),
    )


def _effort(study: Study, decisions: Sequence[Decision], times: LeadTimes, options: ReportOptions) -> Section:
    measured = _Measured.of(decisions, times, study, options)
    by_coder = _table("coder", "By coder", "coder", lambda one: (one.coder,), measured)
    tables = (
        _table("arm", "By arm", "arm", _arm, measured),
        _table("form", "By form", "form", lambda one: (one.form or NOT_RECORDED,), measured),
        replace(by_coder, rows=_named(by_coder.rows, study)),
        _table("version", "By source version among the candidates", "source version", _versions, measured),
    )
    median, _ = seconds_figures(times.timed, samples=options.samples, seed=options.seed)
    findings = [_median_finding(median, len(decisions))]
    if times.untimed:
        findings.append(Finding(f"{times.untimed:,} of {len(decisions):,} decisions have no lead time."))
    if times.trimmed:
        findings.append(Finding(f"{times.trimmed:,} lead times are outliers, and trimmed."))
    return Section("effort", "Effort", tuple(findings), tables, (_TIME_NOTE, _KEY_NOTE, _SHARE_NOTE))


def _median_finding(median: Figure, decisions: int) -> Finding:
    if median.value is None:
        return Finding(f"{decisions:,} decisions, but how long they took is not known: {median.why}.")
    between = "" if median.low is None else f" (95 % {median.low:.1f} to {median.high:.1f})"
    return Finding(f"Coding a document takes {median.value:.1f} s in the median{between}, of {median.n:,} documents.")


def _arm(decision: Decision) -> tuple[str, ...]:
    return (decision.arm.value if decision.shown else NOT_RECORDED,)


def _versions(decision: Decision) -> Iterable[str]:
    """Each source version that proposed one of the candidates shown."""
    candidates = decision.shown.candidates if decision.shown else ()
    return {f"{by.source} {by.version}" for candidate in candidates for by in candidate.proposers}


def _named(rows: Sequence[tuple[Cell, ...]], study: Study) -> tuple[tuple[Cell, ...], ...]:
    """Rows that begin with a coder's id, in the coders' order, with what reports call them."""
    ids = {coder: number for number, coder in enumerate(study.coders)}
    return tuple((study.coder_name(str(id_)), *rest) for id_, *rest in sorted(rows, key=lambda row: ids[str(row[0])]))


def _table(
    key: str, title: str, heading: str, groups: Callable[[Decision], Iterable[str]], measured: _Measured
) -> Table:
    grouped: dict[str, list[Decision]] = {}
    for decision in measured.decisions:
        for name in groups(decision):
            grouped.setdefault(name, []).append(decision)
    columns = (
        Column(key, heading),
        Column("decisions", "decisions"),
        Column("documents", "documents"),
        Column("median_seconds", "median seconds", Format.SECONDS),
        Column("mean_seconds", "mean seconds, trimmed", Format.SECONDS),
        Column("trimmed", "trimmed"),
        Column("keys", "keys", Format.AMOUNT),
        Column("as_shown", "submitted as shown", Format.PERCENT),
    )
    rows = tuple(_row(name, own, measured) for name, own in sorted(grouped.items()))
    return Table(f"by_{key}", title, columns, rows)


def _row(name: str, decisions: Sequence[Decision], measured: _Measured) -> tuple[Cell, ...]:
    samples, seed = measured.options.samples, measured.options.seed
    timed = [one for one in decisions if id(one) in measured.timed]
    trimmed = sum(one.seconds is not None and one.seconds > 0 for one in decisions) - len(timed)
    median, average = seconds_figures(timed, samples=samples, seed=seed)
    pressed = [(one.document_id, number) for one in decisions if (number := measured.keys[id(one)]) is not None]
    keys = per_document(pressed, mean, KEY_DIGITS, "no record of what was shown", samples=samples, seed=seed)
    shown = [one.untouched for one in decisions if one.shown and one.shown.candidates]
    documents = len({one.document_id for one in decisions})
    as_shown = share_figure(sum(shown), len(shown), "no candidates were shown")
    return name, len(decisions), documents, median, average, trimmed, keys, as_shown


def _reject_or_choose(decisions: Sequence[Decision], times: LeadTimes, options: ReportOptions) -> Section:
    arms = [arm for arm in (Arm.CHOOSE, Arm.BLIND) if any(one.shown and one.arm is arm for one in decisions)]
    found = [compare_arms(times.timed, arm, samples=options.samples, seed=options.seed) for arm in arms or [Arm.CHOOSE]]
    columns = (
        Column("against", "reviewing against"),
        Column("ratio", "ratio of seconds", Format.SHARE),
        Column("p", "p", Format.AMOUNT),
        Column("method", "method"),
        Column("coders", "coders in both"),
        Column("reviewed", "lead times, review"),
        Column("other", "lead times, other"),
        Column("why", "why so"),
    )
    rows = tuple(
        (one.arm.value, one.ratio, one.p, one.method.value, one.coders, one.reviewed, one.other, one.why)
        for one in found
    )
    table = Table("arms", "Reviewing against choosing", columns, rows)
    return Section(
        "reject_or_choose", "Reject against choose", tuple(map(_comparison_finding, found)), (table,), (_ARMS_NOTE,)
    )


def _comparison_finding(found: Comparison) -> Finding:
    arm, ratio = found.arm.value, found.ratio
    if ratio.value is None:
        text = f"Reviewing cannot be compared with the arm {arm}: {found.why}."
        if found.reviewed and not found.other:
            return Finding(f"{text} Set review.{arm}_share in winnow.yaml to have some documents coded so.", Tone.NEXT)
        return Finding(text)
    between = "" if ratio.low is None else f" (95 % {ratio.low:.2f} to {ratio.high:.2f})"
    by = f"{found.method.value}; {found.why}" if found.method is Method.PERMUTATION else found.method.value
    text = f"Reviewing candidates takes {ratio.value:.2f} times as long as the arm {arm}{between}, by a {by}."
    if ratio.low is None or ratio.high is None or ratio.low <= 1 <= ratio.high:
        return Finding(f"{text} Which is faster is not known yet.")
    return Finding(text, Tone.GOOD if ratio.high < 1 else Tone.WARNING)


def rubber_stamping_section(study: Study) -> Section:
    """Each coder's decisions submitted as shown and short lead times, against the other coders'."""
    order = {coder: number for number, coder in enumerate(study.coders)}
    found = sorted(signs(study.decisions, study.documents), key=lambda one: order[one.coder])
    columns = (
        Column("coder", "coder"),
        Column("sign", "sign"),
        Column("share", "share", Format.PERCENT),
        Column("others", "all others", Format.PERCENT),
        Column("above", "above the others", Format.PERCENT),
        Column("flag", "flag"),
    )
    rows = tuple(
        (study.coder_name(one.coder), _sign_name(one), one.own.figure, one.others.figure, one.above,
         "look at it" if one.flagged else "")
        for one in found
    )  # fmt: skip
    findings = [_sign_finding(study, one) for one in found if one.flagged] or [Finding(_no_sign(found))]
    table = Table("signs", "Signs of rubber-stamping", columns, rows)
    return Section("rubber_stamping", "Rubber-stamping", tuple(findings), (table,), (_STAMP_NOTE,))


def _no_sign(found: Sequence[Sign]) -> str:
    if all(sign.above.value is None for sign in found):
        reasons = dict.fromkeys(sign.above.why for sign in found)
        return f"Coders cannot be compared for rubber-stamping: {'; '.join(reasons) or 'nothing is coded yet'}."
    return "No coder submits as shown, or faster than texts can be read, more often than the others."


def _sign_name(sign: Sign) -> str:
    return "submitted as shown" if sign.kind == AS_SHOWN else "lead time too short to read"


def _sign_finding(study: Study, sign: Sign) -> Finding:
    done = "as they were shown" if sign.kind == AS_SHOWN else "faster than their texts can be read"
    own, name = sign.own, study.coder_name(sign.coder)
    more, low, high = (100 * (value or 0.0) for value in (sign.above.value, sign.above.low, sign.above.high))
    return Finding(
        f"{name} submitted {own.count:,} of {own.n:,} documents {done}, {100 * own.count / own.n:.0f} %: {more:.0f} "
        f"points more than the other coders together ({low:.0f} to {high:.0f}). Look at some of them; it may be the "
        "documents.",
        Tone.WARNING,
    )
