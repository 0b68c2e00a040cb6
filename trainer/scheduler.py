"""The scheduler: counts verified documents from Label Studio itself and starts the rounds that are due.

At every reconciliation it also has the sources that learn by verified examples learn from the newest ones, and makes
the copies of documents that are shown again, and takes up the tasks that a prelabelling left alone. Webhooks only wake
it. One process at a time holds it, by a lock in Redis.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from redis import Redis

from label_configs.errors import LabelStudioError, QueueError, WinnowError
from ml_backend import queue
from ml_backend.experiment import Project, load_project, registered
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.settings import Settings
from trainer.leftovers import Leftovers
from trainer.refit import Refitting
from trainer.repeats import Repeating
from trainer.rounds import RoundState, due, last_verified, list_rounds, rounds_folder
from trainer.verified import read_project

log = logging.getLogger(__name__)

LOCK_SECONDS = 120.0
WAIT_SECONDS = 5.0  # at most this long until a stop is heard


def reconcile(redis: Redis, client: LabelStudioClient, project: Project) -> bool:
    """Whether a round was due and has been enqueued. The exact count costs an export: a cheap bound is asked first."""
    training = project.experiment.training
    if training is None:
        return False
    folder = rounds_folder(project.home, project.id)
    if queue.round_at_hand(redis, project.id):
        return False
    if interrupted(redis, folder, project.id):
        log.info("project %s: the last round was cut off, it is started anew", project.id)
        return queue.enqueue_round(redis, project.id)

    def is_due(verified: int) -> bool:
        return due(
            verified, thresholds=training.thresholds, every=training.every, last_verified=last_verified(folder)
        ) is not None  # fmt: skip

    if not is_due(client.annotated_tasks(project.id)):
        return False
    verified = len(read_project(client, project).examples)
    if not is_due(verified):
        return False
    log.info("project %s: %s verified documents, a round is due", project.id, verified)
    return queue.enqueue_round(redis, project.id)


def interrupted(redis: Redis, folder: Path, project_id: int) -> bool:
    """Whether the last round was cut off, by a stop or a crash: its record says that it runs, and no worker has it."""
    records = list_rounds(folder)
    return bool(records) and records[-1].state is RoundState.RUNNING and not queue.round_at_hand(redis, project_id)


def run_scheduler(settings: Settings, stop: threading.Event) -> None:
    """Until ``stop`` is set: look at projects when a webhook says so, at all of them every ``reconcile_seconds``."""
    redis = queue.connect(settings)
    client = LabelStudioClient(settings)
    lock = queue.Lock(redis, "scheduler", LOCK_SECONDS)
    refitting = Refitting(redis, client, chunk=settings.chunk_documents)
    repeating = Repeating(redis, client)
    leftovers = Leftovers(redis, client, chunk=settings.chunk_documents)
    next_look = 0.0
    changed: set[int] = set()
    try:
        while not stop.is_set():
            try:
                changed |= queue.wait_changed(redis, min(WAIT_SECONDS, settings.reconcile_seconds))
                if not lock.hold():
                    continue
            except QueueError as error:
                log.warning("%s; trying again in %.0f s", error, WAIT_SECONDS)
                stop.wait(WAIT_SECONDS)
                continue
            for project_id in changed:
                refitting.forget(project_id)
            everyone: set[int] = set()
            if time.monotonic() >= next_look:
                everyone = set(registered(settings.home))
                next_look = time.monotonic() + settings.reconcile_seconds
            for project_id in sorted(changed | everyone):
                timed = (refitting, repeating, leftovers) if project_id in everyone else ()
                _look(settings, redis, client, project_id, timed)
            changed.clear()
    finally:
        lock.release()


def _look(
    settings: Settings,
    redis: Redis,
    client: LabelStudioClient,
    project_id: int,
    timed: Sequence[Refitting | Repeating | Leftovers],
) -> None:
    """Reconcile one project; one that cannot be read does not hinder the others, and is looked at again."""
    try:
        project = load_project(settings.home, project_id)
        reconcile(redis, client, project)
        for part in timed:
            part.look(project)
    except LabelStudioError as error:
        log.warning("project %s: %s", project_id, error)
    except WinnowError as error:
        log.error("project %s: %s", project_id, error)
