"""The candidate curve on a terminal and as a picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.table import Table

from label_configs.errors import ConfigError
from ml_backend.atomic import replacing
from trainer.candidate_curve import CurvePoint, frontier

MARKERS = "os^Dv*P"


def curve_table(points: Sequence[CurvePoint], title: str) -> Table:
    """The efficient rules, and the present one wherever it lies."""
    present = [point for point in points if point.present]
    rows = sorted({*frontier(points), *present}, key=lambda point: (point.mean, point.held))
    n = points[0].n
    table = Table(title=f"True codes among the candidates: {title}, {n} documents")
    for heading in ("top_k", "floor", "max", "candidates per document", "documents held", "share", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for point in rows:
        table.add_row(
            str(point.top_k), f"{point.floor:g}", str(point.max), f"{point.mean:.2f}", f"{point.held} of {n}",
            f"{100 * point.share:.1f} %", _remark(point),
        )  # fmt: skip
    return table


def _remark(point: CurvePoint) -> str:
    if not point.present:
        return ""
    return "present" if point.efficient else "present, not efficient"


def picture_form(path: Path) -> str:
    """The form that a picture's name asks for, as ``png``. Raises ConfigError where none can be drawn."""
    form, known = path.suffix.lower().removeprefix("."), Figure().canvas.get_supported_filetypes()
    if form not in known:
        raise ConfigError(f"--out {path}: no kind of picture that can be drawn; use a name that ends in .png")
    return form


def draw_curve(points: Sequence[CurvePoint], path: Path, title: str) -> None:
    """Every rule as a dot, the efficient ones joined, the present one marked; the picture's form goes by the suffix.

    Raises ConfigError for a suffix of no picture, EnvironmentFault where the file cannot be written.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, top_k in enumerate(sorted({point.top_k for point in points})):
        own = [point for point in points if point.top_k == top_k]
        axes.scatter(
            [point.mean for point in own], [point.share for point in own], s=14, alpha=0.5, linewidths=0,
            marker=MARKERS[number % len(MARKERS)], zorder=2 - number / 10, label=f"top {top_k} of each source",
        )  # fmt: skip
    best = frontier(points)
    axes.plot([p.mean for p in best], [p.share for p in best], color="black", linewidth=1, label="efficient rules")
    for now in (point for point in points if point.present):
        axes.scatter(
            now.mean, now.share, s=130, facecolors="none", edgecolors="crimson", linewidths=1.8, zorder=3,
            label=f"present rule: top {now.top_k}, floor {now.floor:g}, max {now.max}",
        )  # fmt: skip
    axes.set(xlabel="candidates per document (mean)", ylabel="documents with every true code among them",
             title=f"{title}, {points[0].n} documents", xlim=0)  # fmt: skip
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format=picture_form(path))
