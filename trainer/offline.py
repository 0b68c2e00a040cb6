"""`winnow train --examples`: from a file of verified documents to an adapter, without Label Studio and without Redis.

Everything lies in ``home/offline/<id>``, named as a round is by all that goes into it; ``result.json`` is written last,
so that a folder without it is one whose training was stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from label_configs.codebook import Codebook, load_codebook
from label_configs.errors import AdapterError, ConfigError, TrainingError
from label_configs.records import VerifiedExample
from ml_backend.adapters import store_of
from ml_backend.atomic import write_atomically
from ml_backend.calibration import calibration_error
from ml_backend.settings import Settings
from trainer.alone import alone
from trainer.evaluation.metrics import measure
from trainer.example_report import ExampleReport
from trainer.fine_tuning import FineTuned, fine_tune
from trainer.gate import LabelSets
from trainer.model_files import check_model
from trainer.recipe import load_recipe
from trainer.round_examples import RoundExamples
from trainer.supervision import OnProgress, Watch
from trainer.tuning import FineTuning, forget_training
from trainer.verified_file import VerifiedFile

RESULT_FILE = "result.json"
DEMO_MODEL = Path(".demo/models/smollm2")  # below the current folder, where `make demo` fetches it
HUB_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
MINIMUM = 10  # documents
FIGURES = ("accuracy", "macro_f1", "balanced_accuracy")

Result = Mapping[str, Any]


@dataclass(frozen=True)
class OfflineTraining:
    """What `winnow train --examples` is asked for; ``base`` None leaves the choice to ``base_model``."""

    file: VerifiedFile
    codebook: str | None
    base: str | None = None
    recipe: str = "cpu-small"
    holdout_share: float = 0.2


def base_model(settings: Settings, base: str | None) -> str:
    """The model to train: ``base``, else the setting, else the demo's where it was fetched, else SmolLM2 on the hub.

    A folder is given as an absolute path. Raises ModelError when its files are missing or damaged.
    """
    named = base or settings.base_model or (str(DEMO_MODEL) if (DEMO_MODEL / "config.json").is_file() else HUB_MODEL)
    path = Path(named).expanduser()
    if path.is_dir() or named.startswith((".", "/", "~")):
        named = str(path.resolve())
    check_model(named)
    return named


@dataclass(frozen=True)
class PreparedTraining:
    """What the files and options say, read and found fit; ``examples`` reports what there is to learn from."""

    settings: Settings
    tuning: FineTuning
    examples: ExampleReport

    @property
    def folder(self) -> Path:
        """Where the training keeps its files."""
        return self.settings.home / "offline" / self.tuning.id

    def earlier(self) -> Result | None:
        """The result of the same training with ``earlier`` true; None before it, or when its adapter is gone."""
        path = self.folder / RESULT_FILE
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            store_of(self.settings.home).get(found["adapter_id"])
        except (FileNotFoundError, AdapterError):
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise TrainingError(f"{path}: damaged; delete it and train again") from None
        return {**found, "earlier": True}

    def train(self, on_progress: OnProgress, *, again: bool = False) -> Result:
        """Train, judge against the base model, publish whatever the verdict; what came of it, see ``_result``.

        What was cut off goes on from its last checkpoint; with ``again`` what had ended starts from the beginning.
        Raises TrainingError when training fails, or goes on in another process.
        """
        started, store = time.monotonic(), store_of(self.settings.home)
        with alone(self.folder) as lock:
            if lock is None:
                raise TrainingError(f"{self.folder}: another process trains on the same documents; wait for it")
            if again:
                forget_training(self.folder)
            self.examples.save(self.folder)
            self.tuning.write(self.folder, store)
            tuned = fine_tune(self.tuning, self.folder, store, Watch(on_progress, held=(lock,)))
            assert tuned is not None  # nobody asks it to stop
            result = _result(self.tuning, tuned, len(self.examples.leaks), round(time.monotonic() - started, 1))
            write_atomically(self.folder / RESULT_FILE, json.dumps(result, indent=2))
        return result


def prepare(settings: Settings, asked: OfflineTraining) -> PreparedTraining:
    """Read everything that goes into the training, without loading a model.

    Raises ConfigError for what the file or an option says, ModelError for the base model's files, TrainingError when
    the documents are too few.
    """
    file = asked.file
    if asked.codebook is None:
        raise ConfigError(
            f"no --codebook; give one, or draft it with `winnow codebook from-data {file.path} --code-column "
            f"{file.code_column}`"
        )
    if not 0 < asked.holdout_share < 1:
        raise ConfigError(f"--holdout-share: {asked.holdout_share:g} must lie between 0 and 1")
    codebook, recipe = load_codebook(asked.codebook), load_recipe(asked.recipe)
    base = base_model(settings, asked.base)
    examples = file.examples(codebook, asked.holdout_share)
    found = RoundExamples.of_verified(examples, codebook)
    kept = found.examples
    _check_enough(file.path, kept, asked.holdout_share)
    tuning = FineTuning(
        base, recipe, codebook, kept, asked.holdout_share,
        threads=settings.threads, origin={"examples_file": file.path.name, **found.counts},
    )  # fmt: skip
    return PreparedTraining(settings, tuning, found.report)


def report(result: Result) -> Group:
    """The adapter and the base on the holdout as a table, and below it what there is to say."""
    holdout = result["holdout"]
    table = Table("", "accuracy", "macro-F1", "balanced accuracy", "ECE", title=f"{holdout['n']} holdout documents")
    for name, figures in (("adapter", holdout), ("base", holdout["base"])):
        table.add_row(name, *(_figure(figures[one]) for one in (*FIGURES, "ece")))
    better = {"promoted": ", better than the base", "kept": ", not better than the base"}.get(result["verdict"], "")
    lines = [
        f"Adapter {result['adapter_id']}{better}: {result['reason']}",
        f"Base {result['base']}; {result['training_examples']} documents trained on, {result['leaks']} leaks dropped, "
        f"{result['seconds']:.0f} s.",
    ]
    if result["temperature"] is not None:
        lines.append(
            f"Its probabilities are tempered by {result['temperature']:g}: ECE {_figure(holdout['ece'])} -> "
            f"{_figure(holdout['ece_tempered'])} (cross-fitted)."
        )
    lines.append(f"`winnow classify FILE --codebook FILE --source adapter:{result['adapter_id']} --out FILE` uses it.")
    if result.get("earlier"):
        lines.append("It was trained earlier on the same documents; --again trains anew.")
    return Group(table, *(Text(line, overflow="fold") for line in lines))


def _check_enough(path: Path, examples: Sequence[VerifiedExample], holdout_share: float) -> None:
    if len(examples) < MINIMUM:
        raise TrainingError(f"{path}: {len(examples)} verified documents, at least {MINIMUM} are needed; verify more")
    if not any(example.holdout for example in examples):
        raise TrainingError(
            f"{path}: none of {len(examples)} documents fell into the holdout of {holdout_share:g}; verify more, or "
            "raise --holdout-share"
        )
    found = {label for example in examples if not example.holdout for label in example.labels}
    if len(found) < 2:
        which = f"all have the code {found.pop()!r}" if found else "none has a code"
        raise TrainingError(f"{path}: of the training documents {which}; two codes are needed to learn from")


def _result(tuning: FineTuning, tuned: FineTuned, dropped: int, seconds: float) -> dict[str, Any]:
    """The adapter, the holdout's figures (null where undefined), the verdict of the gate against the base model."""
    fit = tuned.calibration
    holdout = {"n": len(tuning.truth), **_figures(tuning, tuned.new), "ece": fit.ece, "ece_tempered": fit.ece_tempered}
    before = calibration_error(tuned.probabilities["current"], tuning.truth, tuning.codebook)
    return {
        "adapter_id": tuned.adapter.id,
        "holdout": holdout | {"base": {**_figures(tuning, tuned.current), "ece": before}},
        "seconds": seconds,
        "base": tuning.base,
        "training_examples": tuning.training_examples,
        "holdout_examples": len(tuning.truth),
        "leaks": dropped,
        "verdict": tuned.verdict.verdict.value,
        "reason": tuned.verdict.reason,
        "temperature": fit.temperature,
        "earlier": False,
    }


def _figures(tuning: FineTuning, predicted: LabelSets) -> dict[str, float | None]:
    codebook: Codebook = tuning.codebook
    metrics = asdict(measure(tuning.truth, predicted, codebook.label_keys, kind=codebook.kind))
    return {name: metrics[name] for name in FIGURES}


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
