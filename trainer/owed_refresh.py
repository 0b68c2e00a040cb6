"""That proposals are to be asked for anew, left to the scheduler by somebody who cannot wait for it.

Kept as a file in the project's folder, so that nothing is forgotten when Redis is wiped or the scheduler stops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ml_backend.atomic import write_atomically
from ml_backend.experiment import Project

FILE = "refresh-owed"


def owe_refresh(project: Project) -> None:
    """Have the scheduler ``refresh`` the project at its next look; kept on disk, so that it is not forgotten.

    Raises EnvironmentFault.
    """
    write_atomically(project.folder / FILE, "")


def is_owed(project: Project) -> bool:
    """Whether a refresh waits for the scheduler."""
    return (project.folder / FILE).exists()


@contextmanager
def paying(project: Project) -> Iterator[None]:
    """Whoever refreshes does it in this block; what comes to be owed meanwhile stays so, and all where it fails."""
    path = project.folder / FILE
    seen = path.stat()
    yield
    now = path.stat()
    if (now.st_ino, now.st_mtime_ns) == (seen.st_ino, seen.st_mtime_ns):
        path.unlink()
