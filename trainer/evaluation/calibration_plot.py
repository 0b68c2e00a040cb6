"""Does a probability of 0.8 hold eight times in ten? Expected calibration error and reliability plot of each source.

Exclusive: the probability of each document's most probable code, against whether it is right. Otherwise of every pair
of document and label, against whether it holds. The plot has bins of equal mass, as many pairs in each (Nguyen and
O'Connor, EMNLP 2015), so that no point rests on a handful; ECE has ten of equal width, as everywhere else in Winnow
(``ml_backend.calibration``). Intervals are of a bootstrap by document.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from label_configs.codebook import Codebook, Kind
from ml_backend.calibration import MINIMUM, TemperatureFit, temperature_fit
from ml_backend.probabilities import probabilities_of
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Lines, Section, Series, Table, Tone
from trainer.evaluation.code_rates import ratio
from trainer.evaluation.draws import totals
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.judged import Judged, basis_of, code_numbers, indicators_of, judged_sources
from trainer.evaluation.measured import NOTHING, as_figure
from trainer.evaluation.multilabel import Bools
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Floats, Ints, interval
from trainer.evaluation.study import Study

BINS = 10
POOR = 0.1  # ECE above which probabilities should not be shown to coders as they are


def calibration_section(study: Study, options: ReportOptions) -> Section:
    """Every source that proposed for documents with a truth."""
    return calibration_of(judged_sources(study, basis_of(study).documents), study.codebook, options)


def calibration_of(judged: Sequence[Judged], codebook: Codebook, options: ReportOptions) -> Section:
    """The section on those of ``judged`` that have proposals, with probabilities."""
    rows: list[tuple[Cell, ...]] = []
    series: list[Series] = []
    findings: list[Finding] = []
    for one in judged:
        held, said = pairs_of(one, codebook)
        figure = calibration_error(said, held, options)
        fit = _fit(one, codebook)
        mean_said = float(said.mean()) if said.size else None
        rows.append(
            (one.label, len(said), figure, mean_said, float(held.mean()) if said.size else None, fit.ece_tempered,
             fit.temperature)
        )  # fmt: skip
        if said.size:
            series.append(reliability(one.label, said, held, options))
            findings += _findings(one.label, figure, (mean_said or 0.0) > float(held.mean()), fit)
    heads = (Column("source", "source"), Column("documents", "documents"))
    table = Table("calibration", "Probabilities against what holds", (*heads, *_COLUMNS), tuple(rows))
    plot = Lines("reliability", "Reliability", "probability", "share that holds", tuple(series), diagonal=True)
    several = "" if codebook.kind is Kind.EXCLUSIVE else "every pair of document and label"
    return Section(
        "calibration",
        "Calibration",
        tuple(findings) or (Finding("No source has probabilities for a document with a truth.", Tone.NEXT),),
        (table, plot) if series else (),
        (
            f"Judged is {several or 'the most probable code of each document'}. ECE has {BINS} bins of equal width, "
            f"the plot {BINS} of equal mass. The temperature is the one that helps documents it was not fitted on, "
            f"from {MINIMUM} documents on; it comes on top of the source's own.",
        ),
    )


_COLUMNS = (
    Column("ece", "ECE", Format.SHARE),
    Column("mean_probability", "mean probability", Format.SHARE),
    Column("share", "share that holds", Format.SHARE),
    Column("ece_tempered", "ECE, tempered", Format.SHARE),
    Column("temperature", "temperature"),
)


def pairs_of(judged: Judged, codebook: Codebook) -> tuple[Bools, Floats]:
    """What was asked of each document: whether it holds, and its probability; both [documents, pairs].

    Exclusive: one pair, of the most probable code. Labels that the codebook has not are not asked.
    """
    if not judged.proposals:
        return np.zeros((0, 1), dtype=np.bool_), np.zeros((0, 1))
    if codebook.kind is Kind.EXCLUSIVE:
        first = [one.labels[0].probability if one.labels else 0.0 for one in judged.proposals]
        right = code_numbers(judged.truth, codebook) == code_numbers(judged.predicted, codebook)
        return right[:, None], np.array(first)[:, None]
    return indicators_of(judged.truth, codebook)[:, :-1], _probabilities(judged, codebook)


def calibration_error(said: Floats, held: Bools, options: ReportOptions) -> Figure:
    """Expected calibration error of probabilities [documents, pairs], with a bootstrap by document."""
    if not said.size:
        return undefined(NOTHING)
    # As ``ml_backend.calibration.expected_calibration_error``, its sums kept apart by document.
    bin_of = np.clip(np.ceil(said * BINS) - 1, 0, BINS - 1).astype(np.int64)
    excess = _by_bin(said - held, bin_of, BINS)
    drawn = totals(excess, np.ones(len(said), dtype=np.int64), samples=options.samples, seed=options.seed)
    return as_figure(np.abs(drawn).sum(axis=1) / said.size, len(said), NOTHING)


def reliability(name: str, said: Floats, held: Bools, options: ReportOptions) -> Series:
    """Mean probability and share that holds in each bin of equal mass, with its interval; probabilities that are equal
    stay together, so there may be fewer bins."""
    edges = np.unique(np.quantile(said, np.linspace(0, 1, BINS + 1)[1:-1]))
    bin_of: Ints = np.asarray(np.searchsorted(edges, said, side="left"), dtype=np.int64)
    bins = len(edges) + 1
    parts = [_by_bin(values, bin_of, bins) for values in (np.ones(said.shape), said, held.astype(np.float64))]
    drawn = totals(
        np.concatenate(parts, axis=1), np.ones(len(said), dtype=np.int64), samples=options.samples, seed=options.seed
    )
    size, sums, holds = np.split(drawn, 3, axis=1)
    x, shares = ratio(sums, size)[0], ratio(holds, size)
    kept = np.flatnonzero(np.isfinite(x))
    ends = [interval(shares[1:, at]) if len(shares) > 1 else (None, None) for at in kept]
    return Series(
        name, tuple(float(x[at]) for at in kept), tuple(float(shares[0, at]) for at in kept),
        tuple(low for low, _ in ends), tuple(high for _, high in ends),
    )  # fmt: skip


def _by_bin(values: Floats, bin_of: Ints, bins: int) -> Floats:
    """Sums of ``values`` [documents, pairs] over each document's pairs in each bin: [documents, bins]."""
    rows = np.arange(len(values))[:, None] * bins
    weights = np.asarray(values, dtype=np.float64).ravel()
    sums = np.bincount((rows + bin_of).ravel(), weights=weights, minlength=len(values) * bins)
    return sums.astype(np.float64).reshape(len(values), bins)


