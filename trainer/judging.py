"""What a new adapter, and what it would replace, say of the holdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook
from label_configs.records import Proposal, VerifiedExample, chosen_labels
from ml_backend.adapters import AdapterStore
from ml_backend.causal_model import CausalModel, load_adapter
from ml_backend.devices import device_facts
from ml_backend.prompts import Prompt
from ml_backend.scoring import CausalScorer
from ml_backend.sources.base import ranked
from trainer.fit_plan import FitPlan


def probabilities(model: Any, prompt: Prompt, examples: Sequence[VerifiedExample], budget: int) -> list[list[float]]:
    """What ``model`` gives each of the codebook's labels, in its order, for each example."""
    scored = CausalScorer(model, prompt, token_budget=budget).score([e.text for e in examples])
    return [s.probabilities.tolist() for s in scored]


def chosen(codebook: Codebook, rows: Sequence[Sequence[float]]) -> list[tuple[str, ...]]:
    """The labels that each row of probabilities stands for."""
    return [chosen_labels(Proposal("", "", "", ranked(codebook, row)), kind=codebook.kind) for row in rows]


def predictions(model: Any, prompt: Prompt, examples: Sequence[VerifiedExample], budget: int) -> list[tuple[str, ...]]:
    """The labels that ``model`` chooses for each example, in order."""
    return chosen(prompt.codebook, probabilities(model, prompt, examples, budget))


def judge_holdout(
    model: Any, prompt: Prompt, holdout: Sequence[VerifiedExample], plan: FitPlan, budget: int
) -> dict[str, list[list[float]]]:
    """What the new adapter, and what it would replace, say of the holdout: the current adapter, else the base alone.

    Probabilities ``[documents, labels]``. The current adapter is asked as it proposes: over the base and with the
    prompt that its manifest names.
    """
    model.eval()
    base = model.get_base_model()
    new = probabilities(base, prompt, holdout, budget)
    if plan.current is None or plan.current_folder is None:
        with model.disable_adapter():
            current = probabilities(base, prompt, holdout, budget)
    else:
        current = _ask_current(model, prompt, holdout, plan.base, plan.current_folder, budget)
    return {"new": new, "current": current}


def _ask_current(
    model: Any, prompt: Prompt, holdout: Sequence[VerifiedExample], base: str, folder: Path, budget: int
) -> list[list[float]]:
    adapter = AdapterStore(folder.parent).described(folder.name)
    way, length = adapter.manifest["prompt"], adapter.manifest["max_document_tokens"]
    if adapter.manifest["base"] == base:
        load_adapter(model, adapter.id, folder, base)
        model.set_adapter(adapter.id)
        return probabilities(
            model.get_base_model(), Prompt(way, prompt.codebook, prompt.tokenizer, length), holdout, budget
        )
    other = CausalModel(adapter.manifest["base"], device_facts())
    with other.using(adapter.id, folder) as asked:
        return probabilities(asked, Prompt(way, prompt.codebook, other.tokenizer, length), holdout, budget)
