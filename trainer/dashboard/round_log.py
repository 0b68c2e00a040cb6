"""A round and what its training process said last."""

from __future__ import annotations

import re

from ml_backend.experiment import Project
from trainer.rounds import RECORD_FILE, RoundRecord, load_round, rounds_folder
from trainer.supervision import LOG_FILE

TAIL = 64 * 1024  # bytes of a log that are shown
_ID = re.compile(r"[0-9a-f]{16}")


def round_of(project: Project, round_id: str) -> RoundRecord | None:
    """The round of this id, None where there is none. Raises TrainingError for a damaged record."""
    folder = rounds_folder(project.home, project.id)
    if not _ID.fullmatch(round_id) or not (folder / round_id / RECORD_FILE).exists():
        return None
    return load_round(folder, round_id)


def log_tail(project: Project, round_id: str) -> str:
    """The last 64 KiB of a round's log, from the beginning of a line; empty where there is none."""
    path = rounds_folder(project.home, project.id) / round_id / LOG_FILE
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return text if size <= TAIL else text.partition("\n")[2]
