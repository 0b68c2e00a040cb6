"""How long an optimiser step of LoRA takes, against other ways to take it, all in one run: `make bench-training`.

Prints one JSON object last. ``rows`` are seconds per step, the median over turns in which the rows alternate:
- ``trl``: TRL's SFTTrainer over prompts and completions, loss on the completion, its own collator and defaults, of
  which gradient checkpointing is one;
- ``trl_no_checkpointing``: the same with that switched off, as no other row has it on;
- ``whole_last``: whole prompts through transformers' Trainer, logits only where a token is learned;
- ``winnow``: a round's own training, codebook shared.
All take the same documents, LoRA, optimiser, batch and precision (fp32 on a CPU; bf16 on a GPU that has it). TRL's
other modes change nothing here: packing and padding-free want FlashAttention 2, so a GPU, and what they save is
padding, of which prompts of equal length have none; Liger's kernels want a GPU too.

Prompts have exactly 243 tokens before the answer, 124 of them shared. ``gradient_rel_diff`` compares the adapter's
gradients with those of whole prompts, in fp32. ``peak_mb`` is the memory at its highest during two steps, each row in a
process of its own: on a CPU what the process holds beyond its imports, so weights, adapter, optimiser and activations;
on a GPU torch's own count of the same.

With ``--curves`` it measures these instead: rows for batches of 4 to 32, also with a codebook of 1,000 tokens. Each
point is kept as soon as it is measured, a run goes on where the last one stopped, and draws what there is to
training.png. A row has no point (null) where a step does not fit into the memory, ``--memory-gb`` or what is free, nor
where it did not with a smaller batch or took longer than ``--longest`` then.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from training_rows import ROWS, gradient_difference
from training_setup import SHAPES, Setup
from transformers.utils import logging as transformers_logging

from ml_backend.devices import set_threads
from trainer.recipe import Precision

HERE = Path(__file__).parent
BATCHES = (4, 8, 16, 32)
LONG_BOOK = 1000
DRAWN = ("trl", "whole_last", "winnow")


def setup_of(arguments: argparse.Namespace, *, batch: int | None = None, book: int | None = None) -> Setup:
    """The setup that the command line asks for."""
    return Setup.of(
        arguments.model,
        shape=arguments.shape,
        batch=batch or arguments.batch,
        book_tokens=book,
        precision=Precision(arguments.precision),
    )


def measured(setup: Setup, names: tuple[str, ...], steps: int, turns: int) -> dict[str, float]:
    """Median seconds of a step of each row, measured in turns."""
    rows = {name: ROWS[name](setup) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(turns):
        for name, row in rows.items():
            seconds[name] += row(steps)
            sys.stderr.write(f"turn {turn + 1}: {name} {seconds[name][-1]:.3f} s/step\n")
    return {name: statistics.median(found) for name, found in seconds.items()}


def fitting(arguments: argparse.Namespace, batch: int, book: int | None, names: list[str]) -> dict[str, float | None]:
    """Seconds of a step of some of the rows, each in a process of its own; None where it lacks memory."""
    own = [sys.executable, __file__, *sys.argv[1:], "--batch", str(batch)] + (["--book", str(book)] if book else [])
    found: dict[str, float | None] = dict.fromkeys(DRAWN)
    for name in names:
        done = subprocess.run([*own, "--row", name], stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return found


def feasible(points: Iterable[dict[str, Any]], longest: float) -> list[str]:
    """The rows that at no smaller batch of the same codebook lacked memory or took longer than this, in seconds."""
    points = list(points)
    return [name for name in DRAWN if all((point["rows"][name] or longest) < longest for point in points)]


def one_point(setup: Setup, name: str, arguments: argparse.Namespace) -> float | None:
    """Seconds of a step of one row, None where it asks for more memory than there is."""
    if setup.facts.kind == "cpu":
        limit_memory(arguments.memory_gb)
    try:
        return measured(setup, (name,), 1 + arguments.curve_steps, 1)[name]
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
            raise
        sys.stderr.write(f"{name}: does not fit into the memory\n")
        return None


def limit_memory(gigabytes: float | None) -> None:
    """A step that does not fit shall be refused its memory, not have the system kill this or another process."""
    most = int(gigabytes * 1e9) if gigabytes else psutil.virtual_memory().available
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def peaks(arguments: argparse.Namespace) -> dict[str, float]:
    """MB of each row at its highest, in a process of its own."""
    own = [sys.executable, __file__, "--model", str(arguments.model), "--batch", str(arguments.batch)]
    own += ["--precision", arguments.precision] + (["--shape", arguments.shape] if arguments.shape else [])
    found = {}
    for name in ROWS:
        done = subprocess.run([*own, "--peak", name], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"--peak {name} failed:\n{done.stderr}")
        found[name] = json.loads(done.stdout.splitlines()[-1])["peak_mb"]
        sys.stderr.write(f"{name}: {found[name]:.0f} MB\n")
    return found


def peak(setup: Setup, name: str) -> float:
    """MB that this process holds at its highest during two steps of a row, beyond what it held before the model."""
    if name.startswith("trl"):
        import trl  # noqa: F401  # so that its imports are not counted
    before = _resident("VmRSS")
    row = ROWS[name](setup)
    if setup.facts.kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
        row(2)
        return torch.cuda.max_memory_allocated() / 1e6
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak of loading
    row(2)
    return (_resident("VmHWM") - before) / 1e6


def _resident(field: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def curves(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows by codebook and batch, the quick ones first; one step each is timed."""
    kept: Path = arguments.kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    found = [point for point in map(json.loads, lines) if point["model"] == _model(arguments)]
    points = [(book, batch) for book in (None, LONG_BOOK) for batch in BATCHES]
    for book, batch in sorted(points, key=lambda point: (point[0] or 243) * point[1]):
        setup = setup_of(arguments, batch=batch, book=book)
        tokens = len(setup.prompt.prefix_ids)
        if any((point["shared_tokens"], point["batch"]) == (tokens, batch) for point in found):
            continue
        smaller = [point for point in found if point["shared_tokens"] == tokens and point["batch"] < batch]
        point = {
            "model": _model(arguments), "device": setup.facts.name, "shared_tokens": tokens, "batch": batch,
            "rows": fitting(arguments, batch, book, feasible(smaller, arguments.longest)),
        }  # fmt: skip
        found.append(point)
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        draw(found, arguments.plot, f"{_model(arguments)} on {setup.facts.name}")
    return found


