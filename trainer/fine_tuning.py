"""A fine-tuning from verified examples to a published adapter and its verdict.

Rounds and ``winnow train --examples`` share it. The training itself has a process of its own, so nothing here loads
torch, and whoever waits hears through a callback how far it has come.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np

from label_configs.codebook import Codebook, dump_codebook
from label_configs.errors import TrainingError
from label_configs.records import VerifiedExample
from ml_backend.adapters import Adapter, AdapterStore
from ml_backend.atomic import write_atomically
from ml_backend.calibration import TemperatureFit, temperature_fit
from ml_backend.experiment import Gate
from ml_backend.probabilities import Floats
from ml_backend.snapshot import examples_digest, write_examples
from trainer.gate import GateVerdict, LabelSets, judge
from trainer.recipe import LoraRecipe
from trainer.rounds import round_id
from trainer.tether import tethered

LOG_FILE, OUTCOME_FILE = "fit.log", "outcome.json"
PACKAGES = ("torch", "transformers", "peft", "scikit-learn", "label-studio-winnow")

OnProgress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class FineTuning:
    """All that goes into a fine-tuning.

    ``examples`` are training documents and holdout, without leaks; ``current`` is the id of the adapter that a new
    one is compared with, None for the base alone; ``origin`` is what the manifest says of where the examples are from.
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

    @property
    def id(self) -> str:
        """16 hexadecimal digits: the same examples, recipe, base and codebook are the same fine-tuning."""
        return round_id(examples_digest(self.examples), self.recipe.digest, self.base, self.codebook.fingerprint)

    @property
    def truth(self) -> LabelSets:
        """The labels of the holdout."""
        return [example.labels for example in self.examples if example.holdout]

    @property
    def training_examples(self) -> int:
        """Number of documents that are trained on."""
        return len(self.examples) - len(self.truth)


@dataclass(frozen=True)
class FineTuned:
    """What came of a fine-tuning.

    Of the holdout, in its order, ``new`` and ``current`` are what the adapter and what it was compared with predicted,
    ``probabilities`` by the same names ``[documents, labels]``; ``calibration`` is the adapter's.
    """

    adapter: Adapter
    verdict: GateVerdict
    calibration: TemperatureFit
    loss: float
    new: LabelSets
    current: LabelSets
    probabilities: Mapping[str, Floats]


def fine_tune(tuning: FineTuning, folder: Path, store: AdapterStore, on_progress: OnProgress) -> FineTuned:
    """Train in a process of its own, judge on the holdout, publish the adapter whatever the verdict.

    ``folder`` keeps examples, codebook, plan, log and outcome. ``on_progress`` hears the process's progress (stage,
    step, steps, seconds_left, loss). Raises TrainingError with the process's reason, or the place of its log.
    """
    _check_trainable(tuning.examples)
    write_examples(folder / "examples.jsonl", tuning.examples)
    write_atomically(folder / "codebook.yaml", dump_codebook(tuning.codebook))
    plan = {
        "base": tuning.base,
        "recipe": asdict(tuning.recipe),
        "current": tuning.current,
        "current_folder": str(store.get(tuning.current).folder) if tuning.current else None,
        "threads": tuning.threads,
    }
    write_atomically(folder / "plan.json", json.dumps(plan))
    _supervise(folder, on_progress)
    outcome = json.loads((folder / OUTCOME_FILE).read_text(encoding="utf-8"))
    new, current = ([tuple(labels) for labels in outcome["predictions"][who]] for who in ("new", "current"))
    gate = tuning.gate
    verdict = judge(
        tuning.truth, new, current, probability=gate.probability, minimum=gate.minimum,
        metric="accuracy" if gate.metric == "accuracy" else "macro_f1",
    )  # fmt: skip
    shape = (len(tuning.truth), len(tuning.codebook.label_keys))
    probabilities = {who: np.array(rows).reshape(shape) for who, rows in outcome["probabilities"].items()}
    calibration = temperature_fit(probabilities["new"], tuning.truth, tuning.codebook)
    adapter = store.publish(folder / "adapter", _manifest(tuning, outcome, verdict, calibration))
    return FineTuned(adapter, verdict, calibration, outcome["loss"], new, current, probabilities)


def _check_trainable(examples: Sequence[VerifiedExample]) -> None:
    present = {label for e in examples if not e.holdout for label in e.labels}
    if len(present) < 2:
        raise TrainingError(
            f"the training documents hold {len(present)} of the codebook's labels, two are needed; "
            "verify more documents"
        )


def _supervise(folder: Path, on_progress: OnProgress) -> None:
    """Run ``trainer.fit`` and pass its progress on; it ends with this process, and with an error raised here."""
    command = tethered([sys.executable, "-m", "trainer.fit", str(folder)])
    reason = ""
    with (
        (folder / LOG_FILE).open("a", encoding="utf-8") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                progress = _progress(line)
                reason = str(progress.get("error", reason))
                if progress:
                    on_progress(progress)
            code = process.wait()
        finally:
            process.kill()  # where Ctrl-C or the callback's error ended the waiting; one that has ended is let be
    if code != 0:
        raise TrainingError(reason or f"training ended with code {code}; see {folder / LOG_FILE}")


def _progress(line: str) -> Mapping[str, Any]:
    """One line of the process's output; empty where a library printed it."""
    try:
        progress = json.loads(line)
    except ValueError:
        return {}
    return progress if isinstance(progress, dict) else {}


def _manifest(
    tuning: FineTuning, outcome: Mapping[str, Any], verdict: GateVerdict, calibration: TemperatureFit
) -> dict[str, Any]:
    """What an adapter was made from, and how it was judged."""
    return {
        "base": tuning.base,
        "prompt": tuning.recipe.prompt,
        "max_document_tokens": tuning.recipe.max_document_tokens,
        "codebook": tuning.codebook.fingerprint,
        **tuning.origin,
        "round": tuning.id,
        "recipe": asdict(tuning.recipe),
        "recipe_digest": tuning.recipe.digest,
        "examples_digest": examples_digest(tuning.examples),
        "training_examples": tuning.training_examples,
        "holdout_examples": len(tuning.truth),
        "holdout_share": tuning.holdout_share,
        "gate": asdict(verdict),
        "temperature": calibration.temperature,
        "ece": calibration.ece,
        "ece_tempered": calibration.ece_tempered,
        "device": outcome["device"],
        "precision": outcome["precision"],
        "training_seconds": outcome["training_seconds"],
        "packages": {name: package_version(name) for name in PACKAGES},
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
