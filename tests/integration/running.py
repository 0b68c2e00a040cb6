"""What an installation's processes are, and waiting for what they do."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from label_studio_sdk import LabelStudio
from rich.console import Console
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_fixed

from label_configs.records import Document
from ml_backend.files import FileRecord
from trainer.importing import Imported, Importer
from trainer.tether import tethered
from trainer.work import Work


def until(true: Callable[[], object], seconds: float, *, every: float = 0.1) -> None:
    """Wait until ``true()`` is; the test fails where that takes longer than ``seconds``.

    What asks Label Studio for much is asked ``every`` second or so: it would hold up what is waited for.
    """

    def too_late(_: RetryCallState) -> None:
        pytest.fail(f"not so within {seconds:.0f} s: {true}")

    Retrying(
        retry=retry_if_result(lambda value: not value),
        stop=stop_after_delay(seconds),
        wait=wait_fixed(every),
        retry_error_callback=too_late,
    )(true)


def import_documents(work: Work, documents: Sequence[Document]) -> Imported:
    """Import them as `winnow import` does those of a file."""
    importer = Importer(work.client, work.project)
    return importer.run([FileRecord(one) for one in documents], len(documents), Console(quiet=True))


def versions_shown(sdk: LabelStudio, project_id: int) -> list[str]:
    """Of each open task of a project the version of its last prediction, empty where it has none."""
    opened = [task for task in sdk.tasks.list(project=project_id, fields="all") if not task.is_labeled]
    last = [max(task.predictions, key=lambda one: one.created_at, default=None) for task in opened]
    return [str(one.model_version) if one is not None else "" for one in last]


def processes_of(home: Path) -> list[psutil.Process]:
    """Every living process that was started for this home folder.

    They all have it in their environment, but Redis writes its title over that; it works inside the folder.
    """
    found = []
    for process in psutil.process_iter():
        try:
            belongs = process.environ().get("WINNOW_HOME") == str(home) or home in Path(process.cwd()).parents
            if belongs and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def process_named(home: Path, *arguments: str) -> psutil.Process | None:
    """The installation's process whose command line ends with these arguments, None while there is none."""
    found = [p for p in processes_of(home) if tuple(_command(p)[-len(arguments) :]) == arguments]
    assert len(found) <= 1, found
    return found[0] if found else None


def training_of(home: Path) -> psutil.Process | None:
    """The installation's process that trains, None while there is none."""
    named = [(p, _command(p)) for p in processes_of(home)]
    found = [p for p, command in named if "trainer.fit" in command and "tether.py" not in " ".join(command)]
    return found[0] if found else None


def _command(process: psutil.Process) -> list[str]:
    """A process's command line, empty where it has ended meanwhile."""
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def trains(home: Path) -> bool:
    """Whether the installation's training has begun: from then on its process ends on SIGTERM with a checkpoint."""
    process = training_of(home)
    if process is None:
        return False
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:  # it ended
        return False
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def supervise(seconds: float) -> None:
    """A job that does as a round does: it waits for a process of its own."""
    subprocess.run(tethered(["sleep", str(seconds)]), check=True)
