"""Is the new adapter better than what proposes now? A paired bootstrap over the documents of the holdout.

All models are asked about the same documents. These are drawn with replacement ``samples`` times, and the metric of
each is computed on every draw; the share of draws in which one is ahead of another, ties counted half, is read as the
probability that it is better (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 16; paired as in Koehn,
Statistical Significance Tests for Machine Translation Evaluation, EMNLP 2004). The interval of a difference holds the
middle 95 % of the draws' differences (percentile interval, op. cit., ch. 13).

What proposes now decides on the promotion. Beside it stand *bars* (``trainer.bars``), learned from the same examples in
seconds: one that is ahead does not forbid the promotion, it leads the candidates (``ml_backend.leading``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from label_configs.codes import Kind
from ml_backend.training_config import TooSmall
from trainer.bars import TFIDF_NAME
from trainer.gate_metrics import NAMES, Floats, LabelSets, LabelTable

__all__ = ["BarVerdict", "GateVerdict", "LabelSets", "Verdict", "judge"]

NEW = "the adapter"
SEED = 0  # of the bootstrap
_NO_SOURCE = " It is no source and proposes nothing: verify more documents, or add a source of kind probe."
_DRAWS_AT_ONCE = 256  # bounds memory: 256 draws of 10,000 documents are 20 MB
_TIE = 1e-12  # a sum in another order may differ in the last bit


class Verdict(StrEnum):
    """``promoted``: it takes over; ``kept``: not better with the probability asked for; ``undecidable``: cannot be
    told, the new one stays a candidate."""

    PROMOTED = "promoted"
    KEPT = "kept"
    UNDECIDABLE = "undecidable"


@dataclass(frozen=True, slots=True)
class BarVerdict:
    """A bar beside the new adapter: its ``value`` of the metric, the ``probability`` that the bar is better, and the
    95 % ``interval`` of bar minus adapter. None where undefined or not computed."""

    name: str
    value: float | None
    probability: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The verdict with what it rests on. ``reason`` is for a person, with figures; it says who leads where bars stand.

    ``new`` and ``current`` are the metric on the holdout, ``probability`` that the new one is better, ``interval`` the
    95 % confidence interval of new minus current; None when undefined (no documents, or none of them carries a label)
    or not computed. ``n`` counts documents. ``leader`` is the bar of the highest metric where that is above the new
    adapter's, "adapter" where none is, "" where it cannot be told.
    """

    verdict: Verdict
    reason: str
    metric: str
    n: int
    new: float | None
    current: float | None
    probability: float | None
    interval: tuple[float, float] | None = None
    bars: tuple[BarVerdict, ...] = ()
    leader: str = ""


def judge(
    truth: LabelSets,
    new: LabelSets,
    current: LabelSets,
    *,
    probability: float = 0.9,
    minimum: int = 20,
    samples: int = 2000,
    seed: int = SEED,
    metric: str = "macro_f1",
    too_small: TooSmall = TooSmall.KEEP,
    kind: Kind = Kind.EXCLUSIVE,
    bars: Mapping[str, LabelSets] | None = None,
) -> GateVerdict:
    """Compare predictions of the same holdout; all sequences are in the same order of documents.

    A document has one label (exclusive) or several or none; the ``metric`` is one of ``trainer.gate_metrics``. With
    fewer than ``minimum`` documents nothing can be told: undecidable, or with ``too_small`` PROMOTE promoted where the
    metric is no lower. The same arguments give the same verdict. Raises TrainingError when the lengths differ.
    """
    bars = bars or {}
    n, name = len(truth), NAMES.get(metric, metric)
    table = LabelTable.of(truth, [new, current, *bars.values()], kind)
    whole = table.scores(metric, np.ones((1, n)))[:, 0]
    values = [None if np.isnan(value) else float(value) for value in whole]
    new_value, current_value = values[:2]
    untold = tuple(BarVerdict(bar, value, None, None) for bar, value in zip(bars, values[2:], strict=True))
    if new_value is None or current_value is None:
        reason = _undefined(name, n)
        return GateVerdict(Verdict.UNDECIDABLE, reason, metric, n, new_value, current_value, None, bars=untold)
    if n < minimum:
        verdict, reason = _too_small(name, n, minimum, new_value, current_value, too_small)
        return GateVerdict(verdict, reason, metric, n, new_value, current_value, None, bars=untold)

    draws = _draws(table, metric, n, samples, seed)
    chance, interval = _ahead(draws[0], draws[1])
    verdict = Verdict.PROMOTED if chance >= probability else Verdict.KEPT
    relation = "at least" if verdict is Verdict.PROMOTED else "less than"
    reason = (
        f"{name} {new_value:.3f} against {current_value:.3f} on {n} holdout documents (difference "
        f"{new_value - current_value:+.3f}, 95 % interval {_range(interval)}): better with probability {chance:.3f}, "
        f"{relation} the {probability:g} asked for."
    )
    beside = tuple(
        BarVerdict(bar.name, bar.value, *_ahead(own, draws[0])) for bar, own in zip(untold, draws[2:], strict=True)
    )
    leader = _leader(beside, new_value)
    reason = " ".join(filter(None, (reason, _lead(beside, leader, new_value, name, n))))
    return GateVerdict(verdict, reason, metric, n, new_value, current_value, chance, interval, beside,
                       leader.name if leader else "adapter")  # fmt: skip


