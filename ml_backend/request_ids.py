"""Request ids: which calls of the web process led to what is done now, through queues and jobs.

A call has the id that its ``X-Request-ID`` gives, or a new one. It goes with the project that a webhook says something
about, and with every job, so that log lines, rounds and adapters can be followed back to it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "X-Request-ID"
META = "requests"  # the key in a job's meta
KEPT = 20  # ids that are remembered of all that led to one thing: the newest

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_REQUESTS: ContextVar[tuple[str, ...]] = ContextVar("winnow-requests", default=())


def request_ids() -> tuple[str, ...]:
    """The ids that led to what this thread does now, the oldest first; empty where nobody called."""
    return _REQUESTS.get()


def is_plain(text: object) -> bool:
    """Whether it can be an id: 1 to 64 ASCII letters, digits, dots, underscores and hyphens, no sign first."""
    return isinstance(text, str) and _PLAIN.fullmatch(text) is not None


def id_of(header: str | None) -> str:
    """The id of a call: what its header says where that is short and plain, else a new one of 16 hexadecimal digits."""
    return header if header is not None and is_plain(header) else secrets.token_hex(8)


def newest(ids: Iterable[object]) -> tuple[str, ...]:
    """The last ``KEPT`` of these ids, each once; what cannot be an id is left out."""
    return tuple(dict.fromkeys(one for one in ids if isinstance(one, str) and is_plain(one)))[-KEPT:]


@contextmanager
def under(ids: Iterable[object]) -> Iterator[None]:
    """What this thread does in the block was led to by these ids, and by no others."""
    token = _REQUESTS.set(newest(ids))
    try:
        yield
    finally:
        _REQUESTS.reset(token)


def begin(header: str | None) -> str:
    """A call begins in this thread: from now on, until the next one, its id stands here. Returns the id."""
    found = id_of(header)
    _REQUESTS.set((found,))
    return found


def end() -> None:
    """The thread's call has ended."""
    _REQUESTS.set(())
