"""How fast documents are scored, against other ways to do it, all in one run: `make bench-scoring`.

Prints one JSON object last: ``rows`` are documents per second of
- ``generate``: transformers' ``generate()``, one document at a time;
- ``pipeline``: transformers' text-generation pipeline, batches of 8;
- ``batched``: whole prompts in batches of 8, the model called as it is; ``batched_last``: logits of the last position
  only;
- ``winnow``: CausalScorer, float32; ``winnow_bf16``: the same with ``weights: bfloat16``;
- ``bound``: the plain matrix products of the prompt's own part (the document and after it) and nothing else;
- ``vllm``, ``vllm_bf16``: a vLLM server on all cores, prefix caching on, through the source ``chat_api``;
- ``iterative_single``: 46 whole prompts, one for each dimension; ``iterative``: Winnow's 46 questions in one pass.
Prompts have exactly 243 tokens, 124 of them shared. Rows are measured in turns and each one's best turn counts.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from questions import questions
from transformers import pipeline

from label_configs.codebook import Codebook, load_codebook
from ml_backend.causal_model import CausalModel
from ml_backend.devices import device_facts, set_threads
from ml_backend.prompts import Prompt
from ml_backend.scoring import CausalScorer
from ml_backend.source_config import Weights
from ml_backend.whole_prompt import whole_prompt_answers

HERE = Path(__file__).parent
PROMPT_TOKENS = 243
BATCH = 8

Row = Callable[[Sequence[str]], None]


def cap() -> Codebook:
    """The CAP codebook, answered with the names that the prompt lists."""
    codebook = load_codebook("cap")
    return replace(codebook, codes=tuple(replace(code, word=code.name) for code in codebook.codes))


def prompt_of(model: CausalModel) -> Prompt:
    """The CAP prompt in which every document is cut to the same length."""
    whole = Prompt(str(HERE / "cap.j2"), cap(), model.tokenizer)
    room = PROMPT_TOKENS - len(whole.prefix_ids) - len(whole.tails[0])
    return Prompt(whole.name, whole.codebook, model.tokenizer, max_document_tokens=room)


def whole(prompt: Prompt, text: str) -> list[int]:
    """The tokens of one whole prompt."""
    return [*prompt.prefix_ids, *own_tokens(prompt, text)]


@torch.inference_mode()
def generate(model: CausalModel, prompt: Prompt) -> Row:
    """One document at a time; as many new tokens as the longest label has, or until it says that it ends."""
    longest = max(map(len, prompt.answer_ids[0]))

    def run(texts: Sequence[str]) -> None:
        for text in texts:
            ids = torch.tensor([whole(prompt, text)])
            model.base.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=longest, do_sample=False,
                pad_token_id=model.tokenizer.eos_token_id,
            )  # fmt: skip

    return run


def by_pipeline(model: CausalModel, prompt: Prompt) -> Row:
    """The pipeline a user would write, on the very same texts."""
    tokenizer = model.tokenizer
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    pipe = pipeline("text-generation", model=model.base, tokenizer=tokenizer)
    longest = max(map(len, prompt.answer_ids[0]))

    def run(texts: Sequence[str]) -> None:
        prompts = [tokenizer.decode(whole(prompt, text)) for text in texts]
        pipe(prompts, batch_size=BATCH, max_new_tokens=longest, do_sample=False, return_full_text=False)

    return run


def batched(model: CausalModel, prompt: Prompt, *, last_only: bool) -> Row:
    """Whole prompts in batches; the label's first token is read at the last position."""
    positions = 1 if last_only else 0  # transformers' way to say all

    @torch.inference_mode()
    def run(texts: Sequence[str]) -> None:
        for start in range(0, len(texts), BATCH):
            ids = torch.tensor([whole(prompt, text) for text in texts[start : start + BATCH]])
            model.base(input_ids=ids, use_cache=False, logits_to_keep=positions)

    return run


def winnow(model: CausalModel, prompt: Prompt) -> Row:
    """What a causal source does, its prefix computed anew in every turn."""

    def run(texts: Sequence[str]) -> None:
        CausalScorer(model.base, prompt, token_budget=model.facts.token_budget).score(texts)

    return run


def iterative_single(model: CausalModel, prompt: Prompt) -> Row:
    """One whole prompt for each question."""

    def run(texts: Sequence[str]) -> None:
        whole_prompt_answers(model.base, prompt, [prompt.document_ids(text)[0] for text in texts])

    return run


def bound(model: CausalModel, prompt: Prompt) -> Row:
    """The model's own matrix products alone, for the tokens that are not shared, in passes of the same size."""
    linear = [m for m in model.base.base_model.modules() if isinstance(m, torch.nn.Linear)]
    inputs = {m.in_features: torch.randn(model.facts.token_budget, m.in_features) for m in linear}

    @torch.inference_mode()
    def run(texts: Sequence[str]) -> None:
        left = sum(map(len, (own_tokens(prompt, text) for text in texts)))
        while left > 0:
            tokens = min(left, model.facts.token_budget)
            for m in linear:
                torch.mm(inputs[m.in_features][:tokens], m.weight.t())
            left -= tokens

    return run


