"""A training's process, watched: how far it has come, its end on request or by the clock, and its start again.

The process speaks JSON lines (``trainer.fit``). One that ends without a reason of its own, killed by a person or for
want of memory, is started again and goes on from its last checkpoint, as long as it gets further each time.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from label_configs.errors import TrainingError, reason
from ml_backend.log_events import LogEvent
from ml_backend.log_format import log_line
from trainer.tether import tethered

LOG_FILE = "fit.log"
TICK_SECONDS = 0.5  # between two looks at the clock and at requests
END_SECONDS = 120.0  # for the step at hand and its checkpoint, once the process is asked to end
TRIES = 3  # starts without getting further
FIGURES = ("stage", "step", "steps", "loss", "seconds_left")

OnProgress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Watch:
    """Who watches: ``on_progress`` hears all that is known each time something is said, and now and then.

    That is stage, step, steps, loss, seconds_left, as far as they were told, and notes. ``stop`` says whether the
    process shall end; ``limit_seconds`` is what it may take. The file descriptors ``held`` stay open with the process.
    """

    on_progress: OnProgress
    stop: Callable[[], bool] = lambda: False
    limit_seconds: float = math.inf
    held: Sequence[int] = ()


def supervise(folder: Path, outcome: Path, command: Sequence[str], watch: Watch) -> tuple[str, ...] | None:
    """Run ``command`` until ``outcome`` is there; notes of what a person should know, None where it was stopped.

    What the process says beside its progress is appended to ``folder/fit.log``. Raises TrainingError with the reason
    that it told, when it takes too long, when it cannot be started, and when it dies again and again.
    """
    told = _Told(watch.on_progress)
    deadline = time.monotonic() + watch.limit_seconds
    tries, furthest = 0, 0
    while True:
        run = _Run(folder / LOG_FILE, told, watch, deadline)
        code = run.until_ended(command)
        if outcome.exists() and code == 0:
            return tuple(told.notes)
        if run.stopping:
            return None
        if run.late:
            raise TrainingError(
                f"took longer than training.time_limit_hours, {watch.limit_seconds / 3600:g}; raise it, `winnow init` "
                "and `winnow train` go on from the last checkpoint"
            )
        if told.error:
            raise TrainingError(told.error)
        tries, furthest = (1, told.step) if told.step > furthest else (tries + 1, furthest)
        if tries > TRIES:
            raise TrainingError(
                f"its process ended {tries} times ({_how(code)}) and got no further than step {furthest}; where memory "
                f"is short, lower micro_batch_size in the recipe; see {folder / LOG_FILE}"
            )
        told.note(f"its process ended ({_how(code)}) after step {told.step} and was started again")


def _how(code: int) -> str:
    """A signal's name; shells and launchers tell one as 128 and more."""
    with suppress(ValueError):
        return signal.Signals(-code if code < 0 else code - 128).name
    return f"code {code}"


@dataclass
class _Told:
    """What the process said so far, over all its starts."""

    on_progress: OnProgress
    error: str = ""
    step: int = 0  # the furthest
    notes: list[str] = field(default_factory=list)
    _figures: dict[str, Any] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        """Take in one line; what a library printed is none."""
        try:
            said = json.loads(line)
        except ValueError:
            return
        if not isinstance(said, dict):
            return
        if "stage" in said:
            self._figures.pop("seconds_left", None)
        figures = {name: said[name] for name in FIGURES if name in said}
        self._figures |= {k: v for k, v in figures.items() if not isinstance(v, float) or math.isfinite(v)}
        self.step = max(self.step, int(said.get("step", 0)))
        self.error = str(said.get("error", self.error))
        if "note" in said:
            self.note(str(said["note"]))
        self.tell()

    def note(self, text: str) -> None:
        """Keep what a person should know, once."""
        if text not in self.notes:
            self.notes.append(text)

    def tell(self, **more: str) -> None:
        """Pass on all that is known."""
        self.on_progress({**self._figures, **more, "notes": list(self.notes)})


class _Run:
    """One start of the process. ``stopping`` and ``late`` say why it was asked to end."""

    def __init__(self, log: Path, told: _Told, watch: Watch, deadline: float) -> None:
        self._log, self._told, self._watch, self._deadline = log, told, watch, deadline
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._asked: float | None = None
        self._looked = 0.0
        self.stopping = self.late = False

    def until_ended(self, command: Sequence[str]) -> int:
        """Start it and hear it to its end; the exit code. It ends with this process, and with an error raised here."""
        try:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(log_line(__name__, LogEvent.TRAINING_STARTED, command=" ".join(command)) + "\n")
                log.flush()
                process = subprocess.Popen(
                    tethered(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, encoding="utf-8",
                    errors="replace",
                    start_new_session=True, pass_fds=tuple(self._watch.held),
                )  # fmt: skip
        except OSError as error:
            raise TrainingError(
                f"training cannot be started with log {self._log}: {reason(error)}; mend that and train again"
            ) from None
        with process:
            try:
                self._attend(process)
            except KeyboardInterrupt:
                self._told.tell(stage="stopping")
                self._ask_to_end(process)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(END_SECONDS)
                raise
            finally:
                _kill(process)
        return process.returncode

    def _attend(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        reader.start()
        while process.poll() is None:
            self._hear(TICK_SECONDS)
            if time.monotonic() - self._looked >= TICK_SECONDS:
                self._looked = time.monotonic()
                self._look(process)
        _kill(process)  # what is left of its processes would keep the pipe open
        reader.join(TICK_SECONDS)
        while not self._lines.empty():
            self._hear(0)

    def _read(self, lines: IO[str]) -> None:
        """In a thread: however long the watcher takes, the process is not held up by a full pipe."""
        for line in lines:
            self._lines.put(line)

    def _hear(self, seconds: float) -> None:
        with suppress(queue.Empty):
            self._told.hear(self._lines.get(timeout=seconds))

    def _look(self, process: subprocess.Popen[str]) -> None:
        self._told.tell()
        now = time.monotonic()
        if self._asked is None:
            self.stopping = self._watch.stop()
            self.late = now > self._deadline
            if self.stopping or self.late:
                self._ask_to_end(process)
        elif now - self._asked > END_SECONDS:
            _kill(process)

    def _ask_to_end(self, process: subprocess.Popen[str]) -> None:
        self._asked = time.monotonic()
        process.terminate()


def _kill(process: subprocess.Popen[str]) -> None:
    """The process and those that it started, which share its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
