"""How the time to score grows with documents and with codes: `make bench-curves` draws tests/benchmarks/scoring.png.

Prints one JSON object last: seconds by number of documents (CAP codebook), and seconds per document by number of codes,
for one question about all codes and for one question about each.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from questions import questions

from label_configs.codebook import Code, Codebook, Kind, load_codebook
from ml_backend.causal_model import CausalModel
from ml_backend.devices import device_facts, set_threads
from ml_backend.prompts import Prompt
from ml_backend.scoring import CausalScorer

matplotlib.use("Agg")
from matplotlib import pyplot

DOCUMENTS = (4, 8, 16, 32, 64)
CODES = (5, 10, 20, 40, 80)


def codebook(number: int) -> Codebook:
    """The first ``number`` codes of the flourishing and CAP codebooks, and numbered ones after them."""
    known = [*load_codebook("flourishing").codes, *load_codebook("cap").codes]
    more = [Code(f"more-{i}", f"Topic {i}", f"Texts about topic {i}.", f"topic{i}") for i in range(number)]
    words: set[str] = set()
    codes = []
    for code in [*known, *more]:
        if code.word not in words and len(codes) < number:
            words.add(code.word)
            codes.append(code)
    return Codebook(f"{number} codes", Kind.EXCLUSIVE, tuple(codes), "Which topic is this text mainly about?")


def seconds(model: CausalModel, prompt: Prompt, texts: Sequence[str]) -> float:
    """Seconds to score ``texts``, the prefix included."""
    started = time.perf_counter()
    CausalScorer(model.base, prompt, token_budget=model.facts.token_budget).score(texts)
    return time.perf_counter() - started


def draw(path: Path, by_documents: dict[int, float], one: dict[int, float], each: dict[int, float]) -> None:
    """Both curves, side by side."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(list(by_documents), list(by_documents.values()), marker="o")
    left.set(xlabel="documents", ylabel="seconds", title="21 codes, one question", ylim=0, xlim=0)
    right.plot(list(one), list(one.values()), marker="o", label="one question about all codes")
    right.plot(list(each), list(each.values()), marker="s", label="one question about each code")
    reference = [each[CODES[0]] / CODES[0] * n for n in CODES]
    right.plot(CODES, reference, linestyle=":", color="grey", label="in proportion to codes")
    right.set(xlabel="codes", ylabel="seconds per document", title="by codes", ylim=0, xlim=0)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(".demo/models/smollm2"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "scoring.png")
    arguments = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    set_threads(None)
    model = CausalModel(str(arguments.model), device_facts())
    texts, origin = questions(max(DOCUMENTS))
    cap = Prompt("zero_shot", load_codebook("cap"), model.tokenizer, 120)
    by_documents = {n: seconds(model, cap, texts[:n]) for n in DOCUMENTS}
    curves = {}
    for name, number in (("zero_shot", 8), ("iterative", 1)):
        curves[name] = {
            n: seconds(model, Prompt(name, codebook(n), model.tokenizer, 120), texts[:number]) / number for n in CODES
        }
        sys.stderr.write(f"{name}: {curves[name]}\n")
    draw(arguments.out, by_documents, curves["zero_shot"], curves["iterative"])
    result = {
        "seconds_by_documents": by_documents,
        "seconds_per_document_by_codes": {"one_question": curves["zero_shot"], "each_code": curves["iterative"]},
        "documents": origin,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
