"""When a fine-tuning round is due, and the record that each round leaves behind.

A round is due by how far the number of verified documents lies above what the last round saw, never by whether that
number is a multiple of something: documents arrive in batches, and an event lost or sent twice changes nothing.

Records are JSON files, ``<home>/projects/<project>/rounds/<id>/round.json``; the queue may be wiped at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from label_configs.errors import ConfigError, TrainingError
from ml_backend.atomic import write_atomically

RECORD_FILE = "round.json"


class RoundState(StrEnum):
    """What became of a round. ``kept``: trained, but the adapter in use was kept. ``failed``: no adapter came out."""

    RUNNING = "running"
    PROMOTED = "promoted"
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True)
class RoundRecord:
    """One fine-tuning round of one Label Studio project.

    ``verified`` counts the verified documents that existed when the round started, training and holdout together;
    ``training_examples`` and ``holdout_examples`` count what it used after leaks were dropped. ``metrics`` holds named
    figures (None where undefined), ``seconds`` the wall-clock duration. Times carry a time zone (ValueError otherwise).
    """

    id: str
    project: int
    state: RoundState
    verified: int
    training_examples: int
    holdout_examples: int
    adapter_id: str = ""
    reason: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    seconds: float | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    def __post_init__(self) -> None:
        for name, time in (("started_at", self.started_at), ("ended_at", self.ended_at)):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{name}: {time} has no time zone; use datetime.now(UTC)")


def due(verified: int, *, thresholds: Sequence[int], every: int | None, last_verified: int) -> int | None:
    """The number of verified documents that makes a round due now, or None when none is due.

    ``verified`` is the count now, ``last_verified`` the count when the last round started (0: no round yet). A round is
    due when ``last_verified < threshold <= verified`` for any threshold, or when the count has grown by at least
    ``every``. With both given, ``every`` waits for the smallest threshold: it says how often to train *again*. However
    many thresholds were passed at once, that is one round, named by the highest. Raises ConfigError for a threshold or
    an ``every`` below 1.
    """
    if any(threshold < 1 for threshold in thresholds) or (every is not None and every < 1):
        raise ConfigError("rounds: thresholds and every must be 1 or more; leave every out to train at thresholds only")
    passed = [threshold for threshold in thresholds if last_verified < threshold <= verified]
    if passed:
        return max(passed)
    started = not thresholds or verified >= min(thresholds)
    if every is not None and started and verified - last_verified >= every:
        return last_verified + every
    return None


def round_id(examples_digest: str, recipe_digest: str, base: str, codebook_fingerprint: str) -> str:
    """16 hexadecimal digits naming a round by all that goes into it: the same inputs are the same round."""
    inputs = json.dumps([examples_digest, recipe_digest, base, codebook_fingerprint])
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]


def rounds_folder(home: Path, project: int) -> Path:
    """Where the rounds of a Label Studio project are kept."""
    return home / "projects" / str(project) / "rounds"


def save_round(folder: Path, record: RoundRecord) -> None:
    """Write ``record`` to ``<folder>/<id>/round.json``, over an older state of the same round. Raises TrainingError."""
    path = folder / record.id / RECORD_FILE
    fields = asdict(record)
    for name in ("started_at", "ended_at"):
        fields[name] = fields[name].isoformat() if fields[name] else None
    write_atomically(path, json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def load_round(folder: Path, identifier: str) -> RoundRecord:
    """The record of one round. Raises TrainingError when it is missing or not what ``save_round`` wrote."""
    return _read(folder / identifier / RECORD_FILE)


def list_rounds(folder: Path) -> list[RoundRecord]:
    """All rounds recorded in ``folder``, oldest first; empty when the folder does not exist. Raises TrainingError."""
    records = [_read(path) for path in folder.glob(f"*/{RECORD_FILE}")]
    return sorted(records, key=lambda record: (record.started_at or datetime.min.replace(tzinfo=UTC), record.id))


def last_verified(folder: Path) -> int:
    """The count of verified documents that the latest round started from, 0 when there was no round.

    Rounds of every state count. A *failed* one does, too: trained again on the same documents it would most likely fail
    again, and a scheduler would repeat it for ever; it is tried anew when the next threshold is passed, or by hand.
    A *running* one does, so that a second round is not started beside it.
    """
    records = list_rounds(folder)
    return records[-1].verified if records else 0


def _read(path: Path) -> RoundRecord:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("started_at", "ended_at"):
            data[name] = datetime.fromisoformat(data[name]) if data[name] else None
        return RoundRecord(**{**data, "state": RoundState(data["state"])})
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); list the rounds to see which exist") from error
    except (ValueError, TypeError, KeyError) as error:
        detail = " ".join(str(error).split())
        raise TrainingError(f"{path}: not a round's record ({detail}); move its folder away to go on") from error
