"""Agreement of every pair of raters: a table, and a matrix of coders and sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from trainer.evaluation.agreement_panel import Panel
from trainer.evaluation.agreement_ratings import Ratings
from trainer.evaluation.agreement_words import with_interval
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Heatmap, Table, Tone
from trainer.evaluation.coefficients import Coefficient, kappa, percent
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Floats


@dataclass(frozen=True, slots=True)
class Pair:
    """Two raters by their places, the first one's before the second's, and how far they agree."""

    one: int
    two: int
    percent: Figure
    kappa: Figure


def pairs(
    ratings: Callable[[Sequence[int]], Ratings],
    number: int,
    *,
    samples: int,
    seed: int,
    weights: Floats | None = None,
    unit: str = "document",
) -> list[Pair]:
    """Every pair of ``number`` raters. ``ratings`` gives those of some of them; ``weights`` are kappa's."""
    found = []
    for one, two in combinations(range(number), 2):
        own = ratings((one, two))
        coefficients: dict[str, Coefficient] = {
            "percent": percent(own.rows),
            "kappa": kappa(own.rows, own.categories, weights),
        }
        figures = own.figures(coefficients, samples=samples, seed=seed, unit=unit)
        found.append(Pair(one, two, figures["percent"], figures["kappa"]))
    return found


def pair_table(found: Sequence[Pair], names: Sequence[str], kinds: Sequence[str] = ()) -> Table:
    """A row for each pair. ``kinds`` says of each rater what it is; "coder" for all where it is empty."""
    what = kinds or ["coder"] * len(names)
    columns = (
        Column("one", "Rater"),
        Column("two", "With"),
        Column("who", "Who"),
        Column("n", "In common"),
        Column("percent", "Agreement", Format.PERCENT),
        Column("kappa", "Kappa", Format.SHARE),
    )
    rows = tuple(
        (
            names[pair.one], names[pair.two], f"{what[pair.one]} with {what[pair.two]}", pair.percent.n, pair.percent,
            pair.kappa,
        )
        for pair in found
    )  # fmt: skip
    return Table("pairs", "Pairs", columns, rows)


def pair_heatmap(found: Sequence[Pair], names: Sequence[str]) -> Heatmap:
    """Kappa of every pair; nothing on the diagonal, as nobody is compared with themselves there."""
    values: list[list[float | None]] = [[None] * len(names) for _ in names]
    for pair in found:
        values[pair.one][pair.two] = values[pair.two][pair.one] = pair.kappa.value
    rows = tuple(tuple(row) for row in values)
    note = "Empty where it is undefined; the table of pairs says why. Below 0: less than by chance."
    return Heatmap("matrix", "Kappa of all pairs", tuple(names), tuple(names), rows, note=note)


def rater_figures(panel: Panel, options: ReportOptions) -> dict[int, dict[str, Figure]]:
    """By the column of each coder and source: ``percent`` and ``kappa`` with all (other) coders, ``percent_sources``
    and ``kappa_sources`` with all (other) sources. Under -1 those of all pairs of coders."""
    coders, every = panel.coders, [*panel.coders, *panel.sources]
    ratings = panel.ratings(every)
    inside, outside = range(len(coders)), range(len(coders), len(every))
    wanted: dict[tuple[int, str], Coefficient] = {}
    for one, column in enumerate(every):
        for others, ending in ((inside, ""), (outside, "_sources")):
            chosen = [(min(one, two), max(one, two)) for two in others if two != one]
            wanted |= {(column, name + ending): own for name, own in _both(ratings, chosen, panel.weights).items()}
    wanted |= {(-1, name): own for name, own in _both(ratings, list(combinations(inside, 2)), panel.weights).items()}
    keys = {f"{column} {name}": (column, name) for column, name in wanted}
    figures = ratings.figures(
        {key: wanted[place] for key, place in keys.items()}, samples=options.samples, seed=options.seed
    )
    found: dict[int, dict[str, Figure]] = {}
    for key, (column, name) in keys.items():
        found.setdefault(column, {})[name] = figures[key]
    return found


def _both(ratings: Ratings, chosen: list[tuple[int, int]], weights: Floats | None) -> dict[str, Coefficient]:
    return {
        "percent": percent(ratings.rows, chosen),
        "kappa": kappa(ratings.rows, ratings.categories, weights, chosen),
    }


def rater_table(panel: Panel, figures: Mapping[int, Mapping[str, Figure]]) -> Table:
    """Each coder and each source with all coders, and with all sources."""
    columns = [
        Column("rater", "Rater"),
        Column("documents", "Documents"),
        Column("percent", "Agreement with coders", Format.PERCENT),
        Column("kappa", "Kappa with coders", Format.SHARE),
    ]
    if panel.sources:
        columns += [
            Column("percent_sources", "Agreement with sources", Format.PERCENT),
            Column("kappa_sources", "Kappa with sources", Format.SHARE),
        ]
    named = [column.key for column in columns[2:]]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            panel.raters[column].name,
            int((panel.table[:, column] >= 0).sum()),
            *(figures[column][name] for name in named),
        )
        for column in (*panel.coders, *panel.sources)
    )
    return Table("raters", "Each rater with all others", tuple(columns), rows)


def ceiling(panel: Panel, figures: Mapping[int, Mapping[str, Figure]]) -> Finding | None:
    """How near the best source comes to coders, measured by how near coders come to each other."""
    known = [(value, column) for column in panel.sources if (value := figures[column]["kappa"].value) is not None]
    among = figures[-1]["kappa"]
    if not known or among.value is None:
        return None
    value, column = max(known)
    best = figures[column]["kappa"]
    told = f"kappa {with_interval(best)}, and {with_interval(among)} of coders with coders"
    name = panel.raters[column].name
    if value >= among.value or (best.high is not None and best.high >= among.value):
        return Finding(f"{name} agrees with the coders as far as they agree with each other: {told}.", Tone.GOOD)
    return Finding(
        f"{name}, the source nearest to the coders, agrees with them less than they with each other: {told}."
    )
