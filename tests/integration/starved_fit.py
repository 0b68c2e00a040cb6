"""``trainer.fit`` on devices that hold two documents at a time and no more."""

from __future__ import annotations

import sys
from typing import Any

import torch

import trainer.training
from trainer.fit import main
from trainer.loss import SharedPrefixLoss


class Starved(SharedPrefixLoss):
    def forward(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        if self.training and len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(input_ids, *args, **kwargs)


if __name__ == "__main__":
    trainer.training.SharedPrefixLoss = Starved  # type: ignore[misc]
    sys.exit(main())
