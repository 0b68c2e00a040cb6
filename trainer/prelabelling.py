"""Prelabelling as a person sees it: enqueue what is missing, show how far it has come, say what stands in its way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from redis import Redis
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from tenacity import Retrying, retry_if_result, wait_fixed

from label_configs.errors import QueueError
from ml_backend.experiment import Project
from ml_backend.heartbeat import live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import enqueue_lost, enqueue_prelabel
from ml_backend.prelabel_progress import TaskState, prelabel_progress, tasks_in
from ml_backend.prelabel_status import PrelabelStatus

LOOK_SECONDS = 0.5  # between two looks at a progress
CHECK_SECONDS = 5.0  # between two looks whether somebody works on it
WORKERLESS_SECONDS = 60.0  # that it goes on without any live worker, as when they are being restarted
TRIES = 3  # times that tasks whose worker was killed are enqueued
TOLD = 20  # tasks in a table, by default
NO_WORKER = "no propose worker is alive; start one or more with `winnow worker propose`, on any host, or `winnow up`"


@dataclass
class Prelabelling:
    """Pushes predictions for a project's open tasks, in jobs of ``chunk``, and watches until they have ended."""

    redis: Redis
    client: LabelStudioClient
    project: Project
    chunk: int
    workerless_seconds: float = WORKERLESS_SECONDS
    check_seconds: float = CHECK_SECONDS
    _checked: float = field(default=0.0, init=False)
    _alive: float = field(default=0.0, init=False)
    _tries: int = field(default=0, init=False)

    def run(self, console: Console) -> None:
        """Enqueue what is missing and show how far it has come, until all open tasks have the review prediction.

        Raises QueueError when tasks failed, with the reason of one, and when no worker is alive for a minute.
        """
        if enqueue_prelabel(self.redis, self.client, self.project, chunk=self.chunk):
            self.watch(console)
            if not prelabel_progress(self.redis, self.project.id).version:
                console.print("Redis was emptied meanwhile; what is missing is asked for again.")
                self.run(console)
                return
        elif not prelabel_progress(self.redis, self.project.id)[TaskState.LEFT]:
            console.print("Every open task has its proposals.")
        self._say_what_was_left(console)

    def watch(self, console: Console, on_look: Callable[[], None] | None = None) -> None:
        """Show the progress until no task is queued or worked on; ``on_look`` may raise."""

        def look() -> bool:
            if on_look:
                on_look()
            progress = prelabel_progress(self.redis, self.project.id)
            over, failed = progress[TaskState.DONE] + progress[TaskState.LEFT], progress[TaskState.FAILED]
            bar.update(task, total=progress.total, completed=over, failed=failed)
            if not progress.ended:
                self._check_work(bar.console)
            return progress.ended

        failures = TextColumn("{task.fields[failed]} failed")
        columns = (TextColumn("proposing"), BarColumn(), MofNCompleteColumn(), failures, TimeElapsedColumn())
        self._alive = time.monotonic()
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=None, failed=0)
            Retrying(retry=retry_if_result(lambda ended: not ended), wait=wait_fixed(LOOK_SECONDS))(look)
        failed = tasks_in(self.redis, self.project.id, TaskState.FAILED)
        if failed:
            raise QueueError(
                f"project {self.project.id}: {len(failed)} tasks failed (task {failed[0].task_id}: "
                f"{failed[0].reason}); `winnow status --project {self.project.id}` lists them: mend that and run "
                "`winnow prelabel` again"
            )

    def _check_work(self, console: Console) -> None:
        """Now and then: is a worker alive, and has a job each task that waits for one?"""
        now = time.monotonic()
        if now - self._checked < self.check_seconds:
            return
        first, self._checked = not self._checked, now
        if live_workers(self.redis):
            self._alive = now
            self._revive()
        elif first:
            console.print(f"Waiting: {NO_WORKER}.")
        elif now - self._alive >= self.workerless_seconds:
            waiting = prelabel_progress(self.redis, self.project.id)[TaskState.QUEUED]
            raise QueueError(f"project {self.project.id}: {waiting} tasks wait in the queue and {NO_WORKER}")

    def _revive(self) -> None:
        if enqueue_lost(self.redis, self.project, chunk=self.chunk):
            self._tries += 1
            if self._tries > TRIES:
                raise QueueError(
                    f"project {self.project.id}: workers began its tasks {TRIES} times and never ended; see the logs "
                    "of the propose workers, or lower WINNOW_CHUNK_DOCUMENTS"
                )

    def _say_what_was_left(self, console: Console) -> None:
        left = len(tasks_in(self.redis, self.project.id, TaskState.LEFT))
        if left:
            console.print(
                f"{left} tasks are left alone: coders have them open or have coded them meanwhile. What is still open "
                "later is taken up then."
            )


def status_tables(status: PrelabelStatus, most: int = TOLD) -> Group:
    """A prelabelling for the terminal: numbers by state, and why tasks failed or were left alone."""
    progress = status.progress
    numbers = Table("state", "tasks", title=f"Prelabelling of project {status.project_id}")
    for state in TaskState:
        numbers.add_row(state.value, str(progress[state]))
    numbers.add_row("total", str(progress.total))
    told = [one for one in status.tasks if one.reason]
    if not told:
        return Group(numbers)
    reasons = Table("task", "state", "why", title="Tasks that failed or were left alone")
    for one in told[:most]:
        reasons.add_row(str(one.task_id), one.state.value, one.reason)
    if len(told) > most:
        reasons.caption = f"and {len(told) - most} more; --json lists all"
    return Group(numbers, reasons)