def own_tokens(prompt: Prompt, text: str) -> list[int]:
    """The tokens of a prompt that no other document has."""
    return [*prompt.document_ids(text)[0], *prompt.tails[0]]


def operations_per_document(model: CausalModel, prompt: Prompt, texts: Sequence[str]) -> float:
    """Operations of the linear layers for the tokens that are not shared; attention is left out."""
    parameters = sum(m.weight.numel() for m in model.base.base_model.modules() if isinstance(m, torch.nn.Linear))
    return 2 * parameters * sum(len(own_tokens(prompt, text)) for text in texts) / len(texts)


def measure(rows: dict[str, tuple[Row, Sequence[str]]], turns: int) -> dict[str, float]:
    """Documents per second of each row, the best of ``turns`` turns."""
    best: dict[str, float] = {}
    for turn in range(turns):
        for name, (row, texts) in rows.items():
            started = time.perf_counter()
            row(texts)
            rate = len(texts) / (time.perf_counter() - started)
            best[name] = max(best.get(name, 0.0), rate)
            sys.stderr.write(f"turn {turn + 1}: {name} {rate:.3f} documents/s\n")
    return best


def vllm_rows(folder: Path, texts: Sequence[str], warm: Sequence[str], turns: int) -> dict[str, float]:
    """Rows of a vLLM server in its own environment; empty where there is none."""
    from vllm_row import documents_per_second, executable

    if executable() is None:
        sys.stderr.write("no vLLM: `make bench-vllm` builds its environment\n")
        return {}
    return {
        name: documents_per_second(folder, HERE / "cap.j2", cap(), texts, warm, dtype, turns)
        for name, dtype in (("vllm", "float32"), ("vllm_bf16", "bfloat16"))
    }


def _cut(model: CausalModel, prompt: Prompt, texts: Sequence[str]) -> list[str]:
    """The texts as Winnow reads them: cut in the same place."""
    return [str(model.tokenizer.decode(prompt.document_ids(text)[0])) for text in texts]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(".demo/models/smollm2"))
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--no-vllm", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    threads = set_threads(None)
    model = CausalModel(str(arguments.model), device_facts())
    half = CausalModel(str(arguments.model), device_facts(), Weights.BFLOAT16)
    prompt = prompt_of(model)
    texts, origin = questions(1001)
    room = prompt.max_document_tokens
    long = [text for text in texts if len(model.tokenizer(text)["input_ids"]) >= room]
    chosen, warm = long[: arguments.documents], long[2 * arguments.documents :][:BATCH]
    asked = Prompt("iterative", load_codebook("flourishing"), model.tokenizer, room)
    rows: dict[str, tuple[Row, Sequence[str]]] = {
        "generate": (generate(model, prompt), chosen[: arguments.documents // 2]),
        "pipeline": (by_pipeline(model, prompt), chosen[: arguments.documents // 2]),
        "batched": (batched(model, prompt, last_only=False), chosen),
        "batched_last": (batched(model, prompt, last_only=True), chosen),
        "winnow": (winnow(model, prompt), chosen),
        "bound": (bound(model, prompt), chosen),
        "winnow_bf16": (winnow(half, prompt), chosen),
        "iterative_single": (iterative_single(model, asked), chosen[:1]),
        "iterative": (winnow(model, asked), chosen[:4]),
    }
    rates: dict[str, float] = measure(rows, arguments.turns)
    if not arguments.no_vllm:
        rates |= vllm_rows(arguments.model, _cut(model, prompt, long[: 2 * len(chosen)]), _cut(model, prompt, warm), 2)
    ratios: dict[str, Any] = {
        f"winnow/{name}": round(rates["winnow"] / rates[name], 2)
        for name in ("generate", "pipeline", "batched", "batched_last", "bound", "vllm")
        if name in rates
    }
    ratios["iterative/iterative_single"] = round(rates["iterative"] / rates["iterative_single"], 2)
    if "vllm_bf16" in rates:
        ratios["winnow_bf16/vllm_bf16"] = round(rates["winnow_bf16"] / rates["vllm_bf16"], 2)
    result = {
        "rows": {name: round(value, 3) for name, value in rates.items()},
        "ratios": ratios,
        "prompt_tokens": PROMPT_TOKENS,
        "shared_tokens": len(prompt.prefix_ids),
        "iterative_questions": len(asked.questions),
        "documents": origin,
        "threads": threads,
        "gflops": round(rates["bound"] * operations_per_document(model, prompt, chosen) / 1e9, 1),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
