"""Processes that do not outlive the one that started them, not even when that one is killed with SIGKILL.

Run as a script: it asks the kernel for a SIGTERM at its parent's death, and becomes the command. It uses the standard
library alone, so that it starts in a blink.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def tethered(command: Sequence[str]) -> list[str]:
    """``command``, to be started by this process, so that it gets SIGTERM when this process is gone.

    On Linux the tie is to the *thread* that starts it: start servers from a thread that lives as long as they shall.
    Elsewhere the command just runs; stop it yourself.
    """
    return [sys.executable, "-I", __file__, str(os.getpid()), *command]


def tie(parent: int) -> None:
    """Ask for a SIGTERM to this process when ``parent``, which started it, is gone; exit when it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)


def main(parent: int, command: list[str]) -> None:
    """Tie this process to ``parent`` and become ``command``; exit at once when the parent is gone already."""
    tie(parent)
    os.execvp(command[0], command)  # nosec B606 # what its caller, which is Winnow, starts


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
