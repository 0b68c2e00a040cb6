"""GPU, driver and disk, with facts that are passed in: no test needs a GPU, or lacks one."""

from __future__ import annotations

from pathlib import Path

import pytest

from label_configs.errors import EnvironmentFault
from ml_backend.settings import Settings
from trainer.doctor.machine import Seen, check_disk, check_gpu, seen_gpus
from trainer.doctor.packages import Gpu, Loaded

A100 = Gpu("NVIDIA A100", 70_000_000_000, 80_000_000_000, (8, 0))
T4 = Gpu("Tesla T4", 14_000_000_000, 16_000_000_000, (7, 5))
NOTHING = ("/nowhere/nvidia-smi",)


def loaded(cuda: str | None, *gpus: Gpu) -> Loaded:
    return Loaded({"torch": "2.9.0"}, cuda, gpus)


def refused(cuda: str | None, seen: Seen) -> str:
    with pytest.raises(EnvironmentFault) as caught:
        check_gpu(loaded(cuda), seen)
    line = str(caught.value)
    assert "; " in line, "it has a remedy"
    return line


def test_a_gpu_that_torch_uses() -> None:
    assert check_gpu(loaded("12.8", A100), Seen((A100.name,), "570.1")) == (
        "NVIDIA A100, 70.0 GB of 80.0 GB free, CUDA 12.8"
    )
    assert "and 1 more" in check_gpu(loaded("12.8", A100, A100), Seen())


def test_a_gpu_without_bfloat16() -> None:
    line = check_gpu(loaded("12.8", T4), Seen((T4.name,), "570.1"))
    assert line.endswith("no bfloat16; training computes in fp32 there, with `precision: fp16` faster")


def test_no_gpu_is_no_fault() -> None:
    assert check_gpu(loaded(None), Seen()) == "none, models run on the CPU"
    assert check_gpu(loaded("12.8"), Seen()) == "none, models run on the CPU"


def test_torch_for_the_cpu_beside_a_gpu() -> None:
    line = refused(None, Seen(("Tesla T4",), "535.104.05"))
    assert line.startswith("there is Tesla T4, but torch 2.9.0 is built for the CPU alone; install torch for CUDA")


@pytest.mark.parametrize(
    ("cuda", "driver", "needed"), [("12.8", "470.82.01", 525), ("13.0", "570.86", 580), ("11.8", "440.1", 450)]
)
def test_a_driver_older_than_torchs_cuda_needs(cuda: str, driver: str, needed: int) -> None:
    line = refused(cuda, Seen(("Tesla T4",), driver))
    assert f"with CUDA {cuda} needs driver {needed} or newer, it is {driver}" in line
    assert "upgrade NVIDIA's driver" in line


@pytest.mark.parametrize("driver", ["525.60.13", "580.65", ""])
def test_a_gpu_that_is_hidden_from_torch(driver: str) -> None:
    line = refused("12.8", Seen(("Tesla T4",), driver))
    assert "sees none; unset CUDA_VISIBLE_DEVICES" in line


def test_gpus_are_seen_by_what_nvidia_smi_prints(tmp_path: Path) -> None:
    says = ("printf", "NVIDIA H100 80GB HBM3, 570.86.15\\nNVIDIA H100 80GB HBM3, 570.86.15\\n")
    assert seen_gpus(tmp_path, says) == Seen(("NVIDIA H100 80GB HBM3",) * 2, "570.86.15")


@pytest.mark.parametrize("kind", ["x86_64 Kernel Module", "Open Kernel Module for x86_64"])
def test_gpus_are_seen_by_the_kernels_driver(tmp_path: Path, kind: str) -> None:
    assert seen_gpus(tmp_path, NOTHING) == Seen()
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:01:00.0" / "information").write_text("Model: \t\t Tesla T4\nIRQ: 7\n")
    (tmp_path / "version").write_text(f"NVRM version: NVIDIA UNIX {kind}  535.104.05  Sat Aug 19\n")
    assert seen_gpus(tmp_path, NOTHING) == Seen(("Tesla T4",), "535.104.05")
    failing = ("sh", "-c", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert seen_gpus(tmp_path, failing).driver == "535.104.05", "a program that fails is none"


def test_disks_with_too_little_room(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", adapter_store="s3://bucket/adapters", exchange=str(tmp_path / "x"))
    assert check_disk(settings).endswith("GB free for home, exchange")
    with pytest.raises(EnvironmentFault, match=r"1\.0 GB are left for home, exchange; make room"):
        check_disk(settings, lambda path: 10**9)
