"""A file that is either there in full or not there: what records and data are written with."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from label_configs.errors import EnvironmentFault


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, making its folders; a crash leaves the old file or the new one, not a part.

    The text goes to a temporary file beside ``path`` that is synced to disk and renamed over it; the folder is synced
    last, so that the rename itself outlives a power cut. Raises EnvironmentFault when the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner reads; these are no secrets, and other processes read them.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"{path}: cannot be written ({error.strerror}); check the folder's rights and free space")
