"""How good is an adapter after how many verified documents? `make bench-learning`.

Reuters R8: SmolLM2 with LoRA after 50, 100, 200 and 548 documents, drawn at random from the official training file and
so with rare topics rare; three draws; judged on the official test file of 2,189 documents. Each with and without silver
documents (``training.silver``). Beside it, on the very same documents:
- ``tfidf``: TF-IDF and logistic regression, scikit-learn's defaults; ``tfidf_bar``: the same as the gate has it;
- ``minilm``: MiniLM's vectors and logistic regression; ``probe``: the same as a source has it.

A cell is one adapter. Each is written to DEMO/learning/cells.jsonl once it is done, and a run goes on where the last
one stopped, within a training too. Training and judging are the product's own code. Prints a table to standard error
and one JSON object last to standard output: accuracy and macro-F1 (over the codes of the test documents), mean and
standard deviation over the draws. Draws learning.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import shutil
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from learning_sources import SOURCES, silver
from learning_summary import draw, summary, table
from reuters import LARGEST, Reuters

from label_configs.codebook import Codebook, load_codebook
from label_configs.records import VerifiedExample
from ml_backend.devices import DeviceFacts, device_facts, set_threads
from ml_backend.sources.base import ranked
from ml_backend.training_config import Silver
from trainer.evaluation.metrics import measure
from trainer.recipe import LoraRecipe, load_recipe, recipe_with

HERE = Path(__file__).parent
SIZES = (50, 100, 200, LARGEST)
SEEDS = (0, 1, 2)
SILVER = Silver(ratio=1.0, probability=0.8, weight=0.3)


@dataclass(frozen=True)
class Cell:
    """One adapter, or another source, after ``size`` documents of draw ``seed``; ``row`` names how it was made."""

    row: str
    size: int
    seed: int
    most: int | None  # test documents

    def key(self) -> tuple[Any, ...]:
        """What tells it from any other."""
        return (self.row, self.size, self.seed, self.most)


class Bench:
    """Computes cells and keeps them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.corpus = Reuters(arguments.demo, arguments.max_test)
        self.codebook: Codebook = load_codebook("reuters8")
        self.base = arguments.demo / "models" / "smollm2"
        self.variants = dict(map(_variant, arguments.variant or ["adapter="]))
        self.file = arguments.demo / "learning" / "cells.jsonl"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.facts: DeviceFacts = device_facts()
        self.silver: Silver = replace(
            SILVER, **yaml.safe_load("{}" if arguments.silver in (None, "off") else arguments.silver)
        )
        on_off = [False, True] if arguments.silver != "off" else [False]
        names = [name + ("+silver" if on else "") for name in self.variants for on in on_off]
        self.cells = [
            Cell(row, size, seed, arguments.max_test)
            for seed, size, row in itertools.product(arguments.seeds, arguments.sizes, [*SOURCES, *names])
        ]

    def done(self) -> list[dict[str, Any]]:
        """What is in the file of the cells asked for."""
        wanted = {cell.key() for cell in self.cells}
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        found = {Cell(*(row[k] for k in ("row", "size", "seed", "most"))).key(): row for row in map(json.loads, lines)}
        return [row for key, row in found.items() if key in wanted]

    def missing(self) -> list[Cell]:
        """The cells that are still to be computed, the quick ones first."""
        done = {Cell(*(row[k] for k in ("row", "size", "seed", "most"))).key() for row in self.done()}
        return [cell for cell in self.cells if cell.key() not in done]

    def compute(self, cells: Sequence[Cell]) -> None:
        """One cell after the other, each written as soon as it is done."""
        for cell in cells:
            started = time.perf_counter()
            figures = self._figures(cell)
            row = asdict(cell) | figures | {"seconds": round(time.perf_counter() - started, 1)}
            with self.file.open("a", encoding="utf-8") as out:  # one short write: several processes may append
                out.write(json.dumps(row) + "\n")
            told = f"accuracy {figures['accuracy']:.3f}  macro-F1 {figures['macro_f1']:.3f}  {row['seconds']:.0f} s"
            sys.stderr.write(f"{cell.row} {cell.size} draw {cell.seed}: {told}\n")

    def _figures(self, cell: Cell) -> dict[str, Any]:
        verified = self.corpus.drawn(cell.size, cell.seed)
        if cell.row in SOURCES:
            return self._judged(SOURCES[cell.row](self.corpus, self.codebook, verified, self.corpus.test))
        variant, _, with_silver = cell.row.partition("+")
        added = silver(self.corpus, self.codebook, verified, self.silver) if with_silver else []
        recipe = replace(self.variants[variant], seed=cell.seed)
        told: dict[str, Any] = {"recipe": recipe.digest, "device": self.facts.name}
        name = f"{cell.row}-{cell.size}-{recipe.digest}"
        if with_silver:
            true = {e.document_id: e.labels for e in self.corpus.training}
            right = sum(e.labels == true[e.document_id] for e in added)
            told |= {"silver": len(added), "silver_right": right, "silver_settings": asdict(self.silver)}
            name += "-" + "-".join(map(str, asdict(self.silver).values()))
        return self._judged(*self._adapter(name, recipe, [*verified, *added])) | told

    def _adapter(
        self, name: str, recipe: LoraRecipe, examples: Sequence[VerifiedExample]
    ) -> tuple[Sequence[Sequence[float]], float | None]:
        """Probabilities of an adapter trained on ``examples``, and the training's seconds: None where it was taken up.

        Its checkpoints lie in a folder ``name`` until the cell is done.
        """
        import torch

        from ml_backend.prompts import Prompt
        from ml_backend.scoring import CausalScorer
        from trainer.base_model import load_trainable, resolved
        from trainer.training import train

        recipe = resolved(recipe, self.facts)
        torch.manual_seed(recipe.seed)
        model, tokenizer = load_trainable(str(self.base), recipe, self.facts)
        prompt = Prompt(recipe.prompt, self.codebook, tokenizer, recipe.max_document_tokens)

        def emit(progress: Mapping[str, Any]) -> None:
            if "note" in progress:
                sys.stderr.write(f"{name}: {progress['note']}\n")
            elif "step" in progress and progress["step"] % max(1, progress["steps"] // 10) == 0:
                left = progress["seconds_left"] / 60
                sys.stderr.write(f"{name}: step {progress['step']} of {progress['steps']}, {left:.0f} min left\n")

        folder = self.file.parent / name
        fresh, started = not folder.exists(), time.perf_counter()
        train(model, prompt, examples, recipe, folder, emit)
        seconds = time.perf_counter() - started if fresh else None
        model.eval()
        scorer = CausalScorer(model.get_base_model(), prompt, token_budget=self.facts.token_budget)
        rows = [s.probabilities.tolist() for s in scorer.score([e.text for e in self.corpus.test])]
        shutil.rmtree(folder)
        return rows, seconds

    def _judged(self, rows: Sequence[Sequence[float]], training_seconds: float | None = None) -> dict[str, Any]:
        """Accuracy, macro-F1, F1 of each code, and what was chosen, as one digit for each test document."""
        keys = self.codebook.label_keys
        chosen = [ranked(self.codebook, list(row))[0].label for row in rows]
        found = measure([e.labels for e in self.corpus.test], [(c,) for c in chosen], keys, kind=self.codebook.kind)
        told: dict[str, Any] = {
            "accuracy": found.accuracy,
            "macro_f1": found.macro_f1,
            "f1": {code.label: None if code.f1 is None else round(code.f1, 3) for code in found.codes},
            "chosen": "".join(str(keys.index(code)) for code in chosen),
        }
        return told if training_seconds is None else told | {"training_seconds": round(training_seconds, 1)}


def _variant(text: str) -> tuple[str, LoraRecipe]:
    """``NAME=field: value, field: value`` -> the name, and cpu-small with these fields replaced."""
    name, _, fields = text.partition("=")
    return name, recipe_with(load_recipe("cpu-small"), yaml.safe_load(f"{{{fields}}}"))


def shared_out(arguments: argparse.Namespace, cells: Sequence[Cell]) -> None:
    """Compute the cells in several processes, the longest first: a small model leaves most of a GPU idle."""
    longest_first = sorted(cells, key=lambda cell: -cell.size)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, context, _start_worker, (arguments,)) as pool:
        for computed in as_completed([pool.submit(_compute, cell) for cell in longest_first]):
            computed.result()


