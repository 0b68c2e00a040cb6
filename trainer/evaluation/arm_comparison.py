"""Does reviewing candidates take less time than choosing from the whole codebook, and by how much?

Compared are the logarithms of lead times, coder by coder: a coder who is slow is slow in both arms. The effect is a
ratio, reviewing to choosing. With enough coders it comes from a mixed-effects model with a random intercept for each
(Laird and Ware, Biometrics 38, 1982), else from a permutation test within coders, whose interval is the same test
inverted (Ernst, Statistical Science 19, 2004), its p-value with the data themselves among the permutations (Phipson and
Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import exp, log

import numpy as np
import numpy.typing as npt

from label_configs.records import Arm, Decision
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.resampling import LEVEL, SAMPLES, SEED, Floats

ENOUGH_CODERS = 5  # of fewer groups a variance is hardly estimated (Gelman and Hill, Data Analysis Using Regression and
# Multilevel/Hierarchical Models, 2007, section 11.5)
ENOUGH_DOCUMENTS = 20  # in each arm
_AT_ONCE = 4_000_000  # cells of permuted arms held in memory

Bools = npt.NDArray[np.bool_]


class Method(StrEnum):
    """How two arms were compared."""

    MIXED = "mixed-effects model"
    PERMUTATION = "permutation test within coders"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Reviewing against another arm: ``ratio`` of their lead times, below 1 where reviewing is faster.

    ``p`` is two-sided, None where nothing was tested. ``why`` says why this method, or none. ``reviewed`` and ``other``
    count lead times, ``coders`` those who coded in both arms.
    """

    arm: Arm
    method: Method
    ratio: Figure
    p: float | None
    coders: int
    reviewed: int
    other: int
    why: str


@dataclass(frozen=True)
class _Times:
    """Logarithms of seconds, whether reviewed, and whose: each [decisions]."""

    logs: Floats
    reviewed: Bools
    coders: npt.NDArray[np.int64]

    @classmethod
    def of(cls, decisions: Iterable[Decision], arm: Arm) -> _Times:
        rows = [
            (log(one.seconds), one.arm is Arm.REVIEW, one.coder)
            for one in decisions
            if one.shown is not None and one.arm in (Arm.REVIEW, arm) and one.seconds
        ]
        _, coders = np.unique([coder for *_, coder in rows], return_inverse=True)
        return cls(np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=bool), coders)

    def of_both(self) -> _Times:
        """Those of coders who coded in both arms: the others say nothing of the difference within a coder."""
        both = np.intersect1d(self.coders[self.reviewed], self.coders[~self.reviewed])
        kept = np.isin(self.coders, both)
        return _Times(self.logs[kept], self.reviewed[kept], self.coders[kept])


def compare_arms(timed: Iterable[Decision], arm: Arm, *, samples: int = SAMPLES, seed: int = SEED) -> Comparison:
    """Lead times of reviewing against those of ``arm``, choose or blind; ``timed`` are trimmed (``lead_times``)."""
    times = _Times.of(timed, arm)
    reviewed = int(times.reviewed.sum())
    other = len(times.logs) - reviewed
    within = times.of_both()
    coders = len(np.unique(within.coders))
    found = Comparison(arm, Method.NONE, undefined(""), None, coders, reviewed, other, "")
    if lacking := _lacking(found):
        return replace(found, ratio=undefined(lacking), why=lacking)
    if coders >= ENOUGH_CODERS and min(reviewed, other) >= ENOUGH_DOCUMENTS:
        ratio, p, trouble = _mixed_model(times)
        if ratio is not None:
            return replace(found, method=Method.MIXED, ratio=ratio, p=p, why=trouble or f"{coders} coders in both arms")
    else:
        trouble = f"a model needs {ENOUGH_CODERS} coders in both arms and {ENOUGH_DOCUMENTS} lead times in each"
    ratio, p = _permutation_test(within, samples, seed)
    return replace(found, method=Method.PERMUTATION, ratio=ratio, p=p, why=trouble)


def _lacking(found: Comparison) -> str:
    """Why two arms cannot be compared; empty where they can."""
    if not (found.reviewed or found.other):
        return "no lead times"
    if not (found.reviewed and found.other):
        return f"no lead times in the arm {found.arm if found.reviewed else Arm.REVIEW}"
    if not found.coders:
        return "no coder has lead times in both arms"
    return ""


