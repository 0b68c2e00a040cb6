"""What coefficients of agreement are called and worth in words, and when to distrust them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.evaluation.blocks import Column, Finding, Format, Table, Tone
from trainer.evaluation.figure import Figure
from trainer.evaluation.resampling import Floats

NAMES = {
    "percent": "Percent agreement",
    "percent_sets": "Percent agreement on whole sets",
    "kappa": "Cohen's kappa, all pairs",
    "weighted_kappa": "Cohen's kappa, quadratic weights, all pairs",
    "fleiss": "Fleiss' kappa",
    "alpha": "Krippendorff's alpha, nominal",
    "ordinal_alpha": "Krippendorff's alpha, ordinal",
    "masi_alpha": "Krippendorff's alpha, MASI for sets",
    "ac1": "Gwet's AC1",
    "ac2": "Gwet's AC2, ordinal weights",
}
KAPPAS = ((0.0, "poor"), (0.2, "slight"), (0.4, "fair"), (0.6, "moderate"), (0.8, "substantial"))
RELIABLE, TENTATIVE = 0.8, 0.667
PREVALENT = 0.8  # share of one category from which on kappa may mislead

SCALES = (
    "Words for kappa and AC1 by Landis and Koch (Biometrics, 1977): to 0 poor, .20 slight, .40 fair, .60 moderate, .80 "
    "substantial, above almost perfect. They are a convention. For alpha by Krippendorff (Content Analysis, 2004, page "
    "241): from .800 reliable, from .667 for tentative conclusions only, below not to be relied on."
)


def verbal(name: str, value: float | None) -> str:
    """A coefficient's value in a word or two; empty for percent agreement and what is undefined."""
    if value is None or name.startswith("percent"):
        return ""
    if name.endswith("alpha"):
        return "reliable" if value >= RELIABLE else "tentative" if value >= TENTATIVE else "not reliable"
    return next((word for most, word in KAPPAS if value <= most), "almost perfect")


def tone(alpha: float | None) -> Tone:
    """How an alpha is meant in a summary, by Krippendorff's limits."""
    if alpha is None:
        return Tone.WARNING
    return Tone.GOOD if alpha >= RELIABLE else Tone.WARNING if alpha >= TENTATIVE else Tone.BAD


def prevalence_warning(shares: Floats, figures: Mapping[str, Figure], most: str) -> Finding | None:
    """A warning where one category, ``most``, makes up nearly all ratings, and kappa and alpha may mislead.

    Then they can be low although raters agree nearly always: the first paradox of Feinstein and Cicchetti (Journal of
    Clinical Epidemiology, 1990). ``shares`` [categories] are of all ratings; for two categories the prevalence index
    of Byrt, Bishop and Carlin (1993) is the difference of the two.
    """
    top = float(shares.max(initial=0.0))
    if top < PREVALENT:
        return None
    percent, ac1 = figures.get("percent"), figures.get("ac1") or figures.get("ac2")
    beside = [
        f"{told} {100 * one.value:.1f} %" if told == "percent agreement" else f"{told} {share(one.value)}"
        for told, one in (("percent agreement", percent), ("AC1", ac1))
        if one is not None and one.value is not None
    ]
    index = f" (prevalence index {share(2 * top - 1)})" if len(shares) == 2 else ""
    return Finding(
        f"{100 * top:.0f} % of all ratings are {most}{index}: kappa and alpha can be low although raters agree nearly "
        f"always; read them beside {' and '.join(beside) or 'percent agreement'} (Feinstein and Cicchetti 1990).",
        Tone.WARNING,
    )


def coefficient_table(rows: Sequence[tuple[str, Figure, str]], title: str = "Coefficients") -> Table:
    """Coefficients with their intervals and what they are worth in words."""
    columns = (Column("coefficient", "Coefficient"), Column("value", "Value", Format.SHARE), Column("word", "In words"))
    return Table("overall", title, columns, tuple(rows))


def share(value: float) -> str:
    """A coefficient as it is written in prose: .61."""
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


def with_interval(figure: Figure) -> str:
    """``.61 (.55 to .67)``; a dash where it is undefined."""
    if figure.value is None:
        return "–"
    if figure.low is None or figure.high is None:
        return share(figure.value)
    return f"{share(figure.value)} ({share(figure.low)} to {share(figure.high)})"
