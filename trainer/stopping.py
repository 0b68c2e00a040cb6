"""How a training's process ends when it is asked to: at its next whole step, with a checkpoint to go on from."""

from __future__ import annotations

import signal
import sys
from typing import Any

import torch
from accelerate.utils import broadcast
from transformers import TrainerCallback

ENDED = 128 + signal.SIGTERM  # the exit code of a process that is ended so


class Stopping(TrainerCallback):  # type: ignore[misc]  # transformers is not typed for us
    """On SIGTERM has a checkpoint written after the step at hand, and exits; of several processes the first decides."""

    def __init__(self) -> None:
        self._asked = self._ends = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before and after the training the signal ends the process at once: nothing is lost."""
        del args, state, control, kwargs
        signal.signal(signal.SIGTERM, self._ask)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See ``on_train_begin``."""
        del args, state, control, kwargs
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint, unless the training is over anyhow."""
        del kwargs
        self._ends = self._asked
        if args.world_size > 1:
            self._ends = bool(broadcast(torch.tensor(float(self._asked), device=args.device)))
        self._ends = self._ends and state.global_step < state.max_steps
        control.should_save = control.should_save or self._ends

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The checkpoint is whole: end."""
        del args, state, control, kwargs
        if self._ends:
            sys.exit(ENDED)

    def _ask(self, number: int, frame: Any) -> None:
        del number, frame
        self._asked = True
