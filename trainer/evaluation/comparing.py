"""Is one source better than another, or was it luck? Paired bootstrap, and McNemar's test with Holm's correction.

Both sources are judged on the same documents, and every sample of the bootstrap draws the same documents for both
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993): the interval is of the difference. McNemar
(Psychometrika 1947) tests whether one is right where the other is wrong as often as the other way round, by the exact
binomial test; right is the whole set of codes. Holm (Scandinavian Journal of Statistics 1979) corrects p for all
pairs compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from label_configs.codebook import Kind
from trainer.evaluation.blocks import Column, Finding, Format, Section, Table, Tone
from trainer.evaluation.code_rates import Tally, code_rates, mean, ratio
from trainer.evaluation.draws import distinct, totals
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.judged import Judged, Labels, basis_of, indicators_of, judged_sources
from trainer.evaluation.measured import as_figure
from trainer.evaluation.multilabel import Bools, set_statistics, set_values, width
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Floats
from trainer.evaluation.study import Study

LEVEL = 0.05
COMPARED = ("accuracy", "macro_f1", "balanced_accuracy")
NAMED = 5  # pairs in a sentence
NO_COMMON = "no document with a truth that both proposed for"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``first`` against ``second`` on ``n`` shared documents. ``differences`` are first - second, by figure.

    ``only_first`` and ``only_second`` count documents that only one of them has wholly right; ``p`` is McNemar's,
    ``corrected`` with Holm's correction, both None without shared documents.
    """

    first: str
    second: str
    n: int
    differences: dict[str, Figure]
    only_first: int
    only_second: int
    p: float | None
    corrected: float | None = None


def comparison_section(study: Study, options: ReportOptions) -> Section:
    """Every pair of sources, adapters in all their versions among them."""
    return compared(judged_sources(study, basis_of(study).documents), study.codebook, options)


def compared(judged: Sequence[Judged], codebook: Labels, options: ReportOptions) -> Section:
    """The section on all pairs of those that are judged."""
    rows = comparisons(judged, codebook, options)
    if not rows:
        told = "There are not two sources to compare."
        return Section("comparison", "Comparison of sources", (Finding(told),), notes=(told,))
    heads = (Column("first", "first"), Column("second", "second"), Column("documents", "shared documents"))
    differences = (
        Column("accuracy", "accuracy", Format.PERCENT), Column("macro_f1", "macro-F1", Format.SHARE),
        Column("balanced_accuracy", "balanced accuracy", Format.PERCENT),
    )  # fmt: skip
    tests = (
        Column("only_first", "only first right"), Column("only_second", "only second right"),
        Column("mcnemar", "McNemar p", Format.AMOUNT), Column("holm", "p (Holm)", Format.AMOUNT),
    )  # fmt: skip
    cells = tuple(
        (one.first, one.second, one.n, *(one.differences[name] for name in COMPARED), one.only_first, one.only_second,
         one.p, one.corrected)
        for one in rows
    )  # fmt: skip
    return Section(
        "comparison",
        "Comparison of sources",
        tuple(_findings(rows)),
        (Table("comparison", "Differences, first minus second", (*heads, *differences, *tests), cells),),
        (
            f"Intervals: paired bootstrap, {options.samples:,} samples of the shared documents. McNemar: exact "
            f"binomial test on documents that only one has wholly right; Holm over {len(rows)} pairs.",
        ),
    )


def comparisons(judged: Sequence[Judged], codebook: Labels, options: ReportOptions) -> list[Comparison]:
    """All pairs, in order, each on the documents that both have; p corrected over those that have any."""
    found = [_compare(*pair, codebook, options) for pair in combinations(judged, 2)]
    tested = [one for one in found if one.p is not None]
    if not tested:
        return found
    from statsmodels.stats.multitest import multipletests

    corrected = iter(multipletests([one.p for one in tested], method="holm")[1].tolist())
    return [
        Comparison(one.first, one.second, one.n, one.differences, one.only_first, one.only_second, one.p,
                   next(corrected) if one.p is not None else None)
        for one in found
    ]  # fmt: skip


