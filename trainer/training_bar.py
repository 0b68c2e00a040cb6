"""How far a fine-tuning has come, on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class TrainingBar:
    """A bar with the stage, the steps done and the seconds left; ``update`` takes what ``trainer.fit`` tells.

    ``waiting`` is shown as long as nothing was told.
    """

    def __init__(self, console: Console, waiting: str = "queued") -> None:
        self._waiting = waiting
        stage, left = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
        self._bar = Progress(stage, BarColumn(), MofNCompleteColumn(), left, TimeElapsedColumn(), console=console)
        self._task = self._bar.add_task(waiting, total=None, left="")

    def __enter__(self) -> TrainingBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, progress: Mapping[str, Any]) -> None:
        """Show the last thing told: a stage, a step, or nothing yet."""
        otherwise = "train" if "step" in progress else self._waiting
        shown: dict[str, Any] = {"description": str(progress.get("stage", otherwise))}
        if "step" in progress:
            shown |= {"completed": progress["step"], "total": progress["steps"]}
        if "seconds_left" in progress:
            shown["left"] = f"{progress['seconds_left']:.0f} s left"
        self._bar.update(self._task, **shown)

    def end(self, word: str) -> None:
        """All steps are done; ``word`` says what came of them."""
        self._bar.update(self._task, description=word, completed=self._bar.tasks[self._task].total, left="")
