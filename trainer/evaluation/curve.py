"""The learning curve in words, as a plot and as a table: what the next documents bring, and when to stop coding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from label_configs.errors import ConfigError
from trainer.bars import TFIDF, TFIDF_NAME
from trainer.evaluation.blocks import Column, Finding, Format, Lines, Section, Series, Table, Tone
from trainer.evaluation.curve_file import Cell, Curve, read_curves
from trainer.evaluation.figure import Figure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.power_law import FEWEST, PowerLaw, fit, gain_figure
from trainer.evaluation.study import Study

KEY, TITLE = "curve", "Learning curve"
NEXT = 100  # documents
NEW, BASE = "new", "current"  # keys of an outcome
TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "balanced_accuracy": "balanced accuracy",
}
_POINTS = 16  # of the fitted line


def curve_section(study: Study, options: ReportOptions) -> Section:
    """The curve that was measured last in ``options.folder``; where there is none, how to make it."""
    if options.folder is None:
        return _without("A learning curve is measured in a project: there is none here.", Tone.PLAIN)
    try:
        curves = list(read_curves(options.folder).values())
    except ConfigError as error:
        return _without(str(error), Tone.WARNING)
    if not any(one.done for one in curves):
        command = f"`winnow curve --project {study.project_id or 'N'}`"
        return _without(f"No learning curve was measured yet: {command} trains on shares of the examples.", Tone.NEXT)
    curve = [one for one in curves if one.done][-1]
    training = sum(not example.holdout for example in study.examples)
    notes: tuple[str, ...] = ()
    if study.examples and training != curve.training:
        notes = (f"Measured on {curve.training} training documents; {training} are verified now.",)
    return section_of(curve, samples=options.samples, seed=options.seed, notes=notes)


def section_of(curve: Curve, *, samples: int, seed: int = 0, notes: Sequence[str] = ()) -> Section:
    """A curve by its metric and threshold."""
    points = points_of(curve.done, NEW, curve.metric)
    numbers = sorted(points)
    law = fit(numbers, [float(np.mean(points[n])) for n in numbers]) if numbers else None
    gain = gain_figure(points, curve.training, NEXT, samples=samples, seed=seed)
    lines = Lines(
        "curve_plot", f"{TITLES[curve.metric]} by documents trained on", "training documents", TITLES[curve.metric],
        tuple(_series(curve, points, law)),
    )  # fmt: skip
    notes = (
        *notes,
        f"Adapters of base {curve.base}, trained on random shares of {curve.training} training documents and judged on "
        f"the same {curve.holdout} holdout documents; recipe {curve.recipe}. None was published.",
        "The law y = a - b n^(-c), a at most 1, is fitted by least squares to the means over seeds (Figueroa et al., "
        "2012; Hestness et al., 2017); its interval is a bootstrap over the seeds, which tells of chance in drawing "
        "and training, not of the holdout's size.",
        *(f"{one.share} %, seed {one.seed} came to nothing: {one.failed}" for one in curve.failed),
    )
    return Section(KEY, TITLE, tuple(_findings(curve, points, law, gain)), (lines, _table(curve, points, law)), notes)


def points_of(cells: Sequence[Cell], who: str, metric: str) -> dict[int, list[float]]:
    """The figures by number of documents trained on, one for each seed, where they are defined."""
    found: dict[int, list[float]] = {}
    for cell in cells:
        value = cell.figures.get(who, {}).get(metric)
        if value is not None:
            found.setdefault(cell.documents, []).append(value)
    return found


def _findings(curve: Curve, points: dict[int, list[float]], law: PowerLaw | None, gain: Figure) -> list[Finding]:
    name = TITLES[curve.metric]
    if law is None or gain.value is None:
        points_word = "point" if len(points) == 1 else "points"
        why = f"{len(points)} {points_word}, {FEWEST} are needed" if len(points) < FEWEST else "no power law fits"
        return [Finding(f"What more documents would bring cannot be said: {why}.", Tone.WARNING)]
    if law.b == 0:
        return [
            Finding(
                f"{_first_capital(name)} does not rise with more documents, from {min(points)} to {max(points)}: more "
                "of the same kind are not expected to help, coding for training can stop.", Tone.NEXT,
            )
        ]  # fmt: skip
    n, threshold = curve.training, curve.threshold
    between = ""
    if gain.low is not None and gain.high is not None:
        between = f" [{100 * gain.low:.1f}, {100 * gain.high:.1f}]"
    expected = (
        f"The next {NEXT} documents to train on are expected to bring {100 * gain.value:.1f} points{between} of "
        f"{name}, from {100 * law.at(n):.1f} % to {100 * law.at(n + NEXT):.1f} %."
    )
    return [Finding(expected), _when_to_stop(law, gain, n, threshold)]


def _when_to_stop(law: PowerLaw, gain: Figure, n: int, threshold: float) -> Finding:
    points = f"{100 * threshold:g} points"
    enough = law.enough(n, NEXT, threshold)
    if enough is None:
        return Finding(
            f"The curve does not say when {NEXT} documents will bring less than {points}: code on.", Tone.NEXT
        )
    if enough > n:
        text = (
            f"Code on: at about {enough:,} training documents, {enough - n:,} more than now, {NEXT} further ones are "
            f"expected to bring less than {points}; stop then."
        )
        return Finding(text, Tone.NEXT)
    text = f"Coding for training can stop: the next {NEXT} documents are expected to bring less than {points}"
    if gain.high is not None and gain.high >= threshold:
        return Finding(f"{text}, though the interval allows for more; further seeds would tell.", Tone.NEXT)
    return Finding(f"{text}.", Tone.NEXT)


def _series(curve: Curve, points: dict[int, list[float]], law: PowerLaw | None) -> list[Series]:
    found = [_measured("Measured, mean and range over seeds", points)]
    if law is not None and points:
        at = np.unique(np.geomspace(min(points), curve.training + NEXT, _POINTS).round())
        found.append(Series("Power law", tuple(at.tolist()), tuple(law.at(n) for n in at.tolist())))
    if words := points_of(curve.done, TFIDF, curve.metric):
        found.append(_measured(TFIDF_NAME, words))
    return found


def _measured(name: str, points: dict[int, list[float]]) -> Series:
    numbers = sorted(points)
    return Series(
        name, tuple(float(n) for n in numbers), tuple(float(np.mean(points[n])) for n in numbers),
        tuple(min(points[n]) for n in numbers), tuple(max(points[n]) for n in numbers),
    )  # fmt: skip


def _table(curve: Curve, points: dict[int, list[float]], law: PowerLaw | None) -> Table:
    shares = {cell.documents: cell.share for cell in curve.done}
    words = points_of(curve.done, TFIDF, curve.metric)
    columns = (
        Column("documents", "Documents"), Column("share", "Share"), Column("seeds", "Seeds"),
        Column("mean", TITLES[curve.metric], Format.SHARE), Column("lowest", "Lowest", Format.SHARE),
        Column("highest", "Highest", Format.SHARE), Column("fitted", "Power law", Format.SHARE),
        Column("tf_idf", TFIDF_NAME, Format.SHARE),
    )  # fmt: skip
    rows = [
        (
            n, f"{shares[n]} %", len(points[n]), float(np.mean(points[n])), min(points[n]), max(points[n]),
            law.at(n) if law else None, float(np.mean(words[n])) if n in words else None,
        )
        for n in sorted(points)
    ]  # fmt: skip
    base = [one for own in points_of(curve.done, BASE, curve.metric).values() for one in own]
    note = f"The base alone, without training: {np.mean(base):.3f}.".replace(" 0.", " .") if base else ""
    return Table("curve", "Measured and fitted", columns, tuple(rows), note)


def _first_capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _without(text: str, tone: Tone) -> Section:
    return Section(KEY, TITLE, (Finding(text, tone),))
