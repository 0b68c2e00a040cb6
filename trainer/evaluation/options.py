"""What a whole report is made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportOptions:
    """``samples`` of the bootstrap, drawn from ``seed``; ``folder`` is the project's, where results that take long to
    make are kept, None where there is none; ``by`` names the metadata columns to compare groups by, empty for all that
    are fit for it."""

    samples: int = 1000
    seed: int = 0
    folder: Path | None = None
    by: tuple[str, ...] = ()
