"""Processes that ask to be started again, once, as trainings that ran out of memory do; without torch, so at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    rank = os.environ["RANK"]
    starts = Path(sys.argv[1]) / f"starts-{rank}"
    with starts.open("a") as file:
        file.write("x")
    if rank == "0":
        sys.stdout.write(json.dumps({"start": starts.stat().st_size}) + "\n")
    sys.exit(3 if starts.stat().st_size == 1 else 0)
