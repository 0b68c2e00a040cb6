"""The machine: its GPU and driver against torch, disk and memory."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from label_configs.errors import EnvironmentFault
from ml_backend.settings import Settings
from trainer.doctor.packages import Loaded
from trainer.memory_estimate import gigabytes

NEEDED_DRIVER = ((13, 580), (12, 525), (11, 450))
"""The oldest driver branch for each major CUDA release (NVIDIA's "CUDA Compatibility", minor version compatibility)."""
NVIDIA = Path("/proc/driver/nvidia")
SMI = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
SMI_SECONDS = 30
FEWEST_FREE = 2_000_000_000  # bytes on a disk: a round's checkpoints, a mirror and logs of a while


@dataclass(frozen=True)
class Seen:
    """NVIDIA GPUs by name and the driver's version (empty where unknown), as the system tells without torch."""

    gpus: tuple[str, ...] = ()
    driver: str = ""


def seen_gpus(folder: Path = NVIDIA, command: Sequence[str] = SMI) -> Seen:
    """What ``nvidia-smi`` says, and where there is none, what the kernel's driver says in ``folder``."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS, check=True)
        rows = [line.rpartition(", ") for line in done.stdout.splitlines() if ", " in line]
        if rows:
            return Seen(tuple(name for name, _, _ in rows), rows[0][2].strip())
    except (OSError, subprocess.SubprocessError):  # no such program, or a driver that does not fit it
        pass
    try:
        version = re.search(r"Module\s+(?:for \S+\s+)?(\d+[\d.]*)", (folder / "version").read_text(encoding="utf-8"))
        models = [re.search(r"^Model:\s*(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                  for path in sorted(folder.glob("gpus/*/information"))]  # fmt: skip
    except OSError:
        return Seen()
    names = tuple(model.group(1).strip() if model else "a GPU" for model in models)
    return Seen(names, version.group(1) if version else "")


def check_gpu(loaded: Loaded, seen: Seen) -> str:
    """That torch can use the machine's GPU; that there is none is no fault."""
    torch = f"torch {loaded.versions.get('torch', '')}".strip()
    if loaded.gpus:
        gpu = loaded.gpus[0]
        more = f" and {len(loaded.gpus) - 1} more" if len(loaded.gpus) > 1 else ""
        line = f"{gpu.name}{more}, {gigabytes(gpu.free)} of {gigabytes(gpu.total)} free, CUDA {loaded.cuda}"
        if gpu.bf16:
            return line
        return f"{line}, no bfloat16; training computes in fp32 there, with `precision: fp16` faster"
    if not seen.gpus:
        return "none, models run on the CPU"
    there = f"there is {seen.gpus[0]}, but {torch}"
    if loaded.cuda is None:
        raise EnvironmentFault(
            f"{there} is built for the CPU alone; install torch for CUDA, see https://pytorch.org/get-started/locally/"
        )
    needed = next((oldest for cuda, oldest in NEEDED_DRIVER if _major(loaded.cuda) >= cuda), 0)
    if seen.driver and _major(seen.driver) < needed:
        raise EnvironmentFault(
            f"{there} with CUDA {loaded.cuda} needs driver {needed} or newer, it is {seen.driver}; upgrade NVIDIA's "
            "driver, or install torch for an older CUDA"
        )
    raise EnvironmentFault(f"{there} sees none; unset CUDA_VISIBLE_DEVICES, and start a container with --gpus all")


def check_disk(settings: Settings, free_at: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> str:
    """That the disks of home folder, adapter store and exchange have some room; ``free_at`` tells bytes at a path."""
    named = {"home": str(settings.home), "adapter store": settings.adapter_store_url, "exchange": settings.exchange_url}
    free: dict[int, tuple[list[str], Path, int]] = {}
    for name, place in named.items():
        if "://" in place:
            continue
        path = next(p for p in (Path(place), *Path(place).parents) if p.exists())
        names, _, _ = free.setdefault(path.stat().st_dev, ([], path, free_at(path)))
        names.append(name)
    for names, path, left in free.values():
        if left < FEWEST_FREE:
            raise EnvironmentFault(
                f"{path}: {gigabytes(left)} are left for {', '.join(names)}; make room (`winnow adapters gc`), or set "
                "WINNOW_HOME to another disk"
            )
    return ", ".join(f"{gigabytes(left)} free for {', '.join(names)}" for names, _, left in free.values())


def _major(version: str) -> int:
    found = re.match(r"\d+", version)
    return int(found.group()) if found else 0
