"""The evaluation on a terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Group
from rich.table import Table
from rich.text import Text

from trainer.evaluation.costs import PER
from trainer.evaluation.mixing import MixingReport
from trainer.evaluation.report import Evaluation, KeptRow
from trainer.evaluation.verdicts import GateReport, Lead
from trainer.gate_metrics import NAMES

NOTHING = "–"


def tables(evaluation: Evaluation) -> Group:
    """A row per source: how good it is, who leads, what it costs; then effort by arm, and what to know."""
    parts = [_quality(evaluation)]
    if evaluation.gate and evaluation.gate.lead:
        parts.append(_lead(evaluation.gate.lead))
    if evaluation.costs:
        parts.append(_costs(evaluation))
    if evaluation.effort:
        parts.append(_effort(evaluation))
    if evaluation.mixing:
        parts.append(_weights(evaluation.mixing))
    return Group(*parts, *(Text(line) for line in _lines(evaluation)))


def _quality(evaluation: Evaluation) -> Table:
    result = Table(title=f"Sources on the same {evaluation.n} holdout documents")
    result.add_column("source", no_wrap=True)
    for heading in ("n", "accuracy", "macro-F1", "balanced accuracy", "ECE", "candidates kept"):
        result.add_column(heading, justify="right")
    kept = {row.name: row for row in evaluation.kept}
    measured = {row.name: row for row in evaluation.sources}
    for name in [*measured, *(name for name in kept if name not in measured)]:
        source = measured.get(name)
        figures = (
            (
                _percent(source.accuracy),
                _figure(source.macro_f1),
                _percent(source.balanced_accuracy),
                _figure(source.calibration.ece),
            )
            if source
            else (NOTHING,) * 4
        )
        result.add_row(name, str(source.n if source else 0), *figures, _kept_cell(kept.get(name)))
    return result


def _lead(lead: Lead) -> Table:
    result = Table(title=f"Who leads the candidates, by the {lead.n} holdout documents of round {lead.round}")
    result.add_column("source", no_wrap=True)
    for heading in (NAMES.get(lead.metric, lead.metric), "first choice kept since", "pooled", "leads"):
        result.add_column(heading, justify="right")
    for row in lead.rates:
        kept = f"{row.firsts.kept:g}/{row.firsts.shown:g}" if row.firsts.shown else NOTHING
        result.add_row(
            row.source, _figure(row.value), kept, _figure(row.rate), "yes" if row.source == lead.source else ""
        )
    return result


def _gate_lines(gate: GateReport) -> list[str]:
    lines = [f"Gate, round {one.round}: {one.state}. {one.reason}" for one in gate.verdicts]
    if gate.lead:
        why = gate.lead.why
        lines.append(f"{why[:1].upper()}{why[1:]}.")
    return lines


def _costs(evaluation: Evaluation) -> Table:
    result = Table(title=f"What {PER:,} documents cost")
    result.add_column("source", no_wrap=True)
    for heading in ("documents", "tokens", "output tokens", "device seconds", "price", "truncated"):
        result.add_column(heading, justify="right")
    for row in evaluation.costs:
        costs = row.costs
        result.add_row(
            row.name,
            f"{costs.documents:,}",
            _count(costs.tokens),
            _count(costs.output_tokens),
            NOTHING if costs.seconds is None else f"{costs.seconds:,.1f}",
            NOTHING if costs.price is None else f"{costs.price:.4g}",
            _percent(costs.truncated),
        )
    return result


def _effort(evaluation: Evaluation) -> Table:
    result = Table(title="What coding took, by arm")
    result.add_column("arm", no_wrap=True)
    for heading in ("decisions", "median seconds", "submitted as shown", "labels per document"):
        result.add_column(heading, justify="right")
    for row in evaluation.effort:
        result.add_row(
            row.arm.value,
            f"{row.n:,}",
            NOTHING if row.seconds is None else f"{row.seconds:,.1f}",
            _percent(row.untouched),
            NOTHING if row.labels is None else f"{row.labels:.2f}",
        )
    return result


def _weights(mixing: MixingReport) -> Table:
    result = Table(title=f"Weights of the sources, learned from decisions on {mixing.documents} documents")
    versions = Counter(row.source for row in mixing.sources)
    result.add_column("source", overflow="fold")
    for heading in ("mass shown", "mass kept", "weight", "lowest", "highest"):
        result.add_column(heading, justify="right")
    for row in mixing.sources:
        name = row.source if versions[row.source] == 1 else f"{row.source} {row.version}"
        codes = sorted(row.codes, key=lambda one: one.weight)
        ends = (f"{one.code} {one.weight:.2f}" for one in (codes[0], codes[-1]))
        result.add_row(name, f"{row.shown:.1f}", f"{row.kept:.1f}", f"{row.weight:.2f}", *ends)
    return result


def _weights_lines(mixing: MixingReport) -> list[str]:
    effect = mixing.effect
    if not effect.n:
        return []
    changed = [f"{_percent(count / effect.n)}" for count in (effect.first, effect.order, effect.set)]
    return [
        f"Against equal weights, of {effect.n} documents that coders judged another candidate comes first in "
        f"{changed[0]}, the order differs in {changed[1]}, the set in {changed[2]}.",
        f"The first candidate is right in {_percent(effect.right_equal / effect.n)} by equal weights, in "
        f"{_percent(effect.right_weighted / effect.n)} by learned ones (cross-fitted: {effect.gained} gained, "
        f"{effect.lost} lost).",
    ]


def _lines(evaluation: Evaluation) -> list[str]:
    held = evaluation.candidates_held_truth
    lines = _gate_lines(evaluation.gate) if evaluation.gate else []
    if held.n and evaluation.mean_candidates is not None:
        lines.append(
            f"Candidates held all true codes of {held.hits} of {held.n} documents ({_percent(held.rate)}), "
            f"{evaluation.mean_candidates:.1f} candidates per document."
        )
    if evaluation.mixing:
        lines.extend(_weights_lines(evaluation.mixing))
    lines.extend(f"Note: {note}." for note in evaluation.notes)
    lines.extend(f"{line[:1].upper()}{line[1:]}." for line in evaluation.advice)
    return lines


def _kept_cell(row: KeptRow | None) -> str:
    return f"{_percent(row.rate)} ({row.kept}/{row.proposed})" if row else NOTHING


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f} %"


def _figure(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"
