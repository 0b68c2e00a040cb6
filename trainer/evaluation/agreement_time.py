"""Agreement week by week, and whether it drifts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, timedelta

import numpy as np
from scipy import sparse

from trainer.evaluation.agreement_panel import MISSING, Panel, usable
from trainer.evaluation.agreement_ratings import Ratings, sampled
from trainer.evaluation.agreement_words import NAMES
from trainer.evaluation.blocks import Block, Column, Finding, Format, Lines, Section, Series, Table, Tone
from trainer.evaluation.coefficients import Coefficient, percent
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Floats, Ints, interval
from trainer.evaluation.study import Study

MANY_CODERS = 8  # lines that one plot can hold

NOTES = (
    "A document counts in the week, from Monday, UTC, of the last decision on it that counts. Drift is the slope of a "
    "line through the percent agreement of all pairs by week (least squares), its interval from a bootstrap by "
    "document.",
)


def time_section(study: Study, panel: Panel, options: ReportOptions) -> Section:
    """Percent agreement and alpha of each week's documents, each coder with the others, and the slope."""
    weeks = week_of_documents(study, panel)
    coded = (panel.table[:, panel.coders] != MISSING).sum(axis=1) >= 2
    known = sorted(set(weeks[coded & (weeks != MISSING)].tolist()))
    if not known:
        why = (
            "No document with two coders or more has a time." if coded.any() else "No document has two coders or more."
        )
        return Section("agreement-time", "Agreement over time", (Finding(why, Tone.WARNING),), (), NOTES)
    found = [(week, _of_week(panel, np.flatnonzero(weeks == week), options)) for week in known]
    blocks: list[Block] = [_lines(panel, found), _table(panel, found)]
    if 2 < len(panel.coders) <= MANY_CODERS:
        blocks.append(_coder_lines(panel, weeks, known))
    return Section("agreement-time", "Agreement over time", _drift(panel, weeks, known, options), tuple(blocks), NOTES)


def week_of_documents(study: Study, panel: Panel) -> Ints:
    """The Monday of the last decision on each document, as a day's number [documents]; -1 where no time is known."""
    rows = {name: row for row, name in enumerate(panel.documents)}
    weeks = np.full(len(rows), MISSING, dtype=np.int64)
    for decision in usable(study)[0]:
        if decision.updated_at is not None and not (decision.repeat or decision.ground_truth):
            day = decision.updated_at.astimezone(UTC).date()
            monday = (day - timedelta(days=day.weekday())).toordinal()
            weeks[rows[decision.document_id]] = max(weeks[rows[decision.document_id]], monday)
    return weeks


def _of_week(panel: Panel, documents: Ints, options: ReportOptions) -> dict[str, Figure]:
    ratings = panel.ratings(panel.coders, documents)
    every = panel.coefficients(ratings)
    wanted = {name: every[name] for name in ("percent", panel.alpha_name)}
    return ratings.figures(wanted, samples=options.samples, seed=options.seed)


def _lines(panel: Panel, found: Sequence[tuple[int, dict[str, Figure]]]) -> Lines:
    series = tuple(
        Series(
            NAMES[name],
            tuple(_number(week, found[0][0]) for week, _ in found),
            tuple(figures[name].value for _, figures in found),
            tuple(figures[name].low for _, figures in found),
            tuple(figures[name].high for _, figures in found),
        )
        for name in ("percent", panel.alpha_name)
    )
    return Lines("weeks", "Agreement by week", _x_title(found[0][0]), "agreement", series)


def _table(panel: Panel, found: Sequence[tuple[int, dict[str, Figure]]]) -> Table:
    columns = (
        Column("week", "Week from"),
        Column("n", "Documents"),
        Column("percent", NAMES["percent"], Format.PERCENT),
        Column("alpha", NAMES[panel.alpha_name], Format.SHARE),
    )
    rows = tuple(
        (date.fromordinal(week).isoformat(), figures["percent"].n, figures["percent"], figures[panel.alpha_name])
        for week, figures in found
    )
    return Table("by_week", "By week", columns, rows)


