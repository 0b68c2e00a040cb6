"""All that goes into a fine-tuning, and the folder that keeps it: what was begun there can be gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook, dump_codebook, load_codebook
from label_configs.errors import TrainingError
from label_configs.records import VerifiedExample
from ml_backend.adapters import AdapterStore
from ml_backend.atomic import write_atomically
from ml_backend.snapshot import examples_digest, read_examples, write_examples
from ml_backend.templates import prompt_version
from ml_backend.training_config import Balance, Gate, Negatives
from trainer.bars import Bar
from trainer.fit_plan import EXAMPLES_FILE, FitPlan
from trainer.gate import LabelSets
from trainer.kept_files import keep_beside, with_kept_prompt
from trainer.recipe import LoraRecipe
from trainer.rounds import round_id

PLAN_FILE, CODEBOOK_FILE, OUTCOME_FILE = "plan.json", "codebook.yaml", "outcome.json"
NAMED = 12  # codes in a note
MADE = ("adapter", "checkpoints")  # folders that the training's process makes


@dataclass(frozen=True)
class FineTuning:
    """All that goes into a fine-tuning.

    ``examples`` are training documents and holdout, without leaks; ``current`` is the id of the adapter that a new
    one is compared with, None for the base alone, ``bars`` the project's sources that stand beside; ``origin`` is what
    the manifest says of where the examples are from, ``beside`` files to keep beside the adapter, by their names there.
    ``micro_batch_size`` is that of an earlier training that this one repeats, None for the recipe's; ``prompt_version``
    the prompt's when it was begun, empty for that of the prompt file as it is now.
    """

    base: str
    recipe: LoraRecipe
    codebook: Codebook
    examples: Sequence[VerifiedExample]
    holdout_share: float
    gate: Gate = field(default_factory=Gate)
    current: str | None = None
    threads: int | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    negatives: Negatives = Negatives.ALL
    balance: Balance = Balance.NONE
    bars: tuple[Bar, ...] = ()
    beside: Mapping[str, Path] = field(default_factory=dict)
    checkpoint_seconds: float = 60.0
    micro_batch_size: int | None = None
    prompt_version: str = field(default="", compare=False)

    @property
    def id(self) -> str:
        """16 hexadecimal digits: the same examples, recipe, base and codebook are the same fine-tuning.

        A team's own prompt counts by what is in the file, not by where it lies. Raises ConfigError where it is missing.
        """
        how = "" if self._plain else f"-{self.negatives}-{self.balance}"
        digest, recipe = examples_digest(self.examples), replace(self.recipe, prompt=self._prompt_version)
        return round_id(digest, f"{recipe.digest}{how}", self.base, self.codebook.fingerprint)

    @property
    def _prompt_version(self) -> str:
        return self.prompt_version or prompt_version(self.recipe.prompt)

    @property
    def _plain(self) -> bool:
        """Whether examples are learned from as rounds did before there was a choice: their ids stay what they were."""
        return self.negatives is Negatives.ALL and self.balance is Balance.NONE

    @property
    def truth(self) -> LabelSets:
        """The labels of the holdout."""
        return [example.labels for example in self.examples if example.holdout]

    @property
    def training_examples(self) -> int:
        """Number of documents that are trained on."""
        return len(self.examples) - len(self.truth)

    @property
    def unseen(self) -> tuple[str, ...]:
        """The codebook's labels that no training document has: the adapter cannot learn them."""
        seen = self._seen()
        return tuple(label for label in self.codebook.label_keys if label not in seen)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the examples."""
        unseen = self.unseen
        if not unseen:
            return ()
        named = ", ".join(unseen[:NAMED]) + (f" and {len(unseen) - NAMED} more" if len(unseen) > NAMED else "")
        return (f"no training document has {named}: the adapter learns nothing of them until some do",)

    def check(self) -> None:
        """Raise TrainingError where there is nothing to tell apart."""
        present = len(self._seen())
        if present < 2:
            raise TrainingError(
                f"the training documents hold {present} of the codebook's labels, two are needed; verify more documents"
            )

    def _seen(self) -> set[str]:
        return {label for example in self.examples if not example.holdout for label in example.labels}

    def write(self, folder: Path, store: AdapterStore) -> None:
        """Write what the training's process reads. An outcome that another plan led to is deleted, to be had anew.

        Raises AdapterError where ``current`` is missing or damaged, EnvironmentFault where nothing can be written.
        """
        write_examples(folder / EXAMPLES_FILE, self.examples, codebook=self.codebook.fingerprint)
        write_atomically(folder / CODEBOOK_FILE, dump_codebook(self.codebook))
        keep_beside(self.beside, folder)
        plan = json.dumps({
            "base": self.base,
            "recipe": asdict(with_kept_prompt(self.recipe, folder)),
            "prompt": self.recipe.prompt,
            "prompt_version": self._prompt_version,
            "current": self.current,
            "current_folder": str(store.get(self.current).folder) if self.current else None,
            "threads": self.threads,
            "negatives": self.negatives.value,
            "balance": self.balance.value,
            "bars": [asdict(bar) for bar in self.bars],
            "holdout_share": self.holdout_share,
            "origin": dict(self.origin),
            "beside": list(self.beside),
            "checkpoint_seconds": self.checkpoint_seconds,
            "micro_batch_size": self.micro_batch_size,
        })  # fmt: skip
        path = folder / PLAN_FILE
        if path.exists() and path.read_text(encoding="utf-8") != plan:
            (folder / OUTCOME_FILE).unlink(missing_ok=True)
        write_atomically(path, plan)

    @classmethod
    def read(cls, folder: Path, gate: Gate) -> FineTuning:
        """What ``write`` wrote, to be judged by ``gate``. Raises TrainingError where it is missing or damaged."""
        path = folder / PLAN_FILE
        try:
            plan, data = FitPlan.read(folder), json.loads(path.read_text(encoding="utf-8"))
            return cls(
                plan.base, replace(plan.recipe, prompt=data["prompt"]), load_codebook(plan.codebook),
                read_examples(folder / EXAMPLES_FILE), data["holdout_share"], gate, plan.current, plan.threads,
                data["origin"], plan.negatives, plan.balance, plan.bars,
                {name: folder / name for name in data["beside"]}, plan.checkpoint_seconds,
                plan.micro_batch_size, data.get("prompt_version", ""),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            raise TrainingError(f"{path}: missing or damaged; move its folder away to train anew") from None


def forget_training(folder: Path) -> None:
    """Delete what a training left that had come to its end; one that was cut off stays, to be gone on with."""
    if not (folder / OUTCOME_FILE).exists():
        return
    for name in MADE:
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / OUTCOME_FILE).unlink(missing_ok=True)  # last: as long as it is there, the rest is not gone on with
