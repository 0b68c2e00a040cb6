"""That a prelabelling was asked for and has not ended, as far as is known: kept on disk, since Redis may be wiped."""

from __future__ import annotations

from ml_backend.atomic import write_atomically
from ml_backend.experiment import Project

FILE = "prelabel-asked"


def ask_prelabel(project: Project) -> None:
    """Note it, before the first job is enqueued. Raises EnvironmentFault."""
    write_atomically(project.folder / FILE, "")


def is_asked(project: Project) -> bool:
    """Whether one was asked for and none was seen to end since."""
    return (project.folder / FILE).exists()


def forget_asked(project: Project) -> None:
    """It has ended."""
    (project.folder / FILE).unlink(missing_ok=True)
