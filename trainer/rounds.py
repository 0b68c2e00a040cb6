"""When a fine-tuning round is due, and the record that each round leaves behind.

A round is due by which documents were verified since the last round's data, never by whether their number is a multiple
of something: documents arrive in batches, others are deleted, and an event lost or sent twice changes nothing.

Records are JSON files, ``<home>/projects/<project>/rounds/<id>/round.json``; the queue may be wiped at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from label_configs.errors import ConfigError, TrainingError, reason
from ml_backend import shared_projects

RECORD_FILE = "round.json"
SEEN_FILE = "seen.json"
_TIMES = ("started_at", "ended_at", "refreshed_at")


class RoundState(StrEnum):
    """What became of a round. ``kept``: trained, but the adapter in use was kept. ``failed``: no adapter came out.

    ``stopped``: a person had it end; by hand it goes on from where it was.
    """

    RUNNING = "running"
    PROMOTED = "promoted"
    KEPT = "kept"
    FAILED = "failed"
    STOPPED = "stopped"


JUDGED = (RoundState.PROMOTED, RoundState.KEPT)  # of rounds that came to a verdict


@dataclass(frozen=True)
class RoundRecord:
    """One fine-tuning round of one Label Studio project.

    ``verified`` counts the verified documents that existed when the round started, training and holdout together;
    ``training_examples`` and ``holdout_examples`` count what it used after ``leaks`` were dropped, of the former
    ``silver_examples`` that no coder saw. ``metrics`` holds named figures (None where undefined), ``seconds`` the
    wall-clock duration, ``notes`` what a person should know of it. ``refreshed_at`` is when, after a promotion,
    proposals were asked of the new adapter, ``requests`` the ids of the calls that led to the round, 20 at most. Times
    carry a time zone (ValueError otherwise).
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
    notes: tuple[str, ...] = ()
    refreshed_at: datetime | None = None
    leaks: int = 0
    silver_examples: int = 0
    requests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in _TIMES:
            time = getattr(self, name)
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{name}: {time} has no time zone; use datetime.now(UTC)")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many documents are ``verified`` now, how many the last round has ``seen``, and how many are ``both``."""

    verified: int
    seen: int
    both: int

    @classmethod
    def of(cls, verified: Collection[str], seen: Collection[str]) -> Counts:
        """Of the ids themselves; each counts once."""
        now, before = frozenset(verified), frozenset(seen)
        return cls(len(now), len(before), len(now & before))


def due(
    verified: Collection[str], seen: Collection[str], *, thresholds: Sequence[int], every: int | None
) -> int | None:
    """What makes a round due now: the highest threshold passed, or else the number of new documents; None for neither.

    ``verified`` are the ids of the documents verified now, ``seen`` those of the last round's data (empty: no round
    yet), each id once; *new* are those verified that were not seen. Without a new document no round is due, whatever
    was deleted or coded otherwise. With new ones:

    - A threshold is due when at least so many documents are verified and fewer were seen. It is due again where so many
      of those seen are verified no more that fewer are left, and as many new ones stand in their place.
    - ``every`` is due when there are at least so many new documents. Beside thresholds it waits for the smallest: it
      says how often to train *again*.

    However many thresholds were passed at once, that is one round. Documents are told apart by their ids: a hundred
    deleted and a hundred others verified are a hundred new ones, though their number is the same. Raises ConfigError
    for a threshold or an ``every`` below 1.
    """
    return due_by(Counts.of(verified, seen), thresholds=thresholds, every=every)


def due_by(counts: Counts, *, thresholds: Sequence[int], every: int | None) -> int | None:
    """``due``, where it was counted already."""
    if any(threshold < 1 for threshold in thresholds) or (every is not None and every < 1):
        raise ConfigError("rounds: thresholds and every must be 1 or more; leave every out to train at thresholds only")
    new = counts.verified - counts.both
    if not new:
        return None
    passed = [
        threshold
        for threshold in thresholds
        if threshold <= counts.verified and (counts.seen < threshold or (counts.both < threshold <= new))
    ]
    if passed:
        return max(passed)
    started = not thresholds or counts.verified >= min(thresholds)
    return new if every is not None and started and new >= every else None


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
    for name in _TIMES:
        fields[name] = fields[name].isoformat() if fields[name] else None
    text = json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    shared_projects.write(path, text)


def load_round(folder: Path, identifier: str) -> RoundRecord:
    """The record of one round. Raises TrainingError when it is missing or not what ``save_round`` wrote."""
    return _read(folder / identifier / RECORD_FILE)


def list_rounds(folder: Path) -> list[RoundRecord]:
    """All rounds recorded in ``folder``, oldest first; empty when the folder does not exist. Raises TrainingError."""
    records = [_read(path) for path in folder.glob(f"*/{RECORD_FILE}")]
    return sorted(records, key=lambda record: (record.started_at or datetime.min.replace(tzinfo=UTC), record.id))


def start_time(folder: Path, now: datetime) -> datetime:
    """When a round in ``folder`` that starts ``now`` is said to have started: always after those before it.

    They are told apart by these times, and clocks are set back. Raises TrainingError.
    """
    times = [record.started_at for record in list_rounds(folder) if record.started_at]
    return max([now, *(time + timedelta(microseconds=1) for time in times)])


def save_seen(folder: Path, identifier: str, documents: Iterable[str]) -> None:
    """Keep the ids of the verified documents that a round is made of: the last round's data (see ``due``).

    To be called before the round's record is written, so that a crash in between starts it anew, and for a round that
    has run before and need not run again. Rounds of every state count. A *failed* one does, too: trained again on the
    same documents it would most likely fail again, and a scheduler would repeat it for ever; it is tried anew when the
    next one is due, or by hand.
    """
    told = {"round": identifier, "documents": sorted(documents)}
    path, text = folder / SEEN_FILE, json.dumps(told, ensure_ascii=False) + "\n"
    shared_projects.write(path, text)


def seen_stamp(folder: Path) -> str:
    """Another whenever ``load_seen`` may give others; "" while there is no such file."""
    try:
        found = (folder / SEEN_FILE).stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_mtime_ns} {found.st_ino} {sum(1 for _ in folder.glob(f'*/{RECORD_FILE}'))}"


def load_seen(folder: Path) -> frozenset[str]:
    """The ids that ``save_seen`` kept last; empty before the first round, and where that round has no record.

    Raises TrainingError for a damaged file.
    """
    path = folder / SEEN_FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        begun = (folder / str(told["round"]) / RECORD_FILE).exists()
        return frozenset(map(str, told["documents"])) if begun else frozenset()
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); check the file's rights") from error
    except (ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{path}: not the last round's data ({reason(error)}); delete it to go on") from error


def _read(path: Path) -> RoundRecord:
    try:
        data: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
        for name in _TIMES:
            data[name] = datetime.fromisoformat(data[name]) if data.get(name) else None
        texts = {name: tuple(data.get(name, ())) for name in ("notes", "requests")}
        return RoundRecord(**{**data, "state": RoundState(data["state"]), **texts})
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); list the rounds to see which exist") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        detail = " ".join(str(error).split())
        raise TrainingError(f"{path}: not a round's record ({detail}); move its folder away to go on") from error
