"""Where a round can be taken up again: folders with the adapter's weights and all that its training needs to go on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from transformers import TrainerCallback

from ml_backend.atomic import sync, write_atomically

DIGESTS, MICRO, RESUMED = "digests.json", "micro_batch_size", "resumed.json"
KEPT = 2  # the newest, and one before it in case a disk damages that


class Checkpoints:
    """The checkpoints ``step-N`` in a folder, each whole or not there at all.

    One is written under ``writing``, synced and renamed; its ``digests.json`` names each of its files with the SHA-256.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writing = folder / "writing"

    def newest(self, note: Callable[[str], None]) -> Path | None:
        """The newest checkpoint that is whole, None where there is none; ``note`` is told of those that are not."""
        for path in reversed(self._all()):
            if _is_whole(path):
                return path
            note(f"checkpoint {path.name} is damaged and passed over")
        return None

    def publish(self, step: int) -> Path:
        """Make ``writing/checkpoint-<step>`` the newest checkpoint and delete old ones. Raises OSError."""
        written, path = self.writing / f"checkpoint-{step}", self.folder / f"step-{step}"
        (written / DIGESTS).write_text(json.dumps({file.name: _digest(file) for file in sorted(written.iterdir())}))
        for file in written.iterdir():
            sync(file)
        sync(written)
        if path.exists():  # written before a step was taken back, or damaged
            shutil.rmtree(path)
        os.replace(written, path)
        sync(self.folder)
        for old in self._all()[:-KEPT]:
            shutil.rmtree(old)
        return path

    @property
    def micro_batch_size(self) -> int | None:
        """What the device's memory was found to hold, None where nothing was found."""
        path = self.folder / MICRO
        return int(path.read_text(encoding="ascii")) if path.exists() else None

    @micro_batch_size.setter
    def micro_batch_size(self, documents: int) -> None:
        write_atomically(self.folder / MICRO, str(documents))

    @property
    def resumed(self) -> list[int]:
        """The steps after which the training was cut off and went on, in their order."""
        path = self.folder / RESUMED
        return [int(step) for step in json.loads(path.read_text(encoding="ascii"))] if path.exists() else []

    def going_on(self, checkpoint: Path) -> None:
        """Keep in mind that the training goes on from a checkpoint of its own."""
        write_atomically(self.folder / RESUMED, json.dumps([*self.resumed, _step(checkpoint)]))

    def clear(self) -> None:
        """Delete them all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), key=_step)


class Keeping(TrainerCallback):  # type: ignore[misc]  # transformers is not typed for us
    """Asks for a checkpoint every ``seconds``, or every 20th part of the training's time where that is longer."""

    def __init__(self, seconds: float, share: float = 0.05) -> None:
        self._seconds, self._share = seconds, share
        self._started = self._last = time.monotonic()
        self._first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        del args, control, kwargs
        self._started = self._last = time.monotonic()
        self._first = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint where it is time; of several processes the first decides."""
        del kwargs
        if state.global_step >= state.max_steps:
            return
        now = time.monotonic()
        whole = (now - self._started) / (state.global_step - self._first) * (state.max_steps - self._first)
        due = now - self._last >= max(self._seconds, self._share * whole)
        if args.world_size > 1:
            due = bool(broadcast(torch.tensor(float(due), device=args.device)))
        if due:
            self._last = now
            control.should_save = True


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _is_whole(path: Path) -> bool:
    try:
        digests = json.loads((path / DIGESTS).read_text(encoding="utf-8"))
        return bool({file.name: _digest(file) for file in path.iterdir() if file.name != DIGESTS} == digests)
    except (OSError, ValueError):
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
