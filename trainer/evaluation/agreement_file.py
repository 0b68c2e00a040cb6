"""How far the coders of a plain file of decisions agree: as JSON, and as a section of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.evaluation.agreement_pairs import Pair, pair_heatmap, pair_table, pairs
from trainer.evaluation.agreement_ratings import Ratings
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
from trainer.evaluation.coefficients import alpha, fleiss, gwet, kappa, percent
from trainer.evaluation.decisions_file import FileDecisions
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.resampling import SAMPLES, SEED

KEYS = {"percent": "percent", "kappa": "kappa_pooled", "alpha": "alpha_nominal", "fleiss": "fleiss", "ac1": "gwet_ac1"}
"""What a coefficient is called in JSON."""


@dataclass(frozen=True)
class FileAgreement:
    """``overall`` by name of the coefficient (see ``agreement_words.NAMES``); n of all figures counts units."""

    decisions: FileDecisions
    units: int
    double_coded: int
    ratings: Ratings
    overall: dict[str, Figure]
    pairs: list[Pair]
    samples: int

    def as_json(self) -> dict[str, Any]:
        """Plain data. What is undefined is null, and ``why`` says why; coders are texts, in the order of their ids."""
        named = {KEYS[name]: figure for name, figure in self.overall.items()}
        coders, by_source = self.decisions.coders, self.decisions.by_source
        return {
            "units": self.units,
            "double_coded": self.double_coded,
            **{key: figure.value for key, figure in named.items()},
            "pairs": [_pair(pair, coders) for pair in self.pairs],
            "kept_by_source": {source: kept / number for source, (kept, number) in by_source.items()},
            "decided_by_source": {source: number for source, (_, number) in by_source.items()},
            "source_column": self.decisions.source_column,
            "coders": list(coders),
            "intervals": {key: [figure.low, figure.high] for key, figure in named.items() if figure.low is not None},
            "samples": self.samples,
            "why": self._why(named),
            "notes": list(self.decisions.notes),
        }

    def _why(self, named: dict[str, Figure]) -> dict[str, str]:
        why = {key: figure.why for key, figure in named.items() if figure.why}
        if self.decisions.why_no_source:
            why["kept_by_source"] = self.decisions.why_no_source
        return why

    def section(self) -> Section:
        """The same for people."""
        names = [f"Coder {coder}" for coder in self.decisions.coders]
        blocks: list[Block] = [self._coefficients(), pair_table(self.pairs, names)]
        if len(names) > 2:
            blocks.append(pair_heatmap(self.pairs, names))
        if self.decisions.by_source:
            blocks.append(self._sources())
        notes = (*self.decisions.notes, *METHODS, SCALES)
        return Section("agreement", f"Agreement in {self.decisions.path.name}", self._findings(), tuple(blocks), notes)

    def _coefficients(self) -> Table:
        rows = [(NAMES[name], figure, verbal(name, figure.value)) for name, figure in self.overall.items()]
        return coefficient_table(rows)

    def _sources(self) -> Table:
        columns = (
            Column("source", "Source"), Column("n", "Decisions"), Column("kept", "Kept", Format.PERCENT),
        )  # fmt: skip
        rows = tuple((name, number, kept / number) for name, (kept, number) in self.decisions.by_source.items())
        return Table("kept_by_source", "Kept by source", columns, rows)

    def _findings(self) -> tuple[Finding, ...]:
        found = [
            Finding(
                f"{self.units:,} units by {len(self.decisions.coders)} coders; {self.double_coded:,} were decided by "
                "two or more."
            )
        ]
        nominal = self.overall["alpha"]
        if nominal.value is None:
            found.append(Finding(f"Agreement cannot be computed: {nominal.why}.", Tone.WARNING))
        else:
            word = verbal("alpha", nominal.value)
            found.append(Finding(f"Krippendorff's alpha is {with_interval(nominal)}: {word}.", tone(nominal.value)))
            most = self.decisions.values[int(self.ratings.shares.argmax())]
            warning = prevalence_warning(self.ratings.shares, self.overall, repr(most))
            found += [warning] if warning else []
        return tuple(found)


METHODS = (
    "Percent agreement and Cohen's kappa are over all pairs of coders of a unit, each pair ordered by coder id. Alpha, "
    "Fleiss' kappa and AC1 are over units with two coders or more (of the latter two, chance is by all ratings, as in "
    "Gwet 2014); what a coder did not decide is missing.",
)


def file_agreement(decisions: FileDecisions, *, samples: int = SAMPLES, seed: int = SEED) -> FileAgreement:
    """Every figure of a file, with intervals from ``samples`` draws of its documents; none where ``samples`` is 0."""
    table, number = decisions.table, len(decisions.values)
    ratings = Ratings.of(table, number, decisions.document)
    rows = ratings.rows
    overall = ratings.figures(
        {"percent": percent(rows), "kappa": kappa(rows, number), "alpha": alpha(rows, number),
         "fleiss": fleiss(rows, number), **({"ac1": gwet(rows, number)} if number > 1 else {})},
        samples=samples, seed=seed, unit="unit",
    )  # fmt: skip
    overall.setdefault("ac1", undefined("all ratings are of one category", overall["alpha"].n))
    found = pairs(ratings.by, len(decisions.coders), samples=samples, seed=seed, unit="unit")
    double = int(((table >= 0).sum(axis=1) >= 2).sum())
    return FileAgreement(decisions, len(table), double, ratings, overall, found, samples)


def _pair(pair: Pair, coders: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "coders": [coders[pair.one], coders[pair.two]],
        "n": pair.percent.n,
        "percent": pair.percent.value,
        "kappa": pair.kappa.value,
    }
    if pair.kappa.low is not None:
        found["interval"] = [pair.kappa.low, pair.kappa.high]
    if pair.kappa.why:
        found["why"] = pair.kappa.why
    return found
