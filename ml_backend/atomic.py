"""A file that is either there in full or not there: what records and data are written with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from label_configs.errors import EnvironmentFault


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write ``text`` as UTF-8 to ``path``, making its folders; a crash leaves the old file or the new one, not a part.

    Raises EnvironmentFault when the folder cannot be written to.
    """
    with replacing(path, mode=mode) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextmanager
def replacing(path: Path, folder: Path | None = None, *, mode: int = 0o644) -> Iterator[Path]:
    """A temporary file to write to; when the block ends it is the file ``path``, when the block fails it is gone.

    It lies beside ``path``, or in ``folder`` on the same disk. It is synced and renamed over ``path``; the folder is
    synced last, so that the rename itself outlives a power cut. Raises EnvironmentFault when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder or path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
    except OSError as error:
        raise _cannot_write(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(mode)  # mkstemp makes files that only their owner reads; most are for other processes too
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the kernel write a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"{path}: cannot be written ({error.strerror}); check the folder's rights and free space")
