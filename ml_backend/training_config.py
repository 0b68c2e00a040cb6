"""How verified documents become an adapter: the section ``training`` of winnow.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ml_backend.source_config import Problem

GATE_METRICS = ("macro_f1", "micro_f1", "accuracy", "balanced_accuracy", "jaccard")


class TooSmall(StrEnum):
    """What becomes of a new adapter where the holdout is too small to tell whether it is better."""

    KEEP = "keep"  # it stays a candidate, the current one proposes on
    PROMOTE = "promote"  # it takes over where the metric, as far as it can be told, is no lower


@dataclass(frozen=True)
class Gate:
    """When a new adapter replaces the current one: probability of being better on ``metric`` over the holdout.

    ``minimum`` is the number of holdout documents below which nothing can be told; ``too_small`` says what then.
    """

    probability: float = 0.9
    minimum: int = 20
    metric: str = "macro_f1"
    too_small: TooSmall = TooSmall.KEEP


class Negatives(StrEnum):
    """Which codes that do not hold are trained on, where several may hold and each is asked about by itself."""

    ALL = "all"  # every code of the codebook, for each document
    HARD = "hard"  # those that coders struck out, and a few others drawn at random


class Balance(StrEnum):
    """What is done for rare codes."""

    NONE = "none"
    WEIGHTS = "weights"  # a rare code's documents count more in the loss
    SAMPLING = "sampling"  # they are seen more often


@dataclass(frozen=True)
class Silver:
    """Documents that no coder saw, trained on with the labels that all sources agree on (distillation).

    ``ratio`` is how many there may be for each verified document trained on, 0 for none; ``probability`` is what every
    source has to give, calibrated; ``weight`` in (0, 1] is what such a document counts.
    """

    ratio: float = 0.0
    probability: float = 0.95
    weight: float = 0.3


@dataclass(frozen=True)
class Training:
    """How verified documents become an adapter of ``base``.

    ``thresholds`` count verified documents, ``every`` those newly verified since the last round's data. A round that is
    due waits until nothing was decided for ``quiet_seconds``. ``holdout_share`` in (0, 1) is the share of documents
    that is never trained on; ``recipe`` names a shipped recipe or a YAML file, ``overrides`` changes single fields of
    it. The adapter proposes with the prompt of its recipe. A round that takes longer than ``time_limit_hours`` fails.
    """

    base: str
    recipe: str = "cpu-small"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    thresholds: tuple[int, ...] = (100, 250, 500, 1000)
    every: int | None = None
    quiet_seconds: float = 0.0
    holdout_share: float = 0.2
    gate: Gate = field(default_factory=Gate)
    negatives: Negatives = Negatives.ALL
    balance: Balance = Balance.NONE
    silver: Silver = field(default_factory=Silver)
    time_limit_hours: float = 24.0


def training_problems(training: Training) -> Iterator[Problem]:
    """What cannot be in the section, each with its place in the file."""
    at, gate = "training", training.gate
    if not training.base:
        yield (at, "base"), "empty; name the model that is trained, a folder or a hub name"
    if not 0 < training.holdout_share < 1:
        yield (at, "holdout_share"), "must lie between 0 and 1"
    if not training.thresholds and training.every is None:
        yield (at, "thresholds"), "neither thresholds nor every; give one of them"
    every = () if training.every is None else (training.every,)
    for name, counts in (("thresholds", training.thresholds), ("every", every)):
        if any(count < 1 for count in counts):
            yield (at, name), "counts documents; use numbers of 1 or more"
    if gate.metric not in GATE_METRICS:
        yield (at, "gate", "metric"), f"{gate.metric!r} is unknown; use {' or '.join(GATE_METRICS)}"
    if not 0 < gate.probability < 1:
        yield (at, "gate", "probability"), "must lie between 0 and 1"
    if gate.minimum < 1:
        yield (at, "gate", "minimum"), "counts documents; use 1 or more"
    if training.quiet_seconds < 0:
        yield (at, "quiet_seconds"), "must be 0 or more"
    if training.time_limit_hours <= 0:
        yield (at, "time_limit_hours"), "must be above 0"
    yield from _silver_problems(training.silver)


def _silver_problems(silver: Silver) -> Iterator[Problem]:
    at = ("training", "silver")
    if silver.ratio < 0:
        yield (*at, "ratio"), "counts documents for each verified one; use 0 or more"
    if not 0.5 <= silver.probability < 1:
        yield (*at, "probability"), "must be at least 0.5 and below 1"
    if not 0 < silver.weight <= 1:
        yield (*at, "weight"), "must be above 0 and at most 1"
