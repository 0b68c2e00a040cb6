"""Whether a recipe's training fits into the memory that is free now, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook
from label_configs.errors import EnvironmentFault
from ml_backend.prompts import Prompt
from ml_backend.training_config import Training
from trainer.doctor.packages import Gpu
from trainer.free_memory import free_memory
from trainer.jobs import recipe_of
from trainer.memory_estimate import SPARE, Plan, Tokens, gigabytes
from trainer.model_shape import shape_of

CHARACTERS = 4  # to a token: from 4.3 to 4.6 in the shipped codebooks' prompts with SmolLM2's tokenizer


class Characters:
    """A tokenizer that stands in for any model's: a prompt is written, and nothing has to be loaded for it."""

    eos_token_id = 0

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        """Each character is a token."""
        return {"input_ids": [ord(character) for character in text]}


def plan_of(training: Training, codebook: Codebook, gpus: Sequence[Gpu]) -> Plan | None:
    """The training of a document as long as the recipe reads it; None where the base's size is not known here.

    Raises ConfigError for a recipe or prompt that cannot be, ModelError where the model's configuration cannot be read.
    """
    recipe, shape = recipe_of(training), shape_of(training.base)
    if shape is None:
        return None
    prompt = Prompt(recipe.prompt, codebook, Characters(), recipe.max_document_tokens)
    asked = sum(map(len, prompt.tails)) // CHARACTERS + 2 * len(prompt.tails)
    own = recipe.max_document_tokens + asked
    tokens = Tokens(len(prompt.prefix_ids) // CHARACTERS, own, 2 * len(prompt.tails))
    return Plan(shape, recipe, tokens, bool(gpus), all(gpu.bf16 for gpu in gpus))


def check_memory(training: Training, codebook: Codebook, gpus: Sequence[Gpu], free: int | None = None) -> str:
    """That a step of the training fits: on the GPU that has least free, else into the machine's memory.

    ``free`` is in bytes, asked of the machine where None.
    """
    plan = plan_of(training, codebook, gpus)
    base, recipe = Path(training.base).name, Path(training.recipe).stem
    if plan is None:
        return f"the size of {training.base} is not known before it is downloaded"
    if free is None:
        free = min(gpu.free for gpu in gpus) if gpus else free_memory()
    need = plan.estimate().total
    where = "on the GPU" if gpus else "of memory"
    line = f"{recipe} over {base} needs about {gigabytes(need)} {where}"
    if free is None:
        return f"{line}, how much is free is not known"
    line += f", {gigabytes(free)} are free"
    if need <= SPARE * free:
        return line
    for change, changed in plan.thriftier():
        less = changed.estimate().total
        if less <= SPARE * free:
            raise EnvironmentFault(
                f"{line}; write `overrides: {{{change}}}` under `training`, which needs {gigabytes(less)}"
            )
    raise EnvironmentFault(f"{line}; free some, or train a smaller base: no change of the recipe is enough")
