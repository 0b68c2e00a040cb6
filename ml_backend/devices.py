"""What the machine offers a model. Facts are passed in, so that choices for a GPU are tested without one."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device: ``kind`` is cpu or cuda; ``memory`` in bytes; ``bf16`` whether it computes in bfloat16 natively."""

    kind: str
    name: str
    memory: int
    bf16: bool
    count: int = 1

    @property
    def dtype_name(self) -> str:
        """The floating-point type for inference: half precision on a GPU, float32 on a CPU."""
        if self.kind == "cuda":
            return "bfloat16" if self.bf16 else "float16"
        return "float32"

    @property
    def dtype(self) -> torch.dtype:
        """``dtype_name`` as torch knows it."""
        import torch

        return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[self.dtype_name]

    @property
    def token_budget(self) -> int:
        """Tokens of one forward pass. A CPU gains nothing from large batches; a GPU is filled by memory."""
        return 2048 if self.kind == "cpu" else max(4096, self.memory // (1 << 20))


def device_facts() -> DeviceFacts:
    """Facts of this process's device. Imports torch."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return DeviceFacts(
            "cuda", properties.name, properties.total_memory, torch.cuda.is_bf16_supported(), torch.cuda.device_count()
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return DeviceFacts("cpu", "cpu", memory, False)


def set_threads(threads: int | None) -> int:
    """Let torch use ``threads`` CPU threads, or as many as this process may run on; returns the number."""
    import torch

    number = threads or available_cores()
    torch.set_num_threads(number)
    return number


def available_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: torch itself does not see a container's limit and would start too many threads.

    ``quota`` is cgroup v2's file: microseconds of CPU time and of the period that they are for, or ``max``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        granted, period = quota.read_text(encoding="ascii").split()
        limit = math.ceil(int(granted) / int(period))
    except (OSError, ValueError):  # no cgroup v2, or no limit
        return cores
    return max(1, min(cores, limit))
