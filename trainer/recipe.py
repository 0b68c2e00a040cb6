"""How an adapter is fine-tuned: every hyper-parameter of a round, read from YAML, named by a digest.

Early stopping, where a recipe asks for it, looks at a slice of the training documents. What is held out is judged once,
by the gate, and never steers the training that it judges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from label_configs.errors import ConfigError
from label_configs.strictyaml import Location, YamlFile, build, load_yaml

_SHIPPED = Path(__file__).parent / "recipes"


class Scheduler(StrEnum):
    """Course of the learning rate, by transformers' names."""

    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"
    LINEAR = "linear"
    COSINE = "cosine"


class Optimizer(StrEnum):
    """Optimiser, by transformers' names; all but the first need bitsandbytes."""

    ADAMW = "adamw_torch"
    ADAMW_8BIT = "adamw_bnb_8bit"
    PAGED_ADAMW_8BIT = "paged_adamw_8bit"
    PAGED_ADAMW_32BIT = "paged_adamw_32bit"


class Quantization(StrEnum):
    """How the frozen base model's weights are held; ``nf4`` (QLoRA) and ``int8`` need bitsandbytes."""

    NONE = "none"
    NF4 = "nf4"
    INT8 = "int8"


class Precision(StrEnum):
    """Floating point of activations; ``auto`` takes bf16 where the device has it, else fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


@dataclass(frozen=True)
class LoraRecipe:
    """Hyper-parameters of a fine-tuning round (LoRA: Hu et al., arXiv 2106.09685; QLoRA: Dettmers et al., 2305.14314).

    The defaults suit small models on a CPU. Raises ValueError naming *all* the fields that cannot be, one line; the
    functions below turn that into ConfigError.
    """

    rank: int = 16  # columns of LoRA's A and B, r
    alpha: float = 32.0  # no unit; the update is scaled by alpha / rank
    dropout: float = 0.0  # probability in [0, 1), on the input of LoRA's A
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"  # names of linear modules of the base model
    learning_rate: float = 5e-4  # per optimiser step, at its highest
    scheduler: Scheduler = Scheduler.LINEAR
    warmup_ratio: float = 0.0  # share of all optimiser steps, in [0, 1)
    epochs: int = 3  # passes over the training documents
    batch_size: int = 8  # documents per optimiser step
    micro_batch_size: int = 8  # documents per forward pass; divides batch_size
    weight_decay: float = 0.0  # AdamW's, per optimiser step, times the learning rate
    max_grad_norm: float = 1.0  # L2 norm over all trained weights that gradients are clipped to
    max_document_tokens: int = 256  # tokens of a document that are read; what follows is cut off
    seed: int = 0  # of the order of documents, the initial weights and dropout
    optimizer: Optimizer = Optimizer.ADAMW
    quantization: Quantization = Quantization.NONE
    precision: Precision = Precision.AUTO
    gradient_checkpointing: bool = False  # compute activations twice to hold fewer of them
    validation_share: float = 0.0  # of the training documents, in [0, 0.5], not learned from: they say when to stop
    patience: int = 1  # epochs in a row without a lower validation loss after which training stops; the best is kept
    prompt: str = "definitions"  # name of the prompt that documents are wrapped in

    def __post_init__(self) -> None:
        wrong = self._problems()
        if wrong:
            raise ValueError("; ".join(wrong))

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any field."""
        # 32 and 32.0 are the same hyper-parameter, whether it came from Python or from YAML.
        fields = {name: float(value) if isinstance(value, int) else value for name, value in asdict(self).items()}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    def _problems(self) -> list[str]:
        constant_warmed = self.scheduler is Scheduler.CONSTANT and self.warmup_ratio > 0
        # A batch size below 1 is told by its own line, not by its remainder.
        uneven = self.batch_size >= 1 and self.micro_batch_size >= 1 and self.batch_size % self.micro_batch_size != 0
        checks = [
            (self.rank >= 1, f"rank: {self.rank} must be 1 or more"),
            (self.alpha > 0, f"alpha: {self.alpha:g} must be above 0"),
            (0 <= self.dropout < 1, f"dropout: {self.dropout:g} must be in [0, 1)"),
            (bool(self.target_modules), "target_modules: name at least one module, or write all-linear"),
            (
                self.target_modules == "all-linear" or "all-linear" not in self.target_modules,
                "target_modules: all-linear stands alone, not in a list",
            ),
            (0 < self.learning_rate < 1, f"learning_rate: {self.learning_rate:g} must be in (0, 1)"),
            (0 <= self.warmup_ratio < 1, f"warmup_ratio: {self.warmup_ratio:g} must be in [0, 1)"),
            (not constant_warmed, "scheduler: constant has no warm-up; use constant_with_warmup or warmup_ratio 0"),
            (self.epochs >= 1, f"epochs: {self.epochs} must be 1 or more"),
            (self.batch_size >= 1, f"batch_size: {self.batch_size} must be 1 or more"),
            (self.micro_batch_size >= 1, f"micro_batch_size: {self.micro_batch_size} must be 1 or more"),
            (not uneven, f"micro_batch_size: {self.micro_batch_size} must divide batch_size {self.batch_size}"),
            (self.weight_decay >= 0, f"weight_decay: {self.weight_decay:g} must be 0 or more"),
            (self.max_grad_norm > 0, f"max_grad_norm: {self.max_grad_norm:g} must be above 0"),
            (self.max_document_tokens >= 1, f"max_document_tokens: {self.max_document_tokens} must be 1 or more"),
            (0 <= self.validation_share <= 0.5, f"validation_share: {self.validation_share:g} must be in [0, 0.5]"),
            (self.patience >= 1, f"patience: {self.patience} must be 1 or more"),
            (0 <= self.seed < 2**32, f"seed: {self.seed} must be in [0, 2^32)"),
            (bool(self.prompt.strip()), "prompt: must name a prompt, such as definitions"),
        ]
        return [message for holds, message in checks if not holds]


def load_recipe(name_or_path: str | Path) -> LoraRecipe:
    """A shipped recipe by its name (``cpu-small``), or one of your own by its path.

    A prompt file that it names stands relative to it. Raises ConfigError with all problems at once, each with file and
    line; unknown keys come with the nearest valid one.
    """
    name = str(name_or_path)
    is_path = isinstance(name_or_path, Path) or "/" in name or name.endswith((".yaml", ".yml"))
    if not is_path and name not in shipped_recipes():
        known = ", ".join(shipped_recipes())
        raise ConfigError(f"recipe: no shipped recipe '{name}'; use one of {known}, or the path of a YAML file")
    source = load_yaml(Path(name_or_path) if is_path else _SHIPPED / f"{name}.yaml")
    recipe = build(LoraRecipe, source.data, source=source)
    if recipe.prompt.endswith(".j2"):
        recipe = replace(recipe, prompt=str((source.path.parent / recipe.prompt).resolve()))
    return recipe


def recipe_with(
    recipe: LoraRecipe, overrides: Mapping[str, object], *, source: YamlFile | None = None, at: Location = ()
) -> LoraRecipe:
    """``recipe`` with some fields replaced, as plain YAML values. ``source`` and ``at`` say where the overrides stand.

    Raises ConfigError with all problems at once, as ``load_recipe`` does.
    """
    source = source or YamlFile(Path("recipe overrides"), dict(overrides), {(): 1})
    return build(LoraRecipe, {**asdict(recipe), **overrides}, source=source, at=at)


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with Winnow."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))
