"""What a round's process is told by the job that supervises it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ml_backend.training_config import Balance, Negatives
from trainer.bars import Bar
from trainer.recipe import LoraRecipe, recipe_with

EXAMPLES_FILE = "examples.parquet"


@dataclass(frozen=True)
class FitPlan:
    """What a round's process is told: paths, base, recipe, and how ``sequences`` makes its examples into rows.

    ``current`` is the adapter to compare with, None for the base; ``bars`` are the project's sources that stand beside.
    ``micro_batch_size`` is that of an earlier training that this one repeats, None for the recipe's.
    ``checkpoint_seconds`` is how much of its work a process may lose at most, or a 20th of it where that is more.
    """

    base: str
    recipe: LoraRecipe
    codebook: Path
    current: str | None
    current_folder: Path | None
    threads: int | None
    negatives: Negatives = Negatives.ALL
    balance: Balance = Balance.NONE
    bars: tuple[Bar, ...] = ()
    checkpoint_seconds: float = 60.0
    micro_batch_size: int | None = None

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
            Negatives(data.get("negatives", Negatives.ALL)),
            Balance(data.get("balance", Balance.NONE)),
            tuple(Bar.from_json(bar) for bar in data.get("bars", ())),
            float(data.get("checkpoint_seconds", 60.0)),
            data.get("micro_batch_size"),
        )
