"""What a round's process is told by the job that supervises it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from trainer.recipe import LoraRecipe, recipe_with


@dataclass(frozen=True)
class FitPlan:
    """What a round's process is told: paths, base, recipe.

    ``current`` is the adapter to compare with, None for the base.
    """

    base: str
    recipe: LoraRecipe
    codebook: Path
    current: str | None
    current_folder: Path | None
    threads: int | None

    @classmethod
    def read(cls, folder: Path) -> FitPlan:
        """The plan in ``folder/plan.json``, written by the round's job."""
        data = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        return cls(
            data["base"],
            recipe_with(LoraRecipe(), data["recipe"]),
            folder / "codebook.yaml",
            data["current"],
            Path(data["current_folder"]) if data["current_folder"] else None,
            data["threads"],
        )
