"""One process at a time in a folder, by a lock that the kernel lets go of when its holders end, however they do."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from label_configs.errors import EnvironmentFault

LOOK_SECONDS = 0.5


@contextmanager
def alone(folder: Path, seconds: float = 0.0) -> Iterator[int | None]:
    """Hold the folder; the lock's file descriptor, None where another process holds it for ``seconds`` more.

    A process that is handed the descriptor holds the folder too, until it has ended. Raises EnvironmentFault where the
    folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise EnvironmentFault(f"{folder}: cannot be written ({error.strerror}); set WINNOW_HOME elsewhere") from None
    with file:
        taken = Retrying(
            retry=retry_if_result(lambda held: not held), wait=wait_fixed(LOOK_SECONDS),
            stop=stop_after_delay(seconds), retry_error_callback=lambda _: False,
        )(_take, file)  # fmt: skip
        yield file.fileno() if taken else None


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
