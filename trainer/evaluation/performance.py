"""How good sources, adapters and coders are against the truth.

Array level, for whoever has numbers instead of a project (documents in rows, every figure with n and 95 % interval):

    exclusive_figures(truth: ints[n], predicted: ints[n], codes, samples=1000, seed=0)    -> {name: Figure}
    multilabel_figures(truth: bool[n, codes], predicted: bool[n, codes], samples=1000, seed=0) -> {name: Figure}
    exclusive(...), multilabel(...), graded(...)                                           -> Measured

Names are those of ``definitions``, with ``macro_``, ``micro_`` and ``weighted_`` before sensitivity, specificity,
precision, npv and f1; of one code ``f1:3``, ``kappa:0``. With a study, ``judged.judged_sources`` and
``judged.judged_coders`` say who is judged on what, and ``judged.measure`` gives the ``Measured`` of one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from label_configs.codebook import Kind
from trainer.evaluation.blocks import Cell, Column, Finding, Section, Table, Tone
from trainer.evaluation.code_rates import AVERAGED
from trainer.evaluation.code_table import code_section, confusion_section
from trainer.evaluation.definitions import (
    AVERAGES,
    EXCLUSIVE,
    GRADED,
    PRESENCE,
    RATES,
    SEVERAL,
    Definition,
    columns,
    definitions_section,
)
from trainer.evaluation.exclusive import exclusive, exclusive_figures
from trainer.evaluation.graded import graded
from trainer.evaluation.judged import (
    Basis,
    Judged,
    Labels,
    Role,
    basis_of,
    judged_coders,
    judged_sources,
    learned,
    measure,
)
from trainer.evaluation.measured import Measured
from trainer.evaluation.multilabel import multilabel, multilabel_figures
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.study import Study
from trainer.evaluation.weighting import corpus_section

__all__ = [
    "exclusive",
    "exclusive_figures",
    "graded",
    "multilabel",
    "multilabel_figures",
    "performance_sections",
    "sections_of",
]

NAMED = 5  # codes in a sentence
FEW = 100  # documents; an accuracy's interval is some 20 points wide then
Rows = Sequence[tuple[Judged, Measured]]


def performance_sections(study: Study, options: ReportOptions) -> Sequence[Section]:
    """Figures of all sources, adapters and coders; of their codes; confusions; for the corpus; definitions."""
    basis = basis_of(study)
    judged = [*judged_sources(study, basis.documents), *judged_coders(study)]
    notes = basis_notes(study, basis)
    taught = [one.label for one in judged if learned(study, one)]
    if taught and not all(study.documents[name].holdout for name in basis.documents):
        notes.append(f"No holdout: {', '.join(taught)} learned from documents like these, and may look too good.")
    found = sections_of(judged, study.codebook, options, notes=notes, biased=basis.biased)
    corpus = corpus_section(study, options)
    return [*found, *([corpus] if corpus else []), definitions_section()]


def sections_of(
    judged: Iterable[Judged], codebook: Labels, options: ReportOptions, *, notes: Sequence[str], biased: bool = False
) -> list[Section]:
    """The sections on those that are judged, whoever they are: overall, by code, confusions."""
    rows = [(one, measure(one, codebook, samples=options.samples, seed=options.seed)) for one in judged]
    return [
        _overall(rows, codebook, notes, biased=biased),
        code_section(rows, codebook),
        confusion_section(rows, codebook),
    ]


def headline(kind: Kind) -> dict[str, Definition]:
    """The figures over all codes that a codebook of this kind has, in the order of their columns."""
    return {**(EXCLUSIVE if kind is Kind.EXCLUSIVE else SEVERAL), **(GRADED if kind is Kind.GRADED else {})}


def basis_notes(study: Study, basis: Basis) -> list[str]:
    """What sources are judged on and by, and what was left out of it."""
    notes = [f"Truth is {study.truth_from}. Sources are judged on {basis.words}: {len(basis.documents):,}."]
    if any(study.decisions) and "gold" not in study.truth_from:
        notes.append(
            "Coders are judged against what the other coders of each document agree on (majority), on documents with "
            "another coder: where these are wrong together, a coder who is right looks wrong."
        )
    if any(name in basis.documents for name in _reviewed(study)):
        notes.append(
            "Some of these were coded by reviewing candidates: their truth leans to the sources that proposed these."
        )
    if basis.left_out:
        named = f": {', '.join(basis.strange[:5])}" if basis.strange else ""
        what = "labels that the codebook has not" if basis.strange else "none or several codes where one must hold"
        notes.append(f"{basis.left_out:,} documents are left out, their truth has {what}{named}.")
    return notes


def _reviewed(study: Study) -> set[str]:
    """Documents of which a coder saw candidates."""
    return {one.document_id for one in study.decisions if one.shown is not None and one.shown.candidates}


def _overall(rows: Rows, codebook: Labels, notes: Sequence[str], *, biased: bool) -> Section:
    chosen = headline(codebook.kind)
    present = [name for name in chosen if any(name in measured.overall for _, measured in rows)]
    tables = [_table("performance", "Against the truth", rows, chosen, present), _averages(rows)]
    if codebook.kind is Kind.GRADED:
        tables.append(_table("presence", "Codes whatever their level", rows, PRESENCE, list(PRESENCE)))
    return Section(
        "performance",
        "Performance",
        (*_findings(rows, codebook.kind), *_warnings(rows, biased=biased)),
        tuple(tables),
        (*notes, *_strange(rows, codebook.kind), *_never_predicted(rows, codebook)),
    )


def _table(key: str, title: str, rows: Rows, chosen: Mapping[str, Definition], names: Sequence[str]) -> Table:
    heads = (Column("who", "who"), Column("role", "role"), Column("documents", "documents"))
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (one.label, one.role.value, measured.n, *(measured.overall.get(name) for name in names))
        for one, measured in rows
    )
    return Table(key, title, (*heads, *columns(chosen, names), Column("against", "judged against")),
                 tuple((*row, one.against) for row, (one, _) in zip(cells, rows, strict=True)))  # fmt: skip


def _averages(rows: Rows) -> Table:
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (one.label, average, *(measured.overall[f"{average}_{name}"] for name in AVERAGED))
        for one, measured in rows
        for average in AVERAGES
    )
    heads = (Column("who", "who"), Column("average", "average"))
    return Table("averages", "Rates, averaged over codes", (*heads, *columns(RATES, AVERAGED)), cells)


def _findings(rows: Rows, kind: Kind) -> list[Finding]:
    sources = [(one, m) for one, m in rows if one.role is not Role.CODER and m.overall["accuracy"].value is not None]
    if not rows:
        return [Finding("Nobody can be judged yet: no source proposed and no coder decided anything.", Tone.NEXT)]
    if not sources:
        return [Finding("No source has a proposal for a document with a truth, so none can be judged.", Tone.NEXT)]
    best, measured = max(sources, key=lambda pair: pair[1].overall["accuracy"].value or 0.0)
    figure = measured.overall["accuracy"]
    what = "the right code" if kind is Kind.EXCLUSIVE else "exactly the right set of codes"
    between = f" ({100 * figure.low:.1f}–{100 * figure.high:.1f} %)" if figure.low is not None and figure.high else ""
    text = f"{best.label} has {what} for {100 * (figure.value or 0):.1f} %{between} of {figure.n:,} documents"
    others = f", the best of {len(sources)} sources" if len(sources) > 1 else ""
    return [Finding(f"{text}{others}.")]


def _warnings(rows: Rows, *, biased: bool) -> list[Finding]:
    found = []
    few = sorted({m.n for one, m in rows if one.role is not Role.CODER and m.n})
    if few and few[-1] < FEW:
        found.append(
            Finding(
                f"Only {few[-1]} documents to judge sources by: intervals are wide, code {FEW - few[-1]} more.",
                Tone.NEXT,
            )
        )
    if biased and few:
        found.append(
            Finding(
                "Sources' doubt chose what was coded: figures on these documents are too low for the corpus; see the "
                "estimates for the corpus.",
                Tone.WARNING,
            )
        )
    sizes = {m.n for one, m in rows if one.role is not Role.CODER and m.n}
    if len(sizes) > 1:
        found.append(
            Finding(
                f"Sources proposed for different documents ({min(sizes):,} to {max(sizes):,}): compare them in the "
                "comparison, which is on shared documents.",
                Tone.WARNING,
            )
        )
    return found


def _strange(rows: Rows, kind: Kind) -> list[str]:
    """What is odd about labels: some that are not in the codebook, or nothing to judge by."""
    fate = "are left out" if kind is Kind.GRADED else "count as wrong"
    found = [
        f"{one.label} says labels that the codebook has not ({', '.join(one.strange[:NAMED])}): they {fate}. Was it "
        "asked with another codebook?"
        for one, _ in rows
        if one.strange
    ]
    for role, why in (
        (Role.CODER, "no document that another coder coded as well, or that gold has"),
        (Role.SOURCE, "no proposal for a document to judge by"),
        (Role.ADAPTER, "no proposal for a document to judge by"),
    ):
        without = [one.label for one, measured in rows if one.role is role and not measured.n]
        found += [f"Undefined, n = 0: {', '.join(without)}: {why}."] if without else []
    return found


def _never_predicted(rows: Rows, codebook: Labels) -> list[str]:
    found = []
    for one, measured in rows:
        both = zip(codebook.label_keys, measured.truth.tolist(), measured.predicted.tolist(), strict=False)
        never = [key for key, held, called in both if held and not called]
        if never:
            more = f" and {len(never) - NAMED} more" if len(never) > NAMED else ""
            found.append(
                f"{one.label} never says {', '.join(never[:NAMED])}{more}: precision and MCC of such a code are "
                "undefined, and macro and weighted means of them are of the other codes."
            )
    return found
