"""What `winnow status` and GET /projects/<id>/prelabel say: every task's state, and whether anybody works on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from ml_backend.heartbeat import live_workers
from ml_backend.prelabel_progress import Progress, TaskProgress, TaskState, prelabel_progress, tasks_in


@dataclass(frozen=True, slots=True)
class PrelabelStatus:
    """The last prelabelling of a project, the tasks asked for by state and id, and the number of live workers."""

    project_id: int
    progress: Progress
    tasks: Sequence[TaskProgress]
    workers: int

    @classmethod
    def of(cls, redis: Redis, project_id: int, states: Sequence[TaskState] = tuple(TaskState)) -> PrelabelStatus:
        """The status now, with the tasks in these states. Raises QueueError."""
        tasks = [one for state in states for one in tasks_in(redis, project_id, state)]
        return cls(project_id, prelabel_progress(redis, project_id), tasks, len(live_workers(redis)))

    def as_json(self) -> dict[str, Any]:
        """As /projects/<id>/prelabel answers; see ``openapi.yaml``."""
        return {
            "project": self.project_id,
            "version": self.progress.version,
            "total": self.progress.total,
            **{state.value: self.progress[state] for state in TaskState},
            "workers": self.workers,
            "tasks": [
                {"task": one.task_id, "state": one.state.value, **({"reason": one.reason} if one.reason else {})}
                for one in self.tasks
            ],
        }
