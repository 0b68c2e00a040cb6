"""The disk is full in the store, among records, in the mirror and in the cache: a real disk, of some megabytes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OWN = ["unshare", "--user", "--map-root-user", "--mount", "--"]


def own_mounts() -> bool:
    """Whether a mount of one's own may be made here, as root or by a user namespace."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*OWN, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0


@pytest.mark.skipif(sys.platform != "linux" or not own_mounts(), reason="no user namespaces: no small disk to fill")
def test_a_full_disk_is_told_and_costs_nothing_that_was_there(tmp_path: Path) -> None:
    disk, other = tmp_path / "disk", tmp_path / "other"
    disk.mkdir()
    other.mkdir()
    script = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -m tests.integration.full_disk "$1" "$3"'
    done = subprocess.run(
        [*OWN, "sh", "-c", script, "sh", str(disk), sys.executable, str(other)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
