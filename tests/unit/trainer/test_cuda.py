"""Training, scoring and running out of memory on a real GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from label_configs.records import VerifiedExample
from ml_backend.causal_model import CausalModel
from ml_backend.devices import device_facts
from ml_backend.prompts import Prompt
from ml_backend.scoring import CausalScorer
from ml_backend.source_config import Weights
from tests.unit.trainer.fitting import BOOK, CPU, QUICK, examples, make_loud_llama
from trainer.base_model import load_trainable
from trainer.collate import Collator
from trainer.fit import save_adapter
from trainer.loss import PromptLoss, SharedPrefixLoss, WholePromptLoss
from trainer.recipe import LoraRecipe, Optimizer, Precision, Quantization
from trainer.sequences import sequences
from trainer.training import train

pytestmark = pytest.mark.gpu

TEXTS = [e.text for e in examples(12, holdout=True)]


@pytest.fixture(scope="module")
def base(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_loud_llama(tiny_llama, tmp_path_factory.mktemp("base") / "loud-llama")


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Lets this process have 150 MB more of the GPU than it holds."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 150 * 2**20) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def adapted(base: Path, recipe: LoraRecipe) -> tuple[Any, Prompt]:
    """A base on the GPU with a fresh adapter whose B is not zero, and the prompt."""
    torch.manual_seed(recipe.seed)
    model, tokenizer = load_trainable(str(base), recipe, device_facts())
    assert next(model.parameters()).device.type == "cuda"
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model, Prompt(recipe.prompt, BOOK, tokenizer, recipe.max_document_tokens)


def gradient(base: Path, kind: type[PromptLoss], precision: Precision, *, recompute: bool = False) -> torch.Tensor:
    """The adapter's gradient over one batch, under autocast where training would be."""
    model, prompt = adapted(base, replace(QUICK, precision=precision))
    rows = sequences(examples(8), prompt)
    batch = {name: tensor.cuda() for name, tensor in Collator(len(prompt.prefix_ids))(rows).items()}
    loss = kind(model, prompt.prefix_ids, recompute=recompute).cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=precision is Precision.BF16):
        loss(**batch)["loss"].backward()
    return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    return float((found - expected).norm() / expected.norm())


def probabilities(model: Any, prompt: Prompt) -> torch.Tensor:
    """What a model gives each label of each text."""
    scored = CausalScorer(model, prompt, token_budget=512).score(TEXTS)
    return torch.tensor([s.probabilities.tolist() for s in scored])


@pytest.mark.parametrize("recompute", [False, True])
def test_a_shared_prefix_gives_the_gradients_of_whole_prompts(base: Path, recompute: bool) -> None:
    expected = gradient(base, WholePromptLoss, Precision.FP32)
    assert expected.norm() > 0
    assert apart(gradient(base, SharedPrefixLoss, Precision.FP32, recompute=recompute), expected) < 1e-4
    assert apart(gradient(base, SharedPrefixLoss, Precision.BF16, recompute=recompute), expected) < 0.1


def test_scores_are_those_of_a_cpu(base: Path) -> None:
    here, there = CausalModel(str(base), device_facts(), Weights.FLOAT32), CausalModel(str(base), CPU)
    assert here.base.device.type == "cuda"
    prompts = [Prompt(QUICK.prompt, BOOK, model.tokenizer, QUICK.max_document_tokens) for model in (here, there)]
    found, expected = probabilities(here.base, prompts[0]), probabilities(there.base, prompts[1])
    assert (found - expected).abs().max() < 1e-3
    assert expected.std() > 0.01


def test_an_adapter_trained_on_a_gpu_answers_alike_on_a_cpu(base: Path, tmp_path: Path) -> None:
    recipe = replace(QUICK, precision=Precision.FP32)
    model, prompt = adapted(base, recipe)
    train(model, prompt, examples(32), recipe, tmp_path, lambda progress: None)
    model.eval()
    expected = probabilities(model.get_base_model(), prompt)
    save_adapter(model, tmp_path / "adapter")
    there = CausalModel(str(base), CPU)
    with there.using("trained-on-a-gpu", tmp_path / "adapter") as loaded:
        found = probabilities(loaded, prompt)
        assert loaded.device.type == "cpu"
    assert (found - expected).abs().max() < 1e-3
    with there.using(None) as plain:
        assert (probabilities(plain, prompt) - expected).abs().max() > 0.1, "training changed nothing"


def test_qlora_with_a_paged_optimiser_and_checkpointing_learns(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    recipe = replace(
        QUICK,
        precision=Precision.BF16,
        quantization=Quantization.NF4,
        optimizer=Optimizer.PAGED_ADAMW_32BIT,
        gradient_checkpointing=True,
        micro_batch_size=4,
    )
    model, prompt = adapted(base, recipe)
    losses: list[float] = []

    def emit(progress: Mapping[str, Any]) -> None:
        losses.extend([progress["loss"]] if "loss" in progress else [])

    train(model, prompt, examples(32), recipe, tmp_path, emit)
    assert len(losses) == 4 * 4
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.usefixtures("little_memory")
def test_a_gpu_that_is_too_small_is_asked_for_less_at_a_time(base: Path, tmp_path: Path) -> None:
    recipe = replace(
        QUICK, epochs=1, batch_size=64, micro_batch_size=64, max_document_tokens=1000, precision=Precision.FP32
    )
    model, prompt = adapted(base, recipe)
    long = [VerifiedExample(e.document_id, e.text * 60, e.labels, e.coders, False) for e in examples(128)]
    notes: list[str] = []
    steps: list[int] = []

    def emit(progress: Mapping[str, Any]) -> None:
        notes.extend([progress["note"]] if "note" in progress else [])
        steps.extend([progress["step"]] if "loss" in progress else [])

    train(model, prompt, long, recipe, tmp_path, emit)
    assert any("micro_batch_size is 32" in note for note in notes)
    assert steps == [1, 2]