def _undefined(name: str, n: int) -> str:
    if not n:
        return f"There is no holdout document, so {name} is undefined: verify more documents."
    return f"None of the {n} holdout documents carries a label, so {name} is undefined: verify more documents."


def _too_small(name: str, n: int, minimum: int, new: float, current: float, policy: TooSmall) -> tuple[Verdict, str]:
    figures = f"{name} {new:.3f} against {current:.3f} on {n} holdout documents, at least {minimum} are needed to tell"
    if policy is TooSmall.KEEP:
        return Verdict.UNDECIDABLE, f"{figures}: kept as a candidate; verify more documents."
    if new < current - _TIE:
        return Verdict.UNDECIDABLE, f"{figures}: kept as a candidate, being lower; verify more documents."
    return (
        Verdict.PROMOTED,
        f"{figures}: promoted all the same, being no lower, as `too_small: promote` asks for.",
    )


def _draws(table: LabelTable, metric: str, n: int, samples: int, seed: int) -> Floats:
    """The metric ``[models, samples]`` of each model on every draw."""
    generator = np.random.default_rng(seed)
    parts = []
    for start in range(0, samples, _DRAWS_AT_ONCE):
        weights = generator.multinomial(n, np.full(n, 1 / n), size=min(_DRAWS_AT_ONCE, samples - start))
        parts.append(table.scores(metric, weights.astype(np.float64)))
    return np.concatenate(parts, axis=1)


def _ahead(one: Floats, other: Floats) -> tuple[float, tuple[float, float] | None]:
    """The probability that ``one`` is better than ``other``, and the 95 % interval of their difference."""
    difference = one - other
    # A draw without any labelled document has no macro-F1 and says nothing.
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        return 0.5, None
    tied = np.abs(difference) < _TIE
    chance = float(np.mean(np.where(tied, 0.5, difference > 0)))
    low, high = np.quantile(difference, (0.025, 0.975))
    return chance, (float(low), float(high))


def _leader(bars: tuple[BarVerdict, ...], new: float) -> BarVerdict | None:
    """The bar of the highest metric, where that is above the new adapter's."""
    above = [bar for bar in bars if bar.value is not None and bar.value > new + _TIE]
    return max(above, key=lambda bar: bar.value or 0.0, default=None)


def _lead(bars: tuple[BarVerdict, ...], leader: BarVerdict | None, new: float, name: str, n: int) -> str:
    if leader is not None and leader.value is not None and leader.probability is not None:
        return (
            f"{leader.name} leads: {name} {leader.value:.3f} against {NEW}'s {new:.3f} on {n} documents, better with "
            f"probability {leader.probability:.3f}.{_NO_SOURCE if leader.name == TFIDF_NAME else ''}"
        )
    others = [f"{bar.value:.3f} of {bar.name}" for bar in bars if bar.value is not None]
    return f"{NEW.capitalize()} leads: {name} {new:.3f} against {' and '.join(others)}." if others else ""


def _range(interval: tuple[float, float] | None) -> str:
    return "unknown" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"