_bench: Bench  # a worker's own


def _start_worker(arguments: argparse.Namespace) -> None:
    global _bench
    quiet()
    set_threads(arguments.threads)
    _bench = Bench(arguments)


def _compute(cell: Cell) -> None:
    _bench.compute([cell])


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=HERE.parent.parent / ".demo", help="the demo's folder")
    parser.add_argument("--sizes", type=_numbers, default=SIZES, help="verified documents, such as 50,100,200,548")
    parser.add_argument("--seeds", type=_numbers, default=SEEDS, help="draws, such as 0,1,2")
    parser.add_argument("--max-test", type=int, help="judge on so many test documents, drawn at random")
    parser.add_argument("--silver", help="off, or settings to try such as '{probability: 0.9, weight: 1.0}'")
    parser.add_argument("--variant", action="append", help="NAME=field: value, ... of a recipe to try; may be repeated")
    parser.add_argument("--workers", type=int, default=1, help="processes that share out the cells")
    parser.add_argument("--threads", type=int, help="CPU threads; all cores when not given")
    parser.add_argument("--plot", type=Path, default=HERE / "learning.png")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def quiet() -> None:
    """No hub, and no word of a library between the rows."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def main() -> None:
    """Run it."""
    arguments = parsed()
    quiet()
    threads = set_threads(arguments.threads)
    bench = Bench(arguments)
    missing = bench.missing()
    bench.corpus.keep_vectors()
    if arguments.workers > 1 and missing:
        shared_out(arguments, missing)
    else:
        bench.compute(missing)
    rows = bench.done()
    found = summary(rows)
    sys.stderr.write(table(found))
    if len(arguments.sizes) > 1:
        draw(found, arguments.plot)
    setting = {
        "test_documents": len(bench.corpus.test), "draws": len(arguments.seeds), "device": bench.facts.name,
        "threads": threads, "silver": asdict(bench.silver),
    }  # fmt: skip
    sys.stdout.write(json.dumps({"rows": found, **setting}) + "\n")


if __name__ == "__main__":
    main()
