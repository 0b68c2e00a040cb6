"""How long figures with intervals take: `make bench-judging` draws tests/benchmarks/judging.png.

    python tests/benchmarks/judging.py [--documents 1000 10000 100000 174161] [--samples 1000] [--out judging.png]

Metrics of three coders against the truth, and agreement among them (all coefficients overall, for each of 21 codes and
for each pair), each with a bootstrap interval by document: once where one code holds, once where several may. Every
size is a process of its own, with one thread; its memory is the most it had. Beside it the same figures by krippendorff
and scikit-learn in a plain loop over the same samples, for a few of them: its time is taken in proportion. The plain
loop leaves out what the two have not (Fleiss, AC1, MASI, and where several codes hold the pooled figures). Seconds are
of CPU. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SIZES = (1_000, 10_000, 100_000, 174_161)
KINDS = ("exclusive", "multilabel")
LOOP = 2  # samples of the plain loop; ten times as many of a small size
STYLES = {"exclusive": ("tab:blue", "one code holds"), "multilabel": ("tab:orange", "several may hold")}


def measure(kind_name: str, documents: int, samples: int) -> dict[str, Any]:
    """One size in this process: our seconds and memory, then the loop's seconds and the largest difference."""
    from judging_data import CODERS, CODES, make
    from judging_loop import compare

    from label_configs.codebook import Kind
    from trainer.evaluation.agreement_pairs import pairs
    from trainer.evaluation.exclusive import exclusive_figures
    from trainer.evaluation.multilabel import multilabel_figures

    kind = Kind(kind_name)
    made = make(kind, documents)
    panel = made.panel(kind)
    before = _peak()
    started = time.process_time()
    number = len(panel.overall(panel.coders, samples=samples, seed=0))
    number += 2 * len(pairs(panel.ratings, CODERS, samples=samples, seed=0))
    for code in range(CODES):
        ratings = panel.code_ratings(code, panel.coders)
        number += len(ratings.figures(panel.coefficients(ratings), samples=samples))
    agreement = time.process_time()
    for coder in range(CODERS):
        truth, said = made.truth[made.coded[coder]], made.said[coder][made.coded[coder]]
        if kind is Kind.EXCLUSIVE:
            number += len(exclusive_figures(truth.argmax(1), said.argmax(1), CODES, samples))
        else:
            number += len(multilabel_figures(truth, said, samples))
    ended = time.process_time()
    peak = _peak()
    plain = compare(kind, made, panel, LOOP if documents > 20_000 else 10 * LOOP)
    loop = plain.seconds / plain.samples * samples
    return {
        "seconds": round(ended - started, 3),
        "agreement_seconds": round(agreement - started, 3),
        "metrics_seconds": round(ended - agreement, 3),
        "figures": number,
        "distinct_sets": len(panel.sets),
        "megabytes": round(peak),
        "megabytes_before": round(before),
        "loop_seconds": round(loop, 1),
        "loop_samples_run": plain.samples,
        "times_faster": round(loop / (ended - started), 1),
        "compared": plain.figures,
        "largest_difference": plain.difference,
    }


def _peak() -> float:
    """Megabytes that this process had at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def draw(path: Path, found: Mapping[str, Mapping[Any, Mapping[str, Any]]], samples: int) -> None:
    """Seconds and memory by documents."""
    import matplotlib

    matplotlib.use("Agg")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # else it tells of every font that is not there
    from matplotlib import pyplot

    figure, (both, left, right) = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for kind, by_size in found.items():
        colour, name = STYLES[kind]
        sizes = [int(size) / 1000 for size in by_size]
        seconds, loop, memory = (
            [one[key] for one in by_size.values()] for key in ("seconds", "loop_seconds", "megabytes")
        )
        both.plot(sizes, seconds, marker="o", color=colour, label=f"Winnow, {name}")
        both.plot(sizes, loop, marker="s", linestyle="--", color=colour, label=f"plain loop, {name}")
        left.plot(sizes, seconds, marker="o", color=colour, label=name)
        right.plot(sizes, memory, marker="o", color=colour, label=name)
    both.set(xscale="log", yscale="log", ylim=(0.1, 1e6), title="beside the plain loop (in proportion)")
    left.set(title=f"Winnow: {samples:,} samples, 21 codes, 3 coders", xlim=0, ylim=0)
    right.set(title="memory of the process", xlim=0, ylim=0)
    for axes, what in ((both, "seconds of CPU"), (left, "seconds of CPU"), (right, "MB at most")):
        axes.set(xlabel="thousand documents", ylabel=what)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def child(kind: str, documents: int, samples: int) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", kind, "--documents", str(documents), "--samples", str(samples)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **dict.fromkeys(THREADS, "1")}
    )
    result: dict[str, Any] = json.loads(done.stdout)
    sys.stderr.write(f"{kind}, {documents:,} documents: {result}\n")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=SIZES)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "judging.png")
    parser.add_argument("--one", choices=KINDS, help="only this kind, in this process, without a plot")
    asked = parser.parse_args(arguments)
    if asked.one:
        warnings.simplefilter("ignore")
        sys.stdout.write(json.dumps(measure(asked.one, asked.documents[0], asked.samples)) + "\n")
        return
    found = {kind: {size: child(kind, size, asked.samples) for size in asked.documents} for kind in KINDS}
    draw(asked.out, found, asked.samples)
    every = [one for by_size in found.values() for one in by_size.values()]
    summary = {
        "samples": asked.samples,
        "largest_difference": max(one["largest_difference"] for one in every),
        "times_faster_at_least": min(one["times_faster"] for one in every),
        **found,
    }
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()