def _model(arguments: argparse.Namespace) -> str:
    return str(arguments.shape or arguments.model.name)


def draw(found: list[dict[str, Any]], path: Path, device: str) -> None:
    """Milliseconds per document by batch, one panel for each codebook."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    books = sorted({point["shared_tokens"] for point in found})
    for axes, book in zip(figure.subplots(1, len(books), squeeze=False)[0], books, strict=True):
        points = sorted((p for p in found if p["shared_tokens"] == book), key=lambda p: p["batch"])
        batches = [point["batch"] for point in points]
        for name in DRAWN:
            drawn = [(p["batch"], 1000 * p["rows"][name] / p["batch"]) for p in points if p["rows"][name]]
            axes.plot(*zip(*drawn, strict=True), "o-", label=name)
        axes.set(xscale="log", xlabel="documents in a batch", title=f"codebook of {book} tokens", ylim=(0, None))
        axes.set_xticks(batches, map(str, batches), minor=False)
        axes.minorticks_off()
    figure.axes[0].set_ylabel("milliseconds per document")
    figure.axes[0].legend()
    figure.suptitle(f"One optimiser step of LoRA, {device}")
    figure.savefig(path, dpi=110)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(".demo/models/smollm2"), help="model, or only its tokenizer")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="random weights of this shape in place of the model's")
    parser.add_argument("--precision", choices=[p.value for p in Precision], default="auto")
    parser.add_argument("--batch", type=int, default=8, help="documents in a step")
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn, the first is not counted")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads; all cores when not given")
    parser.add_argument("--curves", action="store_true", help="instead: batches of 4 to 32, two codebooks")
    parser.add_argument("--curve-steps", type=int, default=1, help="timed steps of each point of the curves")
    parser.add_argument("--longest", type=float, default=120, help="seconds of a step; no larger batch is tried then")
    parser.add_argument("--memory-gb", type=float, help="most memory of a point; what is free when not given")
    parser.add_argument("--kept", type=Path, default=Path(".demo/training/curves.jsonl"), help="points measured so far")
    parser.add_argument("--plot", type=Path, default=HERE / "training.png")
    parser.add_argument("--no-peaks", action="store_true", help="leave out the memory, which loads each row anew")
    parser.add_argument("--row", choices=DRAWN, help="only the seconds of one row, at --batch and --book")
    parser.add_argument("--book", type=int, help="tokens of the codebook, for --row")
    parser.add_argument("--peak", choices=sorted(ROWS), help="only the memory of one row")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = parsed()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in ("transformers", "trl", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    threads = set_threads(arguments.threads)
    setup = setup_of(arguments, book=arguments.book)
    if arguments.peak:
        sys.stdout.write(json.dumps({"peak_mb": round(peak(setup, arguments.peak), 1)}) + "\n")
        return
    if arguments.row:
        sys.stdout.write(json.dumps({"seconds": one_point(setup, arguments.row, arguments)}) + "\n")
        return
    if arguments.curves:
        sys.stdout.write(json.dumps({"curves": curves(arguments), "threads": threads}) + "\n")
        return
    rows = measured(setup, tuple(ROWS), arguments.steps, arguments.turns)
    gc.collect()
    exact = replace(setup, recipe=replace(setup.recipe, precision=Precision.FP32))
    result: dict[str, Any] = {
        "rows": {name: round(value, 4) for name, value in rows.items()},
        "gradient_rel_diff": gradient_difference(exact),
        "peak_mb": {} if arguments.no_peaks else peaks(arguments),
        "ratios": {f"{name}/winnow": round(rows[name] / rows["winnow"], 2) for name in rows if name != "winnow"},
        "prompt_tokens": sum(map(len, (setup.prompt.prefix_ids, setup.prompt.tails[0])))
        + setup.prompt.max_document_tokens,
        "shared_tokens": len(setup.prompt.prefix_ids),
        "batch": setup.recipe.batch_size,
        "model": _model(arguments),
        "precision": setup.recipe.precision.value,
        "device": setup.facts.name,
        "threads": threads,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
