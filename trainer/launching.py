"""The command that starts a round's process: Python on one device, ``accelerate launch`` on several. Torch-free."""

from __future__ import annotations

import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

from label_configs.errors import TrainingError, reason
from ml_backend.request_ids import request_ids

COUNT = "import torch; print(torch.cuda.device_count())"
COUNT_SECONDS = 120  # importing torch from a cold disk takes long


def launch_command(folder: Path, devices: int) -> list[str]:
    """What to run for the round in ``folder`` on so many devices: one process for each.

    Only the first process tells its progress on the standard output, each its error; when one fails, all end. The id of
    the call that led to it goes along, for its log.
    """
    arguments = [str(folder), *request_ids()[-1:]]
    if devices <= 1:
        return [sys.executable, "-m", "trainer.fit", *arguments]
    options = {
        "--num_processes": devices,
        "--num_machines": 1,
        "--mixed_precision": "no",  # the recipe says what it is
        "--dynamo_backend": "no",
        "--main_process_port": 0,  # any that is free
        "--max_restarts": 5,  # each with micro-batches of half the size, where memory is too small; an error ends all
    }
    told = [part for option, value in options.items() for part in (option, str(value))]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *told]
    return [*launch, "--module", "trainer.fit", *arguments]


def visible_devices() -> int:
    """Number of GPUs that a training may use, as torch counts them in a process of its own; 1 where there are none.

    Raises TrainingError when torch cannot be asked.
    """
    if find_library("cuda") is None and not Path("/dev/kfd").exists():
        return 1  # without a driver, of NVIDIA or AMD, there is nothing to count
    try:
        told = subprocess.run(
            [sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=COUNT_SECONDS
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().rpartition("\n")[2]
        raise TrainingError(f"torch cannot count the GPUs ({last}); reinstall torch") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrainingError(f"torch cannot count the GPUs ({reason(error)}); reinstall torch") from None
    return max(1, int(told.stdout))
