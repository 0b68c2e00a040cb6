"""Has the scheduler make the dashboard's reports, each in a process of its own, where decisions are newer than one."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from label_configs.errors import EnvironmentFault, reason
from ml_backend.experiment import Project
from ml_backend.log_events import LogEvent, tell
from ml_backend.settings import Settings
from ml_backend.task_reader import TaskReader
from trainer.dashboard.kept_report import FOLDER, load_fault, load_report, report_path
from trainer.mirror_file import MirrorFile
from trainer.rounds import rounds_folder
from trainer.tally import Tally
from trainer.tether import tethered
from trainer.up import environment
from trainer.verified import Look

log = logging.getLogger(__name__)

REST = 10  # times as long as a report took passes from its start to the next: they take a tenth of one core at most
LOG_FILE = "dashboard.log"


@dataclass
class _Running:
    project: int
    state: str
    began: float
    process: subprocess.Popen[bytes]


class Reporting:
    """Starts one report at a time and looks after it; the scheduler goes on meanwhile.

    ``report_seconds`` pass at least between two of a project, and more where one takes long.
    """

    def __init__(
        self, settings: Settings, reader: TaskReader, *, clock: Callable[[], float] = time.monotonic,
        command: Sequence[str] = (sys.executable, "-m", "trainer.dashboard.making"),
    ) -> None:  # fmt: skip
        self._settings, self._reader, self._clock, self._command = settings, reader, clock, tuple(command)
        self._running: _Running | None = None
        self._states: dict[int, str] = {}
        self._rests: dict[int, float] = {}

    def look(self, project: Project, at: Look | None = None) -> bool:
        """Count what is verified, and start a report where it would tell more than the last; whether it was started.

        None is made before the first decision.
        Raises LabelStudioError, EnvironmentFault or TrainingError.
        """
        at = at or Look(self._reader, project)
        state = f"{at.revision} {project.codebook.fingerprint} {_files_of(project)}"
        with MirrorFile(project.folder) as file:
            Tally(file, project).counts(rounds_folder(project.home, project.id))
            _, decided = file.counts()
        self._reap()
        kept = report_path(project.folder).exists() or load_fault(project.folder)
        if self._running or not (kept or decided) or (kept and self._states.get(project.id) == state):
            return False
        if self._clock() < self._rests.get(project.id, 0.0):
            return False
        self._start(project, state)
        return True

    def close(self) -> None:
        """End the report at hand."""
        if self._running is not None:
            self._running.process.terminate()
            self._running.process.wait()
            self._running = None

    def _start(self, project: Project, state: str) -> None:
        path = project.folder / FOLDER / LOG_FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as output:
                process = subprocess.Popen(
                    tethered([*self._command, str(project.id)]), stdin=subprocess.DEVNULL, stdout=output,
                    stderr=output, env=environment(self._settings),
                )  # fmt: skip
        except OSError as error:
            raise EnvironmentFault(f"{path}: no report can be made ({reason(error)}); mend that") from None
        self._running = _Running(project.id, state, self._clock(), process)

    def _reap(self) -> None:
        running = self._running
        if running is None or (code := running.process.poll()) is None:
            return
        self._running = None
        self._states[running.project] = running.state  # one that failed is not tried again before something changes
        rest = max(self._settings.report_seconds, REST * self._seconds(running.project))
        self._rests[running.project] = running.began + rest
        if code:
            tell(log, LogEvent.REPORT_MISSING, project=running.project, reason=self._why(running.project, code))

    def _seconds(self, project_id: int) -> float:
        """How long the report kept last took, as it says itself: this process only looks now and then."""
        try:
            report = load_report(self._settings.home / "projects" / str(project_id))
        except EnvironmentFault:  # the page says so
            report = None
        return report.seconds if report else 0.0

    def _why(self, project_id: int, code: int) -> str:
        path = self._settings.home / "projects" / str(project_id) / FOLDER / LOG_FILE
        lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
        return lines[-1] if lines else f"its process ended with code {code}"


def _files_of(project: Project) -> list[tuple[str, int]]:
    """What a report depends on beside the mirror: winnow.yaml, and results that other commands keep."""
    kept = [
        path for path in sorted((project.folder / FOLDER).glob("*")) if not path.name.startswith(("dashboard", "."))
    ]
    return [(path.name, path.stat().st_mtime_ns) for path in (project.folder / "winnow.yaml", *kept)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
