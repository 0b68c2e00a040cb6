"""How far a fine-tuning has come: a bar where there is a terminal, else a line in the log now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

log = logging.getLogger(__name__)

SECONDS_BETWEEN = 10.0  # lines in the log, within one stage


class TrainingBar:
    """The stage, the steps done and the seconds left; ``update`` takes what is known of a round or of a training.

    ``waiting`` is shown as long as nothing was told. ``clock`` gives seconds.
    """

    def __init__(self, console: Console, waiting: str = "queued", clock: Callable[[], float] = time.monotonic) -> None:
        self._stage, self._clock, self._told = waiting, clock, clock()
        self._notes: set[str] = set()
        stage, left = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
        self._bar = Progress(
            stage, BarColumn(), MofNCompleteColumn(), left, TimeElapsedColumn(),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(waiting, total=None, left="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, progress: Mapping[str, Any]) -> None:
        """Show the last thing told: a stage, a step, a note, or nothing new."""
        for note in progress.get("notes", ()):
            self._note(note)
        before, self._stage = self._stage, str(progress.get("stage", "train" if "step" in progress else self._stage))
        shown: dict[str, Any] = {"description": self._stage, "left": ""}
        if "step" in progress:
            shown |= {"completed": progress["step"], "total": progress["steps"]}
        if "seconds_left" in progress:
            shown["left"] = f"{progress['seconds_left']:.0f} s left"
        self._bar.update(self._task, **shown)
        now = self._clock()
        if self._bar.disable and (self._stage != before or now - self._told >= SECONDS_BETWEEN):
            self._told = now
            done = f": step {shown['completed']} of {shown['total']}" if "completed" in shown else ""
            log.info("%s%s%s", self._stage, done, f", {shown['left']}" if shown["left"] else "")

    def _note(self, note: str) -> None:
        """Say once what a person should know."""
        if note in self._notes:
            return
        self._notes.add(note)
        if self._bar.disable:
            log.info("%s", note)
        else:
            self._bar.console.print(f"Note: {note}", soft_wrap=True, highlight=False, markup=False)

    def end(self, word: str) -> None:
        """All steps are done; ``word`` says what came of them."""
        self._bar.update(self._task, description=word, completed=self._bar.tasks[self._task].total, left="")
