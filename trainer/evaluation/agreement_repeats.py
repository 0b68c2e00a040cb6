"""How far coders agree with themselves, on documents that they were shown again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.evaluation.agreement_panel import Panel, labels_of
from trainer.evaluation.agreement_ratings import Ratings
from trainer.evaluation.agreement_words import verbal, with_interval
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Section, Table, Tone
from trainer.evaluation.coefficients import alpha, kappa, percent
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Ints
from trainer.evaluation.study import Study
from trainer.repeats import Repeated, repeated

LOW = 0.9  # share of equal answers below which a coder is pointed out

NOTES = (
    "The first decision of a coder on a document against their first on its copy. Skipped, unsure and unresolved "
    "decisions are left out. A coder cannot be expected to agree with others more than with themselves.",
)


def repeat_section(study: Study, panel: Panel, options: ReportOptions) -> Section:
    """Each coder's two decisions on the same document, all coders together and each by themselves."""
    known = set(study.codebook.label_keys)
    found = [
        one
        for one in repeated(study.decisions)
        if all(each.verified and known.issuperset(each.labels) for each in (one.first, one.second))
        and (not panel.exclusive or all(len(set(each.labels)) == 1 for each in (one.first, one.second)))
    ]
    if not found:
        told = Finding(
            "No coder has decided on a document twice: whether they agree with themselves is undefined. "
            "review.repeat_share in winnow.yaml shows some documents again."
        )
        return Section("agreement-repeats", "Coders with themselves", (told,), (), NOTES)
    rows = [_row(panel, "all coders", found, options)]
    for coder in study.coders:
        own = [one for one in found if one.first.coder == coder]
        if own:
            rows.append(_row(panel, study.coder_name(coder), own, options))
    same = [one for one in found if one.same_shown]
    if 0 < len(same) < len(found):
        rows.append(_row(panel, "all, the same candidates shown", same, options))
    what = "same code" if panel.exclusive else "same set"
    columns = (
        Column("coder", "Coder"),
        Column("n", "Documents"),
        Column("percent", what.capitalize(), Format.PERCENT),
        Column("kappa", "Kappa", Format.SHARE),
        Column("alpha", "Alpha" if panel.exclusive else "Alpha, MASI", Format.SHARE),
    )
    table = Table("repeats", "Documents decided on twice", columns, tuple(rows))
    return Section("agreement-repeats", "Coders with themselves", tuple(_findings(rows, what)), (table,), NOTES)


def _row(panel: Panel, name: str, found: Sequence[Repeated], options: ReportOptions) -> tuple[Cell, ...]:
    sets, table = _sets(found)
    own = Panel(panel.codebook, (), tuple(str(row) for row in range(len(table))), sets, table, table[:, :0], 0)
    whole, answers = own.set_ratings((0, 1)), own.ratings((0, 1))
    told = whole.figures(
        {"percent": percent(whole.rows), "alpha": alpha(whole.rows, whole.categories, own.distance)},
        samples=options.samples, seed=options.seed,
    )  # fmt: skip
    kappas = _kappa(answers, own, options)
    return name, len(found), told["percent"], kappas, told["alpha"]


def _kappa(answers: Ratings, panel: Panel, options: ReportOptions) -> Figure:
    wanted = {"kappa": kappa(answers.rows, answers.categories, panel.weights)}
    return answers.figures(wanted, samples=options.samples, seed=options.seed)["kappa"]


def _sets(found: Sequence[Repeated]) -> tuple[tuple[tuple[str, ...], ...], Ints]:
    places: dict[tuple[str, ...], int] = {}
    table = [[places.setdefault(labels_of(each), len(places)) for each in (one.first, one.second)] for one in found]
    return tuple(places), np.array(table, dtype=np.int64)


def _findings(rows: Sequence[tuple[Cell, ...]], what: str) -> list[Finding]:
    every = rows[0][2]
    assert isinstance(every, Figure)
    assert every.value is not None
    kappas = rows[0][3]
    beside = f", kappa {with_interval(kappas)}" if isinstance(kappas, Figure) and kappas.value is not None else ""
    word = verbal("kappa", kappas.value) if isinstance(kappas, Figure) else ""
    told = f"Coders give the {what} again on {100 * every.value:.0f} % of {every.n:,} documents{beside}"
    found = [Finding(f"{told}{f' ({word})' if word else ''}.", Tone.GOOD if every.value >= LOW else Tone.WARNING)]
    for row in rows[1:]:
        name, figure = row[0], row[2]
        if isinstance(figure, Figure) and figure.high is not None and figure.high < LOW and "all" not in str(name)[:3]:
            found.append(
                Finding(
                    f"{name} gives the {what} again on {100 * (figure.value or 0):.0f} % of {figure.n}.", Tone.WARNING
                )
            )
    return found
