"""Passwords of people: made, kept as hashes, and compared without being computed anew at every look of a page."""

from __future__ import annotations

import hmac
import json
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from werkzeug.security import check_password_hash, generate_password_hash

Value = TypeVar("Value")

REMEMBERED_SECONDS = 300.0  # a changed password counts from the next start on, so nothing hangs on this being short
REMEMBERED = 1000  # log-ins in one process
HASHING = threading.BoundedSemaphore(2)  # each takes 32 MiB and a core: guesses must not take all of both
_HASH = re.compile(r"(scrypt|pbkdf2)(:\w+)+\$[^$]+\$[0-9a-f]{32,}")


def new_password() -> str:
    """One that nobody guesses: 144 random bits in 24 characters."""
    return secrets.token_urlsafe(18)


def hashed(password: str) -> str:
    """Its hash (scrypt with N = 2^15, r = 8, p = 1 and a salt of its own), fit to be stored."""
    return generate_password_hash(password, method="scrypt:32768:8:1")


def is_hash(secret: str) -> bool:
    """Whether this is a hash as ``hashed`` makes them (or werkzeug's other kinds), and no password."""
    return bool(_HASH.fullmatch(secret))


def is_password(sent: str | None, expected: str) -> bool:
    """Whether what was sent is the password that is expected, or whose hash is; in constant time."""
    if not is_hash(expected):
        return same(sent, expected)
    with HASHING:
        return check_password_hash(expected, sent or "")


def same(sent: str | None, expected: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest((sent or "").encode(), expected.encode())


class Remembered(Generic[Value]):
    """What was found for log-ins, for some minutes: a right password's hash is not computed at every request.

    In memory, and by a digest with a key of this process's own: neither a password nor what could be tried out to find
    it is kept. For several threads.
    """

    def __init__(
        self, seconds: float = REMEMBERED_SECONDS, most: int = REMEMBERED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._key = secrets.token_bytes(32)
        self._found: OrderedDict[bytes, tuple[float, Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, *login: str | None) -> Value | None:
        """What was put for this log-in, None where nothing was or it is too long ago."""
        with self._lock:
            until, value = self._found.get(self._digest(login), (0.0, None))
        return value if self._clock() < until else None

    def put(self, value: Value, *login: str | None) -> None:
        """Remember it; the oldest is forgotten where there are too many."""
        digest = self._digest(login)
        with self._lock:
            self._found[digest] = (self._clock() + self._seconds, value)
            self._found.move_to_end(digest)
            while len(self._found) > self._most:
                self._found.popitem(last=False)

    def _digest(self, login: tuple[str | None, ...]) -> bytes:
        return hmac.digest(self._key, json.dumps(login).encode(), "sha256")