def _mixed_model(times: _Times) -> tuple[Figure | None, float | None, str]:
    """Ratio, p-value, and what to know; no ratio where the model did not converge, and then why."""
    from scipy.stats import norm
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    design = np.column_stack([np.ones(len(times.logs)), times.reviewed])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            fitted = MixedLM(times.logs, design, groups=times.coders).fit(reml=True)
            effect, error, p = float(fitted.fe_params[1]), float(fitted.bse_fe[1]), float(fitted.pvalues[1])
        except (np.linalg.LinAlgError, ValueError, OverflowError) as problem:
            return None, None, f"the mixed-effects model could not be fitted ({problem})"
    if not (fitted.converged and np.isfinite([effect, error, p]).all() and error > 0):
        return None, None, "the mixed-effects model did not converge"
    half = float(norm.ppf((1 + LEVEL) / 2)) * error
    ratio = Figure(exp(effect), len(times.logs), exp(effect - half), exp(effect + half))
    boundary = any(issubclass(one.category, ConvergenceWarning) for one in told) and float(fitted.cov_re[0, 0]) < 1e-6
    return ratio, p, "coders hardly differ: their variance is at 0" if boundary else ""


def _permutation_test(times: _Times, samples: int, seed: int) -> tuple[Figure, float]:
    """Arms are dealt anew within each coder; the difference is the coders' own ones, weighted as in a regression."""
    contrast = _contrast(times)
    # Less the coder's mean, which the contrast does not see, sums of reviewed ones are enough.
    effect = float(contrast @ times.logs)
    shifted, overlap = _permuted(times, max(samples, 1), seed)
    p = (1 + int((np.abs(shifted) >= abs(effect) - 1e-12).sum())) / (1 + len(shifted))
    moved = overlap < 1 - 1e-12
    # Permutation i counts against a difference d, one-sidedly, from the d on at which both contrasts are equal; one
    # that leaves the arms as they are, the data themselves among them, counts against every d.
    ends = np.sort((effect - shifted[moved]) / (1 - overlap[moved]))
    beyond = int((1 + len(shifted)) * (1 - LEVEL) / 2) - 1 - int((~moved).sum())
    if not 0 <= beyond < len(ends):
        return Figure(exp(effect), len(times.logs)), p  # too few ways to deal out the arms
    return Figure(exp(effect), len(times.logs), exp(float(ends[beyond])), exp(float(ends[-1 - beyond]))), p


def _contrast(times: _Times) -> Floats:
    """Coefficients [decisions] that make of logarithms their difference between arms within coders.

    They are those of a regression with an intercept for each coder: the arm less its share of the coder's, over the sum
    of squares of that.
    """
    centred = times.reviewed - _means(times.reviewed.astype(np.float64), times.coders)
    return np.asarray(centred / (centred @ centred), dtype=np.float64)


def _permuted(times: _Times, samples: int, seed: int) -> tuple[Floats, Floats]:
    """Of each permutation the contrast of the logarithms, and of the arms as they were: each [samples]."""
    random = np.random.default_rng(seed)
    order = np.argsort(times.coders, kind="stable")
    contrast = _contrast(times)[order]
    outcome = np.column_stack([times.logs, times.reviewed.astype(np.float64)])[order]
    bounds = np.flatnonzero(np.diff(times.coders[order])) + 1
    parts: list[Floats] = []
    step = max(1, _AT_ONCE // len(contrast))
    for first in range(0, samples, step):
        number = min(step, samples - first)
        dealt = [
            random.permuted(np.tile(own, (number, 1)), axis=1)
            for own in np.split(contrast, bounds)
        ]  # fmt: skip
        parts.append(np.concatenate(dealt, axis=1) @ outcome)
    both = np.concatenate(parts)
    return both[:, 0], both[:, 1]


def _means(values: Floats, groups: npt.NDArray[np.int64]) -> Floats:
    """Each one's group mean, [values]."""
    _, numbers = np.unique(groups, return_inverse=True)
    return np.asarray((np.bincount(numbers, values) / np.bincount(numbers))[numbers], dtype=np.float64)
