"""The libraries that Winnow computes with: their versions, and whether they load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from label_configs.errors import EnvironmentFault

PACKAGES = ("torch", "transformers", "peft")
DISTRIBUTION = "label-studio-winnow"
EXTRAS = ("quantized", "s3")  # what they ask for counts where it is installed
IMPORT_SECONDS = 300.0  # a cold disk takes its time over torch
IMPORTER = """\
import importlib, json, sys
modules = {name: importlib.import_module(name) for name in sys.argv[1:]}
found = {"versions": {name: module.__version__ for name, module in modules.items()}, "cuda": None, "gpus": []}
if torch := modules.get("torch"):
    found["cuda"] = torch.version.cuda
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(i)
        found["gpus"].append({"name": torch.cuda.get_device_name(i), "free": free, "total": total,
                              "capability": torch.cuda.get_device_capability(i)})
sys.stdout.write(json.dumps(found))
"""


@dataclass(frozen=True)
class Gpu:
    """A GPU as torch sees it; memory in bytes, ``capability`` is CUDA's compute capability."""

    name: str
    free: int
    total: int
    capability: tuple[int, int]

    @property
    def bf16(self) -> bool:
        """Whether it computes in bfloat16 (Ampere and later do)."""
        return self.capability >= (8, 0)


@dataclass(frozen=True)
class Loaded:
    """What libraries said when they were loaded: versions, the CUDA that torch was built for, the GPUs it sees."""

    versions: dict[str, str]
    cuda: str | None = None
    gpus: tuple[Gpu, ...] = ()

    @property
    def told(self) -> str:
        """The versions in one line."""
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())


def load_packages(names: Iterable[str] = PACKAGES) -> Loaded:
    """Import libraries in a process of their own, where a broken one does no harm. Raises EnvironmentFault."""
    names = tuple(names)
    try:
        done = subprocess.run(
            [sys.executable, "-c", IMPORTER, *names], capture_output=True, text=True, timeout=IMPORT_SECONDS
        )
    except subprocess.TimeoutExpired:
        told = f"{', '.join(names)}: not imported within {IMPORT_SECONDS:.0f} s"
        raise EnvironmentFault(f"{told}; see whether the disk or a network folder is slow") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
        raise EnvironmentFault(f"{lines[-1]}; install Winnow's dependencies again (`make venv`)")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # a library may greet before
    gpus = tuple(Gpu(g["name"], g["free"], g["total"], (g["capability"][0], g["capability"][1])) for g in said["gpus"])
    return Loaded(said["versions"], said["cuda"], gpus)


def check_versions(
    requirements: Iterable[str] | None = None, installed: Callable[[str], str] = metadata.version
) -> str:
    """That every library that Winnow asks for is there in a version that it asks for; all that are not are named.

    ``requirements`` are lines as in the metadata of an installed distribution: Winnow's own where None. ``installed``
    tells a version or raises PackageNotFoundError.
    """
    try:
        asked = [Requirement(line) for line in (metadata.requires(DISTRIBUTION) or [] if requirements is None
                                                else requirements)]  # fmt: skip
    except metadata.PackageNotFoundError:
        raise EnvironmentFault(f"{DISTRIBUTION} is not installed; pip install it, a checkout with -e .") from None
    wrong, count = [], 0
    for one in asked:
        needed = one.marker is None or one.marker.evaluate({"extra": ""})
        if not needed and not any(one.marker.evaluate({"extra": extra}) for extra in EXTRAS if one.marker):
            continue
        try:
            version = installed(one.name)
        except metadata.PackageNotFoundError:
            if needed:
                wrong.append(f"{one.name} is missing")
            continue
        count += 1
        if not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} is {version}, not {one.specifier}")
    if wrong:
        names = " ".join(sorted({told.split(" ", 1)[0] for told in wrong}))
        raise EnvironmentFault(f"{', '.join(wrong)}; pip install --upgrade {DISTRIBUTION} {names}")
    return f"{count} libraries, all in the versions that Winnow asks for"
