"""What an adapter's manifest says: enough to make it again, with the files that are kept beside the adapter.

    base, base_digest, base_revision     the model, the state of its files, the commit of a hub model
    recipe, recipe_digest, prompt, prompt_file, max_document_tokens, negatives, balance
    examples_digest, training_examples, holdout_examples, holdout_share, codebook (fingerprint)
    gate, metrics                        the verdict; on the holdout all figures of ``new``, ``current`` and the bars
    temperature, ece, ece_tempered       of the adapter's probabilities
    device, devices, threads, instructions, precision, micro_batch_size, resumed
                                         what computed it, and how: of these depends in which order sums were summed
    compared_with                        the adapter that was current, None for the base alone
    seeds, git, packages, training_seconds, made_at, round, project or examples_file

``trainer.fine_tuning`` adds ``notes``, ``unseen`` and ``requests``, the ids of the calls that led to the round, 20 at
most. The store adds ``files``, the digest of every file.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from platform import python_version
from typing import Any

from ml_backend.base_state import base_state
from ml_backend.calibration import TemperatureFit
from ml_backend.snapshot import examples_digest
from trainer.evaluation.metrics import LabelSets, measure
from trainer.gate import SEED, GateVerdict
from trainer.kept_files import kept_name
from trainer.tuning import FineTuning

PACKAGES = (
    "label-studio-winnow", "torch", "transformers", "peft", "accelerate", "bitsandbytes", "safetensors", "tokenizers",
    "scikit-learn", "numpy",
)  # fmt: skip

# Of the outcome; one that an earlier version left has not all.
COMPUTED = (
    "device", "devices", "threads", "instructions", "precision", "micro_batch_size", "resumed", "training_seconds",
)  # fmt: skip


def manifest_of(
    tuning: FineTuning,
    outcome: Mapping[str, Any],
    verdict: GateVerdict,
    calibration: TemperatureFit,
    predicted: Mapping[str, LabelSets],
) -> dict[str, Any]:
    """What an adapter was made from, and how it was judged: the module's table, as plain data.

    ``outcome`` is what the training's process left, ``predicted`` what each one that was asked said of the holdout, by
    its key. Raises ModelError where the base is no longer readable.
    """
    codebook, recipe, base = tuning.codebook, tuning.recipe, base_state(tuning.base)
    return {
        "base": tuning.base,
        "base_digest": base.digest if base else None,
        "base_revision": base.revision if base else None,
        "prompt": recipe.prompt,
        "prompt_file": kept_name(recipe.prompt),
        "max_document_tokens": recipe.max_document_tokens,
        "codebook": codebook.fingerprint,
        **tuning.origin,
        "round": tuning.id,
        "recipe": asdict(recipe),
        "recipe_digest": recipe.digest,
        "negatives": tuning.negatives.value,
        "balance": tuning.balance.value,
        "examples_digest": examples_digest(tuning.examples),
        "training_examples": tuning.training_examples,
        "holdout_examples": len(tuning.truth),
        "holdout_share": tuning.holdout_share,
        "gate": asdict(verdict),
        "metrics": {
            who: asdict(measure(tuning.truth, labels, codebook.label_keys, kind=codebook.kind))
            for who, labels in predicted.items()
        },
        "temperature": calibration.temperature,
        "ece": calibration.ece,
        "ece_tempered": calibration.ece_tempered,
        "seeds": {"training": recipe.seed, "bootstrap": SEED},
        "compared_with": tuning.current,
        **{name: outcome[name] for name in COMPUTED if name in outcome},
        "git": working_tree(),
        "packages": packages(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def packages() -> dict[str, str]:
    """Versions of what computes an adapter, of Python too; a library that is not installed is left out."""
    found = {"python": python_version()}
    for name in PACKAGES:
        try:
            found[name] = package_version(name)
        except PackageNotFoundError:
            continue
    return found


def working_tree(root: Path = Path(__file__).parent.parent) -> dict[str, Any] | None:
    """``commit`` of the git checkout that Winnow runs from, and whether it was ``changed`` since; else None."""
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of somebody else's
        return None
