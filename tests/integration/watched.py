"""An installation under observation: all command lines of its processes and all values in its Redis, while it runs."""

from __future__ import annotations

import base64
import binascii
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from redis import Redis
from redis.exceptions import RedisError

from tests.integration.running import processes_of

LOOK_SECONDS = 0.5


class Watched:
    """Looks at the installation of this home folder again and again, from ``with`` to its end."""

    def __init__(self, home: Path, redis: Redis) -> None:
        self._home, self._redis = home, redis
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.commands: set[str] = set()
        self.values: set[bytes] = set()

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """See what is there now."""
        for process in processes_of(self._home):
            try:
                self.commands.add(" ".join(process.cmdline()))
            except psutil.NoSuchProcess:
                continue
        for key in self._redis.scan_iter():
            self.values.add(key)
            try:
                self.values.update(values_of(self._redis, key))
            except RedisError:  # it was replaced by one of another type
                continue

    @property
    def in_redis(self) -> bytes:
        """All keys and values, and those that are packed, unpacked."""
        return b"\n".join({*self.values, *(found for value in self.values for found in unpacked(value))})


def values_of(redis: Redis, key: bytes) -> Iterator[bytes]:
    """All that a key of whatever type holds."""
    kind: Any = redis.type(key)
    if kind == b"string":
        found: Any = redis.get(key)
        yield from [found] if found is not None else []
    elif kind == b"hash":
        for name, value in redis.hgetall(key).items():  # type: ignore[union-attr]
            yield from (name, value)
    elif kind == b"list":
        yield from redis.lrange(key, 0, -1)  # type: ignore[misc]
    elif kind == b"set":
        yield from redis.smembers(key)  # type: ignore[misc]
    elif kind == b"zset":
        yield from redis.zrange(key, 0, -1)  # type: ignore[misc]
    elif kind == b"stream":
        for _, entry in redis.xrange(key):  # type: ignore[union-attr]
            for name, value in entry.items():
                yield from (name, value)


def unpacked(value: bytes) -> Iterator[bytes]:
    """What RQ has compressed, as bytes or in base64."""
    packed = [value]
    with suppress(binascii.Error):
        packed.append(base64.b64decode(value, validate=True))
    for one in packed:
        try:
            yield zlib.decompress(one)
        except zlib.error:
            continue
