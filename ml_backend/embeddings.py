"""The cache of sentence embeddings on disk: what one source embedded, another, a refit or another process reads.

It keeps no text: a row is named by the digest of its text. It is a cache and nothing else: it may be deleted at any
time, and where it is damaged, full or locked, that is logged and the texts are embedded as if there were none.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ml_backend.log_events import LogEvent, tell

log = logging.getLogger(__name__)

LIMIT = 1 << 30  # bytes of the file: some 500,000 texts under an encoder of 384 dimensions
BUSY_SECONDS = 5.0  # how long another process's write is waited for
PAUSE_SECONDS = 60.0  # how long a cache that failed is left alone: one warning a minute, not one for every batch
DROPPED = 0.1  # share of the rows that makes room, so that not every write has to
VARIABLES = 500  # digests in one query; SQLite allowed 999 before 3.32

_TABLE = """CREATE TABLE IF NOT EXISTS embeddings (
    encoder TEXT NOT NULL, digest BLOB NOT NULL, max_tokens INTEGER NOT NULL,
    vector BLOB NOT NULL, tokens INTEGER NOT NULL, truncated INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (encoder, digest, max_tokens))"""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Embedding:
    """A text's unit vector ``[dimensions]``, float32; the tokens that were read of it, and those left out."""

    vector: npt.NDArray[np.float32]
    tokens: int
    truncated: int


class EmbeddingCache:
    """Embeddings by encoder version, text and limit of tokens, in ``folder/embeddings.sqlite3``.

    Several processes may use it at once (SQLite's write-ahead log). When the file has grown to ``limit`` bytes, the
    rows written first make room. No method raises: a row that is not what was written counts as missing.
    """

    def __init__(self, folder: Path, *, limit: int = LIMIT) -> None:
        self.path = folder / "embeddings.sqlite3"
        self._limit = limit
        self._paused_until = 0.0

    def get(self, encoder: str, max_tokens: int, texts: Sequence[str]) -> dict[str, Embedding]:
        """What is kept of these texts, by text."""
        by_digest = {_digest(text): text for text in texts}

        def read(connection: sqlite3.Connection) -> dict[str, Embedding]:
            found = {}
            for part in _parts(list(by_digest)):
                marks = ",".join("?" * len(part))
                rows = connection.execute(
                    "SELECT digest, vector, tokens, truncated, checksum FROM embeddings "  # nosec B608 # question marks
                    f"WHERE encoder = ? AND max_tokens = ? AND digest IN ({marks})",
                    (encoder, max_tokens, *part),
                )
                for digest, vector, tokens, truncated, checksum in rows:
                    text = by_digest.get(digest)  # a damaged file may answer what was not asked
                    if text is None or not isinstance(vector, bytes):
                        continue
                    if checksum == _checksum(encoder, digest, max_tokens, vector, tokens, truncated):
                        found[text] = Embedding(np.frombuffer(vector, "<f4").astype(np.float32), tokens, truncated)
            return found

        return self._using(read, {}) if by_digest else {}

    def put(self, encoder: str, max_tokens: int, embeddings: Mapping[str, Embedding]) -> None:
        """Keep embeddings by text; a damaged row is replaced."""
        rows = []
        for text, made in embeddings.items():
            digest, vector = _digest(text), made.vector.astype("<f4").tobytes()
            checksum = _checksum(encoder, digest, max_tokens, vector, made.tokens, made.truncated)
            rows.append((encoder, digest, max_tokens, vector, made.tokens, made.truncated, checksum))

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
                self._make_room(connection)

        if rows:
            self._using(write, None)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Drop the oldest rows until the pages in use are within the limit; SQLite writes new rows into freed pages."""

        def ask(query: str) -> int:
            return int(connection.execute(query).fetchone()[0])

        size = ask("PRAGMA page_size")
        while (ask("PRAGMA page_count") - ask("PRAGMA freelist_count")) * size > self._limit:
            rows = ask("SELECT count(*) FROM embeddings")
            if rows == 0:
                return
            connection.execute(
                "DELETE FROM embeddings WHERE rowid IN (SELECT rowid FROM embeddings ORDER BY rowid LIMIT ?)",
                (max(1, int(rows * DROPPED)),),
            )

    def _using(self, work: Callable[[sqlite3.Connection], Found], otherwise: Found) -> Found:
        """What ``work`` gives, or ``otherwise`` where the cache cannot be used.

        A connection for each use: none is carried over a fork or between threads, and a file that was deleted is made
        anew.
        """
        if time.monotonic() < self._paused_until:
            return otherwise
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(_TABLE)
                return work(connection)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # SQLite's message may quote what is damaged
            tell(log, LogEvent.CACHE_BYPASSED, file=self.path, reason=error)
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            return otherwise


def cache_of(home: Path) -> EmbeddingCache:
    """The embedding cache of an installation."""
    return EmbeddingCache(home / "embeddings")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _checksum(encoder: str, digest: bytes, max_tokens: int, vector: bytes, tokens: int, truncated: int) -> int:
    """CRC-32 of a whole row: SQLite itself does not notice a byte that changed on the disk."""
    return zlib.crc32(f"{encoder} {digest.hex()} {max_tokens} {tokens} {truncated} ".encode() + vector)


def _parts(digests: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(digests), VARIABLES):
        yield digests[start : start + VARIABLES]
