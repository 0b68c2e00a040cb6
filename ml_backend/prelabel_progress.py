"""How far pushing predictions has come: the state of every task of a project's last prelabelling, in Redis.

A task moves from one state to another and is counted where it is. So a job that is run twice counts once, and what live
mode pushes of tasks that no prelabelling asked for counts nowhere. No document's text is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

from redis import Redis

from ml_backend.queue import KEPT_SECONDS, redis_errors

REASON_LENGTH = 300  # characters
SET_BATCH = 10_000  # members in one command

# The prelabelling itself, the tasks in each state, and why tasks failed or were left alone.
PRELABEL_KEY = "winnow:prelabel:{project}"
STATE_KEY = "winnow:prelabel:{project}:{state}"
REASONS_KEY = "winnow:prelabel:{project}:reasons"


class TaskState(StrEnum):
    """Where a task is."""

    QUEUED = "queued"
    WORKING = "working"
    DONE = "done"  # it has the review prediction
    LEFT = "left"  # left alone: a coder has it open, or coded it meanwhile
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """One task's state; ``reason`` says why it failed or was left alone."""

    task_id: int
    state: TaskState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """The last prelabelling of a project; ``version`` is empty when there was none, or it was forgotten."""

    version: str = ""
    counts: Mapping[TaskState, int] = field(default_factory=dict)

    def __getitem__(self, state: TaskState) -> int:
        """Number of tasks in this state."""
        return self.counts.get(state, 0)

    @property
    def total(self) -> int:
        """Number of tasks in any state."""
        return sum(self.counts.values())

    @property
    def ended(self) -> bool:
        """Whether no task is queued or worked on."""
        return not (self[TaskState.QUEUED] or self[TaskState.WORKING])


def start_prelabel(redis: Redis, project_id: int, version: str, task_ids: Collection[int]) -> None:
    """Begin anew: these tasks are queued for the review prediction ``version``."""
    key, queued = PRELABEL_KEY.format(project=project_id), _key(project_id, TaskState.QUEUED)
    ids = list(task_ids)
    with redis_errors(), redis.pipeline() as pipe:
        pipe.delete(key, REASONS_KEY.format(project=project_id), *(_key(project_id, state) for state in TaskState))
        pipe.hset(key, mapping={"version": version})
        pipe.expire(key, KEPT_SECONDS)
        for start in range(0, len(ids), SET_BATCH):
            pipe.sadd(queued, *ids[start : start + SET_BATCH])
        pipe.expire(queued, KEPT_SECONDS)
        pipe.execute()


def move_tasks(
    redis: Redis, project_id: int, state: TaskState, task_ids: Collection[int], reasons: Mapping[int, str] | None = None
) -> int:
    """Move those of these tasks that belong to the project's prelabelling to a state; how many they are."""
    if not task_ids:
        return 0
    told = REASONS_KEY.format(project=project_id)
    with redis_errors(), redis.pipeline() as pipe:
        for task_id in task_ids:
            for other in TaskState:
                if other is not state:
                    pipe.smove(_key(project_id, other), _key(project_id, state), str(task_id))
            if reason := (reasons or {}).get(task_id, ""):
                pipe.hset(told, str(task_id), reason[:REASON_LENGTH])
            else:
                pipe.hdel(told, str(task_id))
        for key in (_key(project_id, state), told):
            pipe.expire(key, KEPT_SECONDS)
        pipe.smismember(_key(project_id, state), [str(task_id) for task_id in task_ids])
        return sum(pipe.execute()[-1])


def prelabel_progress(redis: Redis, project_id: int) -> Progress:
    """How many tasks of the project's last prelabelling are in which state."""
    with redis_errors(), redis.pipeline() as pipe:
        pipe.hget(PRELABEL_KEY.format(project=project_id), "version")
        for state in TaskState:
            pipe.scard(_key(project_id, state))
        version, *counts = pipe.execute()
    return Progress((version or b"").decode(), dict(zip(TaskState, map(int, counts), strict=True)))


def tasks_in(redis: Redis, project_id: int, state: TaskState) -> list[TaskProgress]:
    """The tasks in this state by their ids, with reasons."""
    with redis_errors(), redis.pipeline() as pipe:
        pipe.smembers(_key(project_id, state))
        pipe.hgetall(REASONS_KEY.format(project=project_id))
        members, reasons = pipe.execute()
    told = {int(task_id): reason.decode() for task_id, reason in cast(dict[bytes, bytes], reasons).items()}
    return [TaskProgress(task_id, state, told.get(task_id, "")) for task_id in sorted(map(int, members))]


def _key(project_id: int, state: TaskState) -> str:
    return STATE_KEY.format(project=project_id, state=state.value)