def _probabilities(judged: Judged, codebook: Codebook) -> Floats:
    known = set(codebook.label_keys)
    place = {key: at for at, key in enumerate(codebook.label_keys)}
    found = np.zeros((len(judged.proposals), len(place)))
    for row, proposal in enumerate(judged.proposals):
        for scored in proposal.labels:
            if scored.label in known:
                found[row, place[scored.label]] = scored.probability
    return found


def _fit(judged: Judged, codebook: Codebook) -> TemperatureFit:
    if not judged.proposals or judged.strange:
        return TemperatureFit(0, None, None, None)
    known = set(codebook.label_keys)
    if any(scored.label not in known for one in judged.proposals for scored in one.labels):
        return TemperatureFit(0, None, None, None)
    return temperature_fit(probabilities_of(judged.proposals, codebook), judged.truth, codebook)


def _findings(name: str, figure: Figure, sure: bool, fit: TemperatureFit) -> list[Finding]:
    if figure.value is None or figure.value <= POOR:
        return []
    way = "too sure of itself" if sure else "less sure than it could be"
    helps = "" if fit.temperature is None else f"; a temperature of {fit.temperature:g} on top of its own would help"
    return [
        Finding(
            f"{name} is {way}: its probabilities are {100 * figure.value:.0f} points off on average (ECE{helps}).",
            Tone.WARNING,
        )
    ]
