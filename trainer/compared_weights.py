"""Two saved adapters, weight by weight. Reads safetensors with numpy: nothing here loads torch."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from label_configs.errors import AdapterError, reason
from ml_backend.adapter_files import FILES
from ml_backend.probabilities import Floats

CONFIG, WEIGHTS = FILES


@dataclass(frozen=True, slots=True)
class ComparedWeights:
    """How far a rebuilt adapter is from the published one.

    ``published`` and ``rebuilt`` are the SHA-256 of their weights' files. ``largest`` is the largest difference of a
    weight, ``relative`` the Frobenius norm of all differences over that of the published weights; both None where the
    two have not the same tensors. ``settings`` are the keys of ``adapter_config.json`` that differ.
    """

    published: str
    rebuilt: str
    largest: float | None
    relative: float | None
    settings: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether the weights are the same, bit for bit."""
        return self.published == self.rebuilt


def compare_weights(published: Path, rebuilt: Path) -> ComparedWeights:
    """Compare the adapters in two folders. Raises AdapterError where one cannot be read."""
    try:
        digests = [hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() for folder in (published, rebuilt)]
        one, other = (load_file(folder / WEIGHTS) for folder in (published, rebuilt))
        settings = _differing(*((folder / CONFIG).read_text(encoding="utf-8") for folder in (published, rebuilt)))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise AdapterError(
            f"{published} and {rebuilt}: their weights cannot be compared ({reason(error)}); build anew"
        ) from None
    if {name: tensor.shape for name, tensor in one.items()} != {name: tensor.shape for name, tensor in other.items()}:
        return ComparedWeights(digests[0], digests[1], None, None, settings)
    largest, differences, squares = 0.0, 0.0, 0.0
    for name, tensor in one.items():
        before: Floats = tensor.astype(np.float64)
        apart: Floats = other[name].astype(np.float64) - before
        largest = max(largest, float(np.abs(apart).max(initial=0.0)))
        differences, squares = differences + float((apart**2).sum()), squares + float((before**2).sum())
    relative = math.sqrt(differences / squares) if squares else (math.inf if differences else 0.0)
    return ComparedWeights(digests[0], digests[1], largest, relative, settings)


def _differing(one: str, other: str) -> tuple[str, ...]:
    """Keys whose values differ between two JSON objects."""
    before, now = json.loads(one), json.loads(other)
    return tuple(key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key))
