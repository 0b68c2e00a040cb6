"""What judging predictions comes to: figures over all documents, and of each code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trainer.evaluation.code_rates import RATES
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.resampling import Floats, Ints, interval

ABSENT = "absent from the truth"
NOTHING = "no document to judge by"
WHYS: Mapping[str, str] = {
    "precision": "never predicted",
    "macro_precision": "no code of the truth is ever predicted",
    "weighted_precision": "no code of the truth is ever predicted",
    "micro_precision": "nothing is predicted",
    "specificity": "every document has it",
    "npv": "predicted for every document",
    "balanced_accuracy": "no code that some documents have and others have not",
    "kappa": "truth and prediction are one and the same for all documents",
    "mcc": "truth or prediction is the same for all documents",
    "at_least_one": "no document has a code in the truth",
    "presence_at_least_one": "no document has a code in the truth",
    **{f"top_{k}": "no document has a code in the truth" for k in range(1, 6)},
    "level_accuracy": "no code is in truth and prediction of one document",
}


@dataclass(frozen=True)
class Measured:
    """Figures over ``n`` documents: ``overall`` by name, ``codes`` one mapping for each code.

    ``truth``, ``predicted`` and ``hits`` [codes] count the documents that have each code in the truth, in the
    prediction, in both; ``confusion`` [codes, codes + 1] has truths in rows and what was predicted in columns, the
    last for what is none of the codes; None where several codes may hold. ``presence`` is that of a graded codebook's
    codes, whatever their level.
    """

    n: int
    overall: Mapping[str, Figure]
    codes: tuple[Mapping[str, Figure], ...]
    truth: Ints
    predicted: Ints
    hits: Ints
    confusion: Ints | None = None
    presence: tuple[Mapping[str, Figure], ...] = field(default=())

    def flat(self) -> dict[str, Figure]:
        """All figures under one name each: ``f1:3`` is F1 of code 3, ``presence:quadratic_kappa:3`` a graded code's."""
        found = dict(self.overall)
        for prefix, rows in (("", self.codes), ("presence:", self.presence)):
            found |= {f"{prefix}{name}:{at}": value for at, row in enumerate(rows) for name, value in row.items()}
        return found


def as_figure(values: Floats, n: int, why: str) -> Figure:
    """The figure of ``values`` [1 + samples]: the first is the value, the interval is of the others."""
    if not np.isfinite(values[0]):
        return undefined(why, n)
    low, high = interval(values[1:]) if len(values) > 1 else (None, None)
    return Figure(float(values[0]), n, low, high)


def figures(values: Mapping[str, Floats], n: int, rests: Mapping[str, int] | None = None) -> dict[str, Figure]:
    """Each of ``values`` [1 + samples] over the same ``n`` documents, or over what ``rests`` says of it."""
    rests = rests or {}
    return {
        name: as_figure(own, rests.get(name, n), (WHYS.get(name) or _of_rate(name)) if n else NOTHING)
        for name, own in values.items()
    }


def by_code(rates: Mapping[str, Floats], n: int, truth: Ints, predicted: Ints) -> tuple[dict[str, Figure], ...]:
    """A mapping for each code, from rates [1 + samples, codes]; each figure with the number of documents it rests on.

    Sensitivity and F1 rest on the documents that have the code, precision on those it was predicted for.
    """
    found = []
    for code, (held, called) in enumerate(zip(truth.tolist(), predicted.tolist(), strict=True)):
        rests = {"sensitivity": held, "f1": held, "specificity": n - held, "precision": called, "npv": n - called}
        row = {}
        for name in rates:
            if held:
                why = WHYS["specificity"] if held == n and name == "balanced_accuracy" else WHYS.get(name, "undefined")
                row[name] = as_figure(rates[name][:, code], rests.get(name, n), why)
            else:
                row[name] = undefined(ABSENT)
        found.append(row)
    return tuple(found)


def _of_rate(name: str) -> str:
    average, _, rate = name.partition("_")
    if average in ("macro", "weighted", "micro") and rate in RATES:
        return f"undefined for every code: {WHYS.get(rate, ABSENT)}"
    return "undefined"
