"""The job of a train worker: one fine-tuning round, supervised. Loads no torch; training has a process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from redis import Redis

from label_configs.codebook import dump_codebook
from label_configs.errors import TrainingError, WinnowError
from label_configs.records import VerifiedExample
from ml_backend import adapters, queue
from ml_backend.atomic import write_atomically
from ml_backend.experiment import Project, Training, load_project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import enqueue_prelabel
from ml_backend.settings import Settings, load_settings
from ml_backend.snapshot import examples_digest, write_examples
from trainer.examples import leaks, without_leaks
from trainer.gate import GateVerdict, Verdict, judge
from trainer.recipe import LoraRecipe, load_recipe, recipe_with
from trainer.rounds import RoundRecord, RoundState, list_rounds, round_id, rounds_folder, save_round
from trainer.tether import tethered
from trainer.verified import read_project

log = logging.getLogger(__name__)

LOG_FILE = "fit.log"
PACKAGES = ("torch", "transformers", "peft", "scikit-learn", "label-studio-winnow")


def run_round(project_id: int) -> str:
    """Read what is verified, train, judge, promote if better; the round's id. RQ's entry."""
    settings = load_settings()
    redis = queue.connect(settings)
    client = LabelStudioClient(settings)
    project = load_project(settings.home, project_id)
    record = perform_round(settings, redis, client, project)
    if record.state is RoundState.PROMOTED:
        refresh(settings, redis, client, project)
    return record.id


def recipe_of(training: Training) -> LoraRecipe:
    """The recipe that the experiment names, with its overrides."""
    return recipe_with(load_recipe(training.recipe), training.overrides)


def perform_round(settings: Settings, redis: Redis, client: LabelStudioClient, project: Project) -> RoundRecord:
    """One round from reading to verdict; its record is on disk in every state. A round that ended is not run again."""
    training = project.experiment.training
    if training is None:
        raise TrainingError(f"project {project.id}: winnow.yaml has no `training`; add it and run `winnow init` again")
    recipe = recipe_of(training)
    reading = read_project(client, project)
    dropped = leaks(reading.examples)
    examples = without_leaks(reading.examples)
    identifier = round_id(examples_digest(examples), recipe.digest, training.base, project.codebook.fingerprint)
    folder = rounds_folder(settings.home, project.id)
    for known in list_rounds(folder):
        if known.id == identifier and known.state in (RoundState.PROMOTED, RoundState.KEPT):
            log.info("project %s: round %s was run on the same examples before", project.id, identifier)
            return known
    record = RoundRecord(
        identifier, project.id, RoundState.RUNNING, len(reading.examples),
        sum(not e.holdout for e in examples), sum(e.holdout for e in examples), started_at=datetime.now(UTC),
    )  # fmt: skip
    save_round(folder, record)
    log.info("project %s: round %s starts: %s training and %s holdout documents, %s leaks dropped", project.id,
             identifier, record.training_examples, record.holdout_examples, len(dropped))  # fmt: skip
    try:
        record = _train_and_judge(settings, redis, project, training, recipe, examples, record)
    except WinnowError as error:
        record = replace(record, state=RoundState.FAILED, reason=str(error))
        raise
    finally:
        ended = datetime.now(UTC)
        started = record.started_at or ended
        state = RoundState.FAILED if record.state is RoundState.RUNNING else record.state
        record = replace(record, state=state, ended_at=ended, seconds=round((ended - started).total_seconds(), 1))
        save_round(folder, record)
        queue.put_round_progress(redis, project.id, {"stage": record.state.value, "round": record.id})
    log.info("project %s: round %s: %s: %s", project.id, record.id, record.state.value, record.reason)
    return record


def _train_and_judge(
    settings: Settings,
    redis: Redis,
    project: Project,
    training: Training,
    recipe: LoraRecipe,
    examples: Sequence[VerifiedExample],
    record: RoundRecord,
) -> RoundRecord:
    _check_trainable(project, examples)
    folder = rounds_folder(settings.home, project.id) / record.id
    store = adapters.store_of(settings.home)
    current = adapters.current(project.folder)
    write_examples(folder / "examples.jsonl", examples)
    write_atomically(folder / "codebook.yaml", dump_codebook(project.codebook))
    plan = {
        "base": training.base,
        "recipe": asdict(recipe),
        "current": current,
        "current_folder": str(store.get(current).folder) if current else None,
        "threads": settings.threads,
    }
    write_atomically(folder / "plan.json", json.dumps(plan))
    _supervise(redis, project.id, record.id, folder)
    outcome = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    truth = [e.labels for e in examples if e.holdout]
    new, before = ([tuple(labels) for labels in outcome["predictions"][k]] for k in ("new", "current"))
    gate = training.gate
    verdict = judge(
        truth, new, before, probability=gate.probability, minimum=gate.minimum,
        metric="accuracy" if gate.metric == "accuracy" else "macro_f1",
    )  # fmt: skip
    manifest = _manifest(project, training, recipe, examples, record, outcome, verdict)
    adapter = store.publish(folder / "adapter", manifest)
    if verdict.verdict is Verdict.PROMOTED:
        adapters.promote(project.folder, adapter)
    return replace(
        record,
        state=RoundState.PROMOTED if verdict.verdict is Verdict.PROMOTED else RoundState.KEPT,
        adapter_id=adapter.id,
        reason=verdict.reason,
        metrics={f"new_{gate.metric}": verdict.new, f"current_{gate.metric}": verdict.current,
                 "probability": verdict.probability, "loss": outcome["loss"]},
    )  # fmt: skip


def _check_trainable(project: Project, examples: Sequence[VerifiedExample]) -> None:
    present = {label for e in examples if not e.holdout for label in e.labels}
    if len(present) < 2:
        raise TrainingError(
            f"project {project.id}: the training documents hold {len(present)} of the codebook's labels, two are "
            "needed; verify more documents"
        )


def _supervise(redis: Redis, project_id: int, identifier: str, folder: Path) -> None:
    """Run ``trainer.fit`` and pass its progress on. Raises TrainingError with its reason and the log's place."""
    command = tethered([sys.executable, "-m", "trainer.fit", str(folder)])
    reason, lines = "", deque[str](maxlen=1)
    with (folder / LOG_FILE).open("a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            try:
                progress: Mapping[str, Any] = json.loads(line)
            except ValueError:
                continue  # a library that prints
            reason = str(progress.get("error", reason))
            queue.put_round_progress(redis, project_id, {**progress, "round": identifier})
        code = process.wait()
    if code != 0:
        raise TrainingError(reason or f"training ended with code {code}; see {folder / LOG_FILE}")


def _manifest(
    project: Project,
    training: Training,
    recipe: LoraRecipe,
    examples: Sequence[VerifiedExample],
    record: RoundRecord,
    outcome: Mapping[str, Any],
    verdict: GateVerdict,
) -> dict[str, Any]:
    """What an adapter was made from, and how it was judged."""
    return {
        "base": training.base,
        "prompt": recipe.prompt,
        "max_document_tokens": recipe.max_document_tokens,
        "codebook": project.codebook.fingerprint,
        "project": project.id,
        "round": record.id,
        "recipe": asdict(recipe),
        "recipe_digest": recipe.digest,
        "examples_digest": examples_digest(examples),
        "training_examples": record.training_examples,
        "holdout_examples": record.holdout_examples,
        "holdout_share": training.holdout_share,
        "gate": asdict(verdict),
        "device": outcome["device"],
        "precision": outcome["precision"],
        "training_seconds": outcome["training_seconds"],
        "packages": {name: package_version(name) for name in PACKAGES},
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def refresh(settings: Settings, redis: Redis, client: LabelStudioClient, project: Project) -> int:
    """After a change of the current adapter: propose anew for open tasks, and for the coded holdout to be judged on.

    Returns the number of open tasks.
    """
    coded = [e.task_id for e in read_project(client, project).examples if e.holdout and e.task_id is not None]
    return enqueue_prelabel(redis, client, project, chunk=settings.chunk_documents, coded=coded)
