"""The job of a train worker that trains one cell of a learning curve. Loads no torch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis

from label_configs.errors import QueueError, TrainingError
from ml_backend import adapters, queue
from ml_backend.log_events import LogEvent, tell
from ml_backend.registered_projects import load_project
from ml_backend.settings import load_settings
from ml_backend.training_config import Training
from trainer.alone import alone
from trainer.curve_cells import CurvePlan, cell_folder, train_cell
from trainer.curve_queue import put_progress, stop_asked
from trainer.evaluation.curve_file import cell_name
from trainer.jobs import WAIT_SECONDS
from trainer.supervision import Watch

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0  # between two words to Redis


def run_cell(project_id: int, curve_id: str, share: int, seed: int) -> str:
    """Train a cell, unless it was; what became of it. RQ's entry. A cell that was cut off goes on where it was."""
    settings = load_settings()
    redis = queue.connect(settings)
    project = load_project(settings.home, project_id)
    plan = CurvePlan.read(project.folder, curve_id)
    with alone(cell_folder(plan, share, seed), WAIT_SECONDS) as lock:
        if plan.done(share, seed):
            return "done before"
        if lock is None:
            return "another process has it"
        training = project.experiment.training or Training(base="")
        telling = _Telling(redis, project_id, cell_name(share, seed))
        watch = Watch(telling.tell, telling.stop_asked, training.time_limit_hours * 3600, (lock,))
        try:
            cell = train_cell(plan, share, seed, adapters.store_of(settings.home), watch)
        except TrainingError as error:
            cell_id = cell_name(share, seed)
            tell(log, LogEvent.CELL_FAILED, project=project_id, curve=curve_id, cell=cell_id, reason=error)
            return "failed"
    return "stopped" if cell is None else "done"


class _Telling:
    """Tells Redis how far a cell has come, now and then; the training goes on while Redis is away."""

    def __init__(self, redis: Redis, project_id: int, cell: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._project, self._cell, self._clock = redis, project_id, cell, clock
        self._next = 0.0

    def tell(self, progress: Mapping[str, Any]) -> None:
        if self._clock() < self._next:
            return
        self._next = self._clock() + EVERY_SECONDS
        try:
            put_progress(self._redis, self._project, self._cell, progress)
        except QueueError as error:
            log.debug("no word of cell %s: %s", self._cell, error)

    def stop_asked(self) -> bool:
        try:
            return stop_asked(self._redis, self._project)
        except QueueError:
            return False
