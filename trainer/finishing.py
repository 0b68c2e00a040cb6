"""What follows a round's verdict: proposals of what leads now, also where the worker died before it asked for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from redis import Redis

from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from trainer.alone import alone
from trainer.owed_refresh import is_owed, paying
from trainer.refit import propose_anew, publish
from trainer.rounds import JUDGED, RoundRecord, list_rounds, rounds_folder, save_round
from trainer.verified import Look, read_project


def refresh(redis: Redis, client: LabelStudioClient, project: Project, *, chunk: int) -> int:
    """After a change of the current adapter: propose anew for open tasks, and for the coded holdout to be judged on.

    Returns the number of open tasks.
    """
    reading = read_project(client, project)
    publish(project, reading.examples)
    return propose_anew(redis, client, project, reading, chunk=chunk)


def pay_refresh(redis: Redis, client: LabelStudioClient, project: Project, *, chunk: int) -> bool:
    """Refresh where that is owed, as an operator's promotion leaves it; whether it was."""
    if not is_owed(project):
        return False
    with paying(project):
        refresh(redis, client, project, chunk=chunk)
    return True


def finish_promotions(redis: Redis, client: LabelStudioClient, project: Project, *, chunk: int) -> bool:
    """Have proposed anew what the last round's verdict changed, where that was not done yet; whether it was now.

    Done twice, it changes nothing: a task that has the proposals of the present version is left alone.
    """
    rounds = rounds_folder(project.home, project.id)
    if _unfinished(rounds) is None:
        return False
    with alone(rounds) as lock:
        record = _unfinished(rounds)
        if lock is None or record is None:
            return False
        refresh(redis, client, project, chunk=chunk)
        save_round(rounds, replace(record, refreshed_at=datetime.now(UTC)))
        return True


def _unfinished(rounds: Path) -> RoundRecord | None:
    """The last round, where it was judged and its verdict not followed yet."""
    records = list_rounds(rounds)
    last = records[-1] if records else None
    return last if last and last.state in JUDGED and last.refreshed_at is None else None


class Finishing:
    """Has the scheduler do it, for a worker that died between a verdict and what follows."""

    def __init__(self, redis: Redis, client: LabelStudioClient, *, chunk: int) -> None:
        self._redis, self._client, self._chunk = redis, client, chunk

    def look(self, project: Project, at: Look | None = None) -> bool:
        """Follow the last verdict, and an operator's, where that was not done yet; whether it was now."""
        del at
        paid = pay_refresh(self._redis, self._client, project, chunk=self._chunk)
        return finish_promotions(self._redis, self._client, project, chunk=self._chunk) or paid
