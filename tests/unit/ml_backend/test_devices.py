"""Facts of the device, and what follows from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ml_backend.devices import DeviceFacts, available_cores, device_facts, set_threads

CORES = len(os.sched_getaffinity(0))


def test_half_precision_is_for_gpus() -> None:
    facts = [DeviceFacts("cuda", "H100", 80 << 30, True), DeviceFacts("cuda", "T4", 16 << 30, False)]
    facts.append(DeviceFacts("cpu", "cpu", 8 << 30, True))
    assert [f.dtype for f in facts] == [torch.bfloat16, torch.float16, torch.float32]


def test_a_gpu_is_filled_by_its_memory() -> None:
    assert DeviceFacts("cpu", "cpu", 800 << 30, False).token_budget == 2048
    assert DeviceFacts("cuda", "H100", 80 << 30, True).token_budget == 81920
    assert DeviceFacts("cuda", "small", 1 << 30, True).token_budget == 4096


def test_this_machine_is_described() -> None:
    facts = device_facts()
    assert facts.kind == ("cuda" if torch.cuda.is_available() else "cpu")
    assert facts.memory > 1 << 28


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000\n", CORES), ("100000 100000\n", 1), ("50000 100000\n", 1), ("99900000 100000\n", CORES), ("", CORES)],
)
def test_a_containers_limit_counts(tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert available_cores(tmp_path / "cpu.max") == expected
    assert available_cores(tmp_path / "absent") == CORES


def test_threads_can_be_set() -> None:
    before = torch.get_num_threads()
    try:
        assert set_threads(1) == torch.get_num_threads() == 1
        assert set_threads(None) == torch.get_num_threads() == available_cores()
    finally:
        torch.set_num_threads(before)
