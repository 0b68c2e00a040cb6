"""Starts the rounds that are due, and those that were cut off."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis import Redis

from ml_backend.changed_projects import changing_requests
from ml_backend.experiment import Project
from ml_backend.log_events import LogEvent, tell
from ml_backend.round_queue import enqueue_round, round_at_hand
from ml_backend.task_reader import TaskReader
from trainer.mirror_file import MirrorFile
from trainer.rounds import RoundState, due_by, list_rounds, rounds_folder, seen_stamp
from trainer.tally import Tally
from trainer.verified import Look

log = logging.getLogger(__name__)

PATIENCE = 20
"""A round that is due waits for quiet at most so many times ``quiet_seconds``: some teams never rest."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was counted in one state of a project: that need not be done again while nothing changes."""

    state: tuple[object, ...]
    due: int | None


class DueRounds:
    """Counts the verified documents of projects; remembers what it saw, so that a quiet one costs one small request."""

    def __init__(self, redis: Redis, reader: TaskReader) -> None:
        self._redis = redis
        self._reader = reader
        self._verdicts: dict[int, _Verdict] = {}
        self._due_since: dict[int, datetime] = {}

    def look(self, project: Project, at: Look | None = None, now: datetime | None = None) -> bool:
        """Whether a round was due (see ``rounds.due``), or was cut off, and has been enqueued.

        One round of a project at a time: while one is at hand, nothing is asked of Label Studio. A round that is due
        waits until nothing was decided for ``quiet_seconds``, as far as looks have seen, but at most ``PATIENCE`` times
        as long; after the clock was set back, a decision of its future keeps nobody waiting. Raises LabelStudioError,
        QueueError, TrainingError, EnvironmentFault.
        """
        training, folder = project.experiment.training, rounds_folder(project.home, project.id)
        if training is None or round_at_hand(self._redis, project.id):
            return False
        if interrupted(folder):
            tell(log, LogEvent.ROUND_CUT_OFF, project=project.id)
            return enqueue_round(self._redis, project, resume=True)
        now = now or datetime.now(UTC)
        at = at or Look(self._reader, project, now)
        verdict = self._verdict(project, at, folder)
        if verdict is None:
            self._due_since.pop(project.id, None)
            return False
        since = self._due_since[project.id] = min(now, self._due_since.get(project.id, now))
        quiet, decided = timedelta(seconds=training.quiet_seconds), at.decided_at
        restless = decided is not None and timedelta() <= now - decided < quiet
        if restless and now - since < PATIENCE * quiet:
            return False
        del self._due_since[project.id]
        led = changing_requests(self._redis, project.id)
        tell(log, LogEvent.ROUND_DUE, project=project.id, documents=verdict, requests=led or None)
        return enqueue_round(self._redis, project)

    def _verdict(self, project: Project, at: Look, folder: Path) -> int | None:
        training, known = project.experiment.training, self._verdicts.get(project.id)
        assert training is not None
        state = (at.revision, seen_stamp(folder), project.experiment, project.codebook.fingerprint, project.team)
        if known is None or known.state != state:
            with MirrorFile(project.folder) as file:
                counts = Tally(file, project).counts(folder)
            needed = due_by(counts, thresholds=training.thresholds, every=training.every)
            known = self._verdicts[project.id] = _Verdict(state, needed)
        return known.due


def interrupted(folder: Path) -> bool:
    """Whether the last round was cut off, by a stop or a crash: its record says that it runs.

    To be asked where no worker has it.
    """
    records = list_rounds(folder)
    return bool(records) and records[-1].state is RoundState.RUNNING
