"""What a new adapter, what it would replace, and the bars beside it say of the holdout."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from label_configs.codebook import Codebook
from label_configs.records import Proposal, VerifiedExample, chosen_labels
from ml_backend.adapters import AdapterStore
from ml_backend.base_state import check_base
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.prompts import Prompt
from ml_backend.scoring import CausalScorer
from ml_backend.sources.base import ranked
from ml_backend.versions import prompt_of
from trainer.bar_models import ask_bars
from trainer.fit_plan import FitPlan

Rows = list[list[float]]
Note = Callable[[str], None]

NEW, CURRENT = "new", "current"


def chosen(codebook: Codebook, rows: Sequence[Sequence[float]]) -> list[tuple[str, ...]]:
    """The labels that each row of probabilities stands for."""
    return [chosen_labels(Proposal("", "", "", ranked(codebook, row)), kind=codebook.kind) for row in rows]


def judge_holdout(
    adapter: Path,
    codebook: Codebook,
    examples: Sequence[VerifiedExample],
    plan: FitPlan,
    facts: DeviceFacts,
    note: Note,
) -> dict[str, Rows]:
    """Probabilities ``[documents, labels]`` of the examples' holdout, in its order, by who was asked.

    ``new`` is the adapter in the folder ``adapter``, ``current`` what it would replace, else the base alone; then come
    the bars, fitted on the other examples, by their keys (``trainer.bars``). All are asked as they propose in use: the
    base is loaded anew as a worker loads it, since training may have held its weights in four bits. So let go of the
    trained model before. ``note`` hears what a person should know. Raises ModelError or AdapterError.
    """
    _free_memory()
    holdout = [example for example in examples if example.holdout]
    model = CausalModel(plan.base, facts)
    way = Prompt(plan.recipe.prompt, codebook, model.tokenizer, plan.recipe.max_document_tokens)
    judged = {NEW: _asked(model, way, holdout, NEW, adapter)}
    if plan.current_folder is None:
        judged[CURRENT] = _asked(model, way, holdout)
    else:
        judged[CURRENT] = _ask_current(model, codebook, holdout, plan.current_folder)
    del model, way
    _free_memory()
    return judged | ask_bars(plan.bars, examples, codebook, facts, note)


def _ask_current(model: CausalModel, codebook: Codebook, holdout: Sequence[VerifiedExample], folder: Path) -> Rows:
    """Over the base and with the prompt that its manifest names, its bytes checked."""
    adapter = AdapterStore(folder.parent).get(folder.name)
    check_base(adapter)
    base, way, length = adapter.manifest["base"], prompt_of(adapter), adapter.manifest["max_document_tokens"]
    if base != model.name:
        model = CausalModel(base, model.facts)
    return _asked(model, Prompt(way, codebook, model.tokenizer, length), holdout, adapter.id, adapter.folder)


def _asked(
    model: CausalModel, prompt: Prompt, holdout: Sequence[VerifiedExample], adapter: str | None = None,
    folder: Path | None = None,
) -> Rows:  # fmt: skip
    shared, budget = model.shares_prefix, model.facts.token_budget
    with model.using(adapter, folder) as causal:
        scored = CausalScorer(causal, prompt, token_budget=budget, shared=shared).score([e.text for e in holdout])
    return [one.probabilities.tolist() for one in scored]


def _free_memory() -> None:
    gc.collect()  # models hold themselves in circles
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
