"""Jobs that say what they saw."""

from __future__ import annotations

from ml_backend.request_ids import request_ids

TEXT = "the text of a document"


def note_ids() -> list[str]:
    """The ids that it stands under."""
    return list(request_ids())


def fail() -> None:
    """As a library does that quotes what it was given."""
    raise ValueError(f"cannot read {TEXT!r}")
