"""The scheduler: counts verified documents from Label Studio itself and starts the rounds that are due.

At every reconciliation it also has the sources that learn by verified examples learn from the newest ones, and makes
the copies of documents that are shown again, takes up the tasks that a prelabelling left alone, and has the dashboard's
reports made. Webhooks only wake it. One process at a time holds it, by a lock in Redis.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from label_configs.errors import LabelStudioError, QueueError, WinnowError
from ml_backend import changed_projects, locks, queue
from ml_backend.ending import must_end
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.log_events import LogEvent, tell
from ml_backend.registered_projects import load_project, registered
from ml_backend.request_ids import under
from ml_backend.settings import Settings
from trainer.dashboard.reporting import Reporting
from trainer.due_rounds import DueRounds
from trainer.finishing import Finishing
from trainer.leftovers import Leftovers
from trainer.refit import Refitting
from trainer.repeats import Repeating
from trainer.verified import Look

log = logging.getLogger(__name__)

LOCK_SECONDS = 120.0
WAIT_SECONDS = 2.0  # at most this long until a stop is heard
GRACE_SECONDS = 5.0  # that a look at hand has to end; whoever stops the scheduler may kill it after 10


class _BrokenOff(BaseException):
    """The look at hand would hold up the end of the process: a server hangs."""


def run_until_told(settings: Settings) -> None:
    """``run_scheduler`` until SIGINT or SIGTERM. A look at hand has some seconds to end, then it is broken off.

    What it has written by then is whole, as after a crash, and the next look finds the rest. For the main thread.
    """
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
        must_end()

    def break_off(*_: object) -> None:
        raise _BrokenOff

    signal.signal(signal.SIGALRM, break_off)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        run_scheduler(settings, stop)
    except _BrokenOff:
        tell(log, LogEvent.LOOK_BROKEN_OFF)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def run_scheduler(settings: Settings, stop: threading.Event) -> None:
    """Until ``stop`` is set: look at projects when a webhook says so, at all of them every ``reconcile_seconds``."""
    redis = queue.connect(settings)
    client = LabelStudioClient(settings)
    lock = locks.Lock(redis, "scheduler", LOCK_SECONDS)
    parts = Parts.of(redis, client, settings)
    next_look = 0.0
    rests = Rests()
    changed: set[int] = set()
    try:
        while not stop.is_set():
            try:
                changed |= changed_projects.wait_changed(redis, min(WAIT_SECONDS, settings.reconcile_seconds))
                if not lock.hold():
                    continue
                everyone: set[int] = set()
                if time.monotonic() >= next_look:
                    everyone = set(registered(settings.home))
                    next_look = time.monotonic() + settings.reconcile_seconds
                for project_id in sorted({one for one in changed if rests.over(one)} | everyone):
                    if stop.is_set() or not lock.hold():
                        break
                    led = changed_projects.changing_requests(redis, project_id) if project_id in changed else ()
                    changed.discard(project_id)
                    with rests.timed(project_id), under(led):
                        look(settings.home, client, project_id, parts, timed=project_id in everyone)
            except QueueError as error:
                tell(log, LogEvent.REDIS_AWAY, reason=error, again_in_seconds=WAIT_SECONDS)
                stop.wait(WAIT_SECONDS)
    finally:
        parts.reporting.close()
        lock.release()


@dataclass(frozen=True)
class Parts:
    """All that looks at a project."""

    rounds: DueRounds
    timed: Sequence[Finishing | Refitting | Repeating | Leftovers | Reporting]
    reporting: Reporting

    @classmethod
    def of(cls, redis: Redis, client: LabelStudioClient, settings: Settings) -> Parts:
        """For all projects of the installation."""
        chunk, reporting = settings.chunk_documents, Reporting(settings, client)
        timed = (
            Finishing(redis, client, chunk=chunk), Refitting(redis, client, chunk=chunk), Repeating(redis, client),
            Leftovers(redis, client, chunk=chunk), reporting,
        )  # fmt: skip
        return cls(DueRounds(redis, client), timed, reporting)


class Rests:
    """Has hints wait, where a look takes long: one project takes at most a tenth of the scheduler's time by them."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def over(self, project_id: int) -> bool:
        """Whether a hint may be followed; it is kept until then."""
        return time.monotonic() >= self._until.get(project_id, 0.0)

    @contextmanager
    def timed(self, project_id: int) -> Iterator[None]:
        """A look."""
        start = time.monotonic()
        yield
        end = time.monotonic()
        self._until[project_id] = end + 9 * (end - start)


def look(home: Path, client: LabelStudioClient, project_id: int, parts: Parts, *, timed: bool) -> None:
    """Count one project and start its round where due; ``timed``: all else too.

    One that cannot be read does not hinder the others, and is looked at again. Raises QueueError alone.
    """
    try:
        project = load_project(home, project_id)
        at = Look(client, project)
        parts.rounds.look(project, at)
        for part in parts.timed if timed else ():
            part.look(project, at=at)
    except QueueError:
        raise
    except LabelStudioError as error:
        tell(log, LogEvent.PROJECT_UNREADABLE, project=project_id, reason=error)
    except WinnowError as error:
        tell(log, LogEvent.PROJECT_FAULTY, project=project_id, reason=error)
    except Exception as error:  # noqa: BLE001 - a look's edge: the other projects must be looked at
        tell(log, LogEvent.PROJECT_CRASHED, project=project_id, error=error)
