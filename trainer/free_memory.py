"""How much memory a process may still take: of the machine, or of the container it runs in."""

from __future__ import annotations

import re
from pathlib import Path

MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell (Linux does).

    ``cgroup`` is the folder of cgroup v2's files, which say what a container may hold.
    """
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB$", meminfo.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        found = None
    known = [int(found.group(1)) * 1024] if found else []
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
        cached = re.search(r"^inactive_file (\d+)$", (cgroup / "memory.stat").read_text(encoding="ascii"), re.MULTILINE)
        known.append(max(0, int(limit) - int(used) + (int(cached.group(1)) if cached else 0)))
    except (OSError, ValueError):  # no cgroup v2, or no limit
        pass
    return min(known) if known else None