def _coder_lines(panel: Panel, weeks: Ints, known: Sequence[int]) -> Lines:
    """Percent agreement of each coder with all others."""
    found: list[list[float | None]] = [[] for _ in panel.coders]
    for week in known:
        ratings = panel.ratings(panel.coders, np.flatnonzero(weeks == week))
        for place, own in enumerate(found):
            figure = ratings.figures({"percent": with_others(ratings, place)}, samples=0)["percent"]
            own.append(figure.value)
    x = tuple(_number(week, known[0]) for week in known)
    series = tuple(
        Series(panel.raters[column].name, x, tuple(own)) for column, own in zip(panel.coders, found, strict=True)
    )
    return Lines("coders", "Each coder with the others", _x_title(known[0]), "percent agreement", series)


def with_others(ratings: Ratings, rater: int) -> Coefficient:
    """Percent agreement of one rater with all others."""
    return percent(ratings.rows, [(rater, other) for other in range(ratings.rows.shape[1]) if other != rater])


def _drift(panel: Panel, weeks: Ints, known: Sequence[int], options: ReportOptions) -> tuple[Finding, ...]:
    if len(known) < 3:
        return (Finding("Fewer than three weeks have documents with two coders or more: too few to tell a drift."),)
    slope = drift(panel, weeks, options)
    if slope.value is None or slope.low is None or slope.high is None:
        return (Finding(f"Whether agreement drifts is undefined: {slope.why or 'too few documents'}."),)
    told = (
        f"by {100 * slope.value:+.1f} points of percent agreement a week ({100 * slope.low:+.1f} to "
        f"{100 * slope.high:+.1f})"
    )
    if slope.low <= 0 <= slope.high:
        return (Finding(f"Agreement does not drift measurably: {told}."),)
    if slope.value > 0:
        return (Finding(f"Agreement rises {told}.", Tone.GOOD),)
    return (
        Finding(f"Agreement falls {told}.", Tone.BAD),
        Finding("Talk through recent disagreements with the coders.", Tone.NEXT),
    )


def drift(panel: Panel, weeks: Ints, options: ReportOptions) -> Figure:
    """Change of percent agreement for each week that passes, by least squares over pairs of ratings."""
    timed = np.flatnonzero(weeks != MISSING)
    start = int(weeks[timed].min())
    parts: list[Floats] = []
    numbers: list[Ints] = []
    for week in np.unique(weeks[timed]).tolist():
        ratings = panel.ratings(panel.coders, np.flatnonzero(weeks == week))
        agreed = percent(ratings.rows)
        equal, pairs = (agreed if ratings.groups is None else agreed.grouped(ratings.groups)).sums.toarray().T
        x = (week - start) / 7
        parts.append(np.column_stack([pairs, pairs * x, pairs * x * x, equal, equal * x]))
        numbers.append(ratings.counts)
    sums, counts = np.concatenate(parts), np.concatenate(numbers)
    slope = Coefficient(sparse.csr_array(sums), _slope, np.asarray(sums[:, 0] > 0, dtype=np.float64))
    values = sampled({"slope": slope}, counts, options.samples, options.seed)["slope"]
    n = int(counts @ slope.units)
    if not np.isfinite(values[0]):
        return undefined("all documents are of one week", n)
    return Figure(float(values[0]), n, *(interval(values[1:]) if len(values) > 1 else (None, None)))


def _slope(totals: Floats) -> Floats:
    n, x, xx, y, xy = totals.T
    return np.asarray((n * xy - x * y) / (n * xx - x * x))


def _number(week: int, first: int) -> float:
    return 1 + (week - first) / 7


def _x_title(first: int) -> str:
    return f"week (1 is that from {date.fromordinal(first).isoformat()})"
