"""A tethered process ends with the one that started it, however that one ends."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from trainer import tether

PARENT = """
import subprocess
from trainer.tether import tethered
child = subprocess.Popen(tethered(["sleep", "300"]), start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


def test_the_command_replaces_the_tether_and_its_exit_code_is_kept() -> None:
    done = subprocess.run(
        tether.tethered(["sh", "-c", "echo $0 $1; exit 7", "a", "b c"]), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (7, "a b c\n")


@pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's parent-death signal")
def test_a_killed_parent_takes_its_child_along() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
        _, alive = psutil.wait_procs([child], timeout=10)
        # Without an init that reaps, an orphan that ended stays a zombie.
        assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


@pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's parent-death signal")
def test_nothing_starts_when_the_parent_is_gone_already() -> None:
    command = [sys.executable, "-I", tether.__file__, "1", "echo", "started"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