def _compare(first: Judged, second: Judged, codebook: Labels, options: ReportOptions) -> Comparison:
    shared = set(first.documents) & set(second.documents)
    if not shared:
        return Comparison(first.label, second.label, 0, {name: undefined(NO_COMMON) for name in COMPARED}, 0, 0, None)
    one, other = first.of(shared), _in_order(second, first.of(shared).documents)
    truth = indicators_of(one.truth, codebook)
    guesses = [indicators_of(own.predicted, codebook) for own in (one, other)]
    chosen, counts = distinct([truth, *guesses])
    statistics = [set_statistics(truth[chosen], own[chosen]) for own in guesses]
    drawn = totals(np.concatenate(statistics, axis=1), counts, samples=options.samples, seed=options.seed)
    half = width(truth.shape[1])
    values = [_values(own, truth.shape[1], codebook.kind) for own in (drawn[:, :half], drawn[:, half:])]
    only = [_right(truth, own) for own in guesses]
    wins, losses = int((only[0] & ~only[1]).sum()), int((only[1] & ~only[0]).sum())
    differences = {
        name: as_figure(values[0][name] - values[1][name], len(truth), "undefined for one of them") for name in COMPARED
    }
    return Comparison(first.label, second.label, len(truth), differences, wins, losses, mcnemar(wins, losses))


def mcnemar(only_first: int, only_second: int) -> float:
    """p of the exact test that either is right alone equally often; 1 where neither ever is (statsmodels)."""
    if not only_first + only_second:
        return 1.0
    from statsmodels.stats.contingency_tables import mcnemar as test

    return float(test([[0, only_first], [only_second, 0]], exact=True).pvalue)


def _in_order(judged: Judged, documents: Sequence[str]) -> Judged:
    """The same with its documents in this order, of which it has all."""
    place = {name: at for at, name in enumerate(judged.documents)}
    order = [place[name] for name in documents]
    return Judged(
        judged.key, judged.label, judged.role, tuple(documents), tuple(judged.truth[at] for at in order),
        tuple(judged.predicted[at] for at in order), judged.against,
    )  # fmt: skip


def _values(drawn: Floats, codes: int, kind: Kind) -> dict[str, Floats]:
    """The figures compared, [1 + samples] each; what none of the codes is never true, so it has no part in a mean."""
    if kind is not Kind.EXCLUSIVE:
        return set_values(drawn, codes)[0]
    tally = Tally(drawn[:, 0], *np.split(drawn[:, 5:], 3, axis=1))
    rates = code_rates(tally)
    accuracy = ratio(drawn[:, 1], tally.n)
    return {"accuracy": accuracy, "macro_f1": mean(rates["f1"]), "balanced_accuracy": mean(rates["sensitivity"])}


def _right(truth: Bools, predicted: Bools) -> Bools:
    found: Bools = (truth == predicted).all(axis=1)
    return found


def _findings(rows: Sequence[Comparison]) -> list[Finding]:
    tested = [one for one in rows if one.corrected is not None]
    apart = [one for one in tested if (one.corrected or 0.0) <= LEVEL and one.differences["accuracy"].value]
    found = [_sentence(one) for one in apart]
    if alike := [one for one in tested if one not in apart]:
        named = "; ".join(f"{one.first} and {one.second} ({one.n:,})" for one in alike[:NAMED])
        more = f" and {len(alike) - NAMED} more pairs" if len(alike) > NAMED else ""
        found.append(Finding(f"Cannot be told apart, on so many shared documents: {named}{more}."))
    if len(tested) < len(rows):
        found.append(Finding(f"{len(rows) - len(tested)} of {len(rows)} pairs have {NO_COMMON}.", Tone.WARNING))
    return found


def _sentence(one: Comparison) -> Finding:
    difference = one.differences["accuracy"].value or 0.0
    better, worse = (one.first, one.second) if difference > 0 else (one.second, one.first)
    return Finding(
        f"{better} beats {worse} by {100 * abs(difference):.1f} points of accuracy on {one.n:,} shared documents "
        f"(McNemar, Holm-corrected p = {one.corrected:.2g}).",
        Tone.GOOD,
    )
