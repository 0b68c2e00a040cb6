"""The job of a train worker: one fine-tuning round, supervised. Loads no torch; training has a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from label_configs.errors import TrainingError, WinnowError
from ml_backend import adapters, queue
from ml_backend.experiment import Project, Training, load_project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.settings import Settings, load_settings
from trainer.examples import leaks, without_leaks
from trainer.fine_tuning import FineTuning, fine_tune
from trainer.gate import Verdict
from trainer.recipe import LoraRecipe, load_recipe, recipe_with
from trainer.refit import propose_anew, publish
from trainer.rounds import RoundRecord, RoundState, list_rounds, rounds_folder, save_round
from trainer.verified import read_project

log = logging.getLogger(__name__)


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
    tuning = FineTuning(
        training.base, recipe, project.codebook, without_leaks(reading.examples), training.holdout_share,
        training.gate, adapters.current(project.folder), settings.threads, {"project": project.id},
    )  # fmt: skip
    folder = rounds_folder(settings.home, project.id)
    for known in list_rounds(folder):
        if known.id == tuning.id and known.state in (RoundState.PROMOTED, RoundState.KEPT):
            log.info("project %s: round %s was run on the same examples before", project.id, tuning.id)
            return known
    record = RoundRecord(
        tuning.id, project.id, RoundState.RUNNING, len(reading.examples),
        tuning.training_examples, len(tuning.truth), started_at=datetime.now(UTC),
    )  # fmt: skip
    save_round(folder, record)
    log.info("project %s: round %s starts: %s training and %s holdout documents, %s leaks dropped", project.id,
             tuning.id, record.training_examples, record.holdout_examples, len(dropped))  # fmt: skip
    try:
        record = _train_and_judge(redis, project, tuning, record)
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


def _train_and_judge(redis: Redis, project: Project, tuning: FineTuning, record: RoundRecord) -> RoundRecord:
    def tell(progress: Mapping[str, Any]) -> None:
        queue.put_round_progress(redis, project.id, {**progress, "round": record.id})

    folder = rounds_folder(project.home, project.id) / record.id
    tuned = fine_tune(tuning, folder, adapters.store_of(project.home), tell)
    verdict = tuned.verdict
    if verdict.verdict is Verdict.PROMOTED:
        adapters.promote(project.folder, tuned.adapter)
    return replace(
        record,
        state=RoundState.PROMOTED if verdict.verdict is Verdict.PROMOTED else RoundState.KEPT,
        adapter_id=tuned.adapter.id,
        reason=verdict.reason,
        metrics={f"new_{verdict.metric}": verdict.new, f"current_{verdict.metric}": verdict.current,
                 "probability": verdict.probability, "loss": tuned.loss},
    )  # fmt: skip


def refresh(settings: Settings, redis: Redis, client: LabelStudioClient, project: Project) -> int:
    """After a change of the current adapter: propose anew for open tasks, and for the coded holdout to be judged on.

    Returns the number of open tasks.
    """
    reading = read_project(client, project)
    publish(project, reading.examples)
    return propose_anew(redis, client, project, reading, chunk=settings.chunk_documents)
