"""How far it is to the next fine-tuning round, by what was counted in the project's mirror."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from label_configs.errors import EnvironmentFault, reason
from ml_backend.experiment import Project
from trainer.mirror_file import MIRROR_FILE, unsealed
from trainer.mirror_schema import SCHEMA_VERSION
from trainer.rounds import Counts, due_by


@dataclass(frozen=True, slots=True)
class Counted:
    """What a mirror says of itself without a task being read: ``revision`` as ``Mirror.revision``.

    ``counts`` is None where the verified documents were not counted yet.
    """

    revision: str
    tasks: int
    submitted: int
    counts: Counts | None


@dataclass(frozen=True, slots=True)
class NextRound:
    """``verified`` documents there are now; at ``goal`` a round is due, ``to_next`` more, 0 where one is due now.

    ``new`` of them the last round has not seen. None where the project trains nothing or nothing was counted.
    """

    trains: bool
    tasks: int
    verified: int | None = None
    new: int | None = None
    goal: int | None = None
    to_next: int | None = None


def counted(folder: Path) -> Counted | None:
    """What the mirror in a project's folder counts; None before the first reading, and while it is made anew.

    Only reads, in a millisecond whatever the number of tasks. Raises EnvironmentFault where the file cannot be read.
    """
    path = folder / MIRROR_FILE
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2)) as base:
            if base.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
                return None
            base.execute("BEGIN")  # both of one state
            facts = {name: unsealed(value) for name, value in base.execute("SELECT name, value FROM facts")}
            totals = base.execute("SELECT tasks, submitted, verified, seen, both FROM totals").fetchone()
    except sqlite3.Error as error:
        raise EnvironmentFault(f"{path}: cannot be read ({reason(error)}); delete the file: it is made anew") from error
    tasks, submitted, verified, seen, both = map(int, totals)
    counts = Counts(verified, seen, both) if "counted_by" in facts else None
    return Counted(f"{facts.get('born', '')}-{facts.get('revision', '0')}", tasks, submitted, counts)


def next_round(project: Project, found: Counted | None) -> NextRound:
    """The way to the project's next round."""
    training, tasks = project.experiment.training, found.tasks if found else 0
    counts = found.counts if found else None
    if counts is None:
        return NextRound(training is not None, tasks)
    new = counts.verified - counts.both
    if training is None:
        return NextRound(False, tasks, counts.verified, new)
    to_next = documents_to(counts, training.thresholds, training.every)
    goal = None if to_next is None else counts.verified + to_next
    return NextRound(True, tasks, counts.verified, new, goal, to_next)


def documents_to(counts: Counts, thresholds: tuple[int, ...], every: int | None) -> int | None:
    """How many more newly verified documents make a round due: 0 where one is due, None where none will be.

    A round becomes due (``rounds.due``) at one of few numbers only, so these are tried.
    """
    new = counts.verified - counts.both
    steps = {0, 1, *(t - counts.verified for t in thresholds), *(t - new for t in thresholds)}
    if every is not None:
        steps.add(every - new)
    for more in sorted(step for step in steps if step >= 0):
        then = Counts(counts.verified + more, counts.seen, counts.both)
        if due_by(then, thresholds=thresholds, every=every) is not None:
            return more
    return None
