"""The learning benchmark's cells as means and spreads: a table, JSON and a plot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

FIGURES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}

Summary = dict[str, dict[str, dict[str, float]]]
"""Row -> size -> figures, as JSON has it."""


def summary(cells: Sequence[Mapping[str, Any]]) -> Summary:
    """Mean and standard deviation (of a sample; 0 for one draw) of each figure by row and size."""
    groups: dict[str, dict[int, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        groups[cell["row"]][cell["size"]].append(cell)
    return {
        row: {str(size): _figures(own) for size, own in sorted(by_size.items())}
        for row, by_size in sorted(groups.items())
    }


def _figures(cells: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {"draws": len(cells)}
    for name in FIGURES:
        values = [cell[name] for cell in cells]
        found[name] = round(fmean(values), 4)
        found[f"{name}_sd"] = round(stdev(values), 4) if len(values) > 1 else 0.0
    for name in ("training_seconds", "silver", "silver_right"):
        if values := [cell[name] for cell in cells if name in cell]:
            found[name] = round(fmean(values), 1)
    return found


def table(found: Summary) -> str:
    """One line for each row and size."""
    lines = [f"{'row':24} {'size':>5}  {'accuracy':>15}  {'macro-F1':>15}  draws"]
    for row, by_size in found.items():
        for size, own in by_size.items():
            told = [f"{own[name]:.3f} ± {own[f'{name}_sd']:.3f}" for name in FIGURES]
            lines.append(f"{row:24} {size:>5}  {told[0]:>15}  {told[1]:>15}  {own['draws']:.0f}")
    return "\n".join(lines) + "\n"


def draw(found: Summary, path: Path) -> None:
    """Both figures by the number of documents, with the spread of the draws."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (name, told) in zip(figure.subplots(1, 2), FIGURES.items(), strict=True):
        for row, by_size in found.items():
            sizes = [int(size) for size in by_size]
            means = [own[name] for own in by_size.values()]
            spreads = [own[f"{name}_sd"] for own in by_size.values()]
            axes.errorbar(sizes, means, spreads, marker="o", capsize=3, label=row)
        axes.set(xscale="log", xlabel="verified documents", ylabel=told)
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    figure.suptitle("Reuters R8, judged on the official test file")
    figure.savefig(path, dpi=110)
