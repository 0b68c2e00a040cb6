"""What starts a round's process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from label_configs.errors import TrainingError
from trainer import launching
from trainer.launching import launch_command, visible_devices


def test_one_device_is_plain_python(tmp_path: Path) -> None:
    assert launch_command(tmp_path, 1) == [sys.executable, "-m", "trainer.fit", str(tmp_path)]


def test_several_devices_are_a_process_each(tmp_path: Path) -> None:
    command = launch_command(tmp_path, 4)
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    told = launch_command_parser().parse_args(command[3:])
    assert (told.multi_gpu, told.num_processes, told.num_machines, told.mixed_precision) == (True, 4, 1, "no")
    assert (told.module, told.training_script, told.training_script_args) == (True, "trainer.fit", [str(tmp_path)])


def test_devices_are_counted_by_torch_or_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "find_library", lambda name: "libcuda.so.1")
    monkeypatch.setattr(launching, "COUNT", "print(0)")
    assert visible_devices() == 1
    monkeypatch.setattr(launching, "COUNT", "print(8)")
    assert visible_devices() == 8
    monkeypatch.setattr(launching, "COUNT", "import no_such_torch")
    with pytest.raises(TrainingError, match=r"cannot count the GPUs \(ModuleNotFoundError: .*; reinstall torch"):
        visible_devices()


def test_launching_needs_no_torch() -> None:
    code = "import sys, trainer.launching; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
