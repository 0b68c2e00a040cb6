"""The embedding cache: what it gives is what was put, or nothing at all."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml_backend import embeddings
from ml_backend.embeddings import Embedding, EmbeddingCache, cache_of

TEXTS = ["Wheat rose.", "", "Ölpreise 🛢", "a\udc80b", "x" * 100_000]


def made(text: str, dimensions: int = 8) -> Embedding:
    seed = sum(text.encode(errors="surrogatepass"))
    return Embedding(
        np.random.default_rng(seed).random(dimensions, dtype=np.float32), len(text) % 100, len(text) // 100
    )


def same(one: Embedding, other: Embedding) -> bool:
    counts = (one.tokens, one.truncated) == (other.tokens, other.truncated)
    return counts and one.vector.dtype == np.float32 and bool((one.vector == other.vector).all())


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "embeddings")


def test_what_was_put_is_got_by_encoder_text_and_length(cache: EmbeddingCache, tmp_path: Path) -> None:
    assert cache.get("mini", 256, TEXTS) == {}
    cache.put("mini", 256, {text: made(text) for text in TEXTS})
    found = EmbeddingCache(tmp_path / "embeddings").get("mini", 256, [*TEXTS, "unknown", TEXTS[0]])
    assert set(found) == set(TEXTS)
    assert all(same(found[text], made(text)) for text in TEXTS)
    assert cache.get("mini", 128, TEXTS) == {}
    assert cache.get("other", 256, TEXTS) == {}
    assert cache_of(tmp_path).get("mini", 256, TEXTS[:1]).keys() == {TEXTS[0]}


def test_more_texts_than_one_query_takes(cache: EmbeddingCache) -> None:
    texts = [f"text {number}" for number in range(2 * embeddings.VARIABLES + 7)]
    cache.put("mini", 256, {text: made(text) for text in texts})
    found = cache.get("mini", 256, texts)
    assert all(same(found[text], made(text)) for text in texts)


def test_no_text_is_kept(cache: EmbeddingCache) -> None:
    cache.put("mini", 256, {"A very secret document.": made("a")})
    files = list(cache.path.parent.iterdir())
    assert files
    assert not any(b"secret" in file.read_bytes() for file in files)


def test_the_oldest_rows_make_room(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, limit=200_000)
    texts = [f"text {number}" for number in range(600)]
    for start in range(0, 600, 50):
        cache.put("mini", 256, {text: made(text, 384) for text in texts[start : start + 50]})
    kept = [text in cache.get("mini", 256, [text]) for text in texts]
    assert kept == sorted(kept), "those written last are there"
    assert 50 < sum(kept) < 200
    assert cache.path.stat().st_size < 400_000


@pytest.mark.parametrize(
    "damage",
    [
        "tokens = tokens + 1",
        "truncated = truncated + 1",
        "vector = zeroblob(length(vector))",
        "vector = substr(vector, 1, 9)",
        "vector = (SELECT vector FROM embeddings WHERE rowid = 2)",
    ],
    ids=["tokens", "truncated", "zeros", "short", "another's"],
)
def test_a_damaged_row_counts_as_missing_and_is_replaced(cache: EmbeddingCache, damage: str) -> None:
    pair = {text: made(text) for text in TEXTS[2:4]}
    cache.put("mini", 256, pair)
    with sqlite3.connect(cache.path) as connection:
        connection.execute(f"UPDATE embeddings SET {damage} WHERE rowid = 1")
    connection.close()
    assert cache.get("mini", 256, list(pair)).keys() == {TEXTS[3]}
    cache.put("mini", 256, pair)
    assert all(same(cache.get("mini", 256, [text])[text], pair[text]) for text in pair)


@pytest.mark.parametrize("column", ["vector", "digest"])
def test_a_value_of_another_type_counts_as_missing(cache: EmbeddingCache, column: str) -> None:
    cache.put("mini", 256, {TEXTS[0]: made(TEXTS[0])})
    with sqlite3.connect(cache.path) as connection:
        connection.execute(f"UPDATE embeddings SET {column} = 'text'")
    connection.close()
    assert cache.get("mini", 256, TEXTS) == {}


def test_a_damaged_file_is_logged_once_and_bypassed(cache: EmbeddingCache, caplog: pytest.LogCaptureFixture) -> None:
    cache.put("mini", 256, {text: made(text) for text in TEXTS})
    cache.path.write_bytes(b"no database at all" * 1000)
    with caplog.at_level(logging.WARNING):
        assert cache.get("mini", 256, TEXTS) == {}
        cache.put("mini", 256, {TEXTS[0]: made(TEXTS[0])})
        assert cache.get("mini", 256, TEXTS) == {}
    (record,) = caplog.records
    assert record.getMessage() == f'cache bypassed: file={cache.path} reason="file is not a database"'


def test_a_full_disk_is_logged_and_bypassed(
    cache: EmbeddingCache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put("mini", 256, {TEXTS[0]: made(TEXTS[0])})
    connect = sqlite3.connect

    def small(*args: object, **options: object) -> sqlite3.Connection:
        connection = connect(*args, **options)  # type: ignore[call-overload]
        connection.execute("PRAGMA max_page_count = 8")  # SQLite's own way to have no more room
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    monkeypatch.setattr(embeddings, "PAUSE_SECONDS", 0.0)
    with caplog.at_level(logging.WARNING):
        cache.put("mini", 256, {f"text {n}": made("a", 384) for n in range(100)})
    assert "full" in caplog.text
    assert set(cache.get("mini", 256, [*TEXTS, "text 1"])) == {TEXTS[0]}, "what was there is, and nothing in part"


def test_a_folder_that_cannot_be_made_is_bypassed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cache = EmbeddingCache(tmp_path / "file" / "embeddings")
    assert cache.get("mini", 256, TEXTS) == {}
    assert "cache bypassed" in caplog.text


def test_a_cache_that_was_deleted_is_made_anew(cache: EmbeddingCache) -> None:
    cache.put("mini", 256, {TEXTS[0]: made(TEXTS[0])})
    for file in cache.path.parent.iterdir():
        file.unlink()
    assert cache.get("mini", 256, TEXTS) == {}
    cache.put("mini", 256, {TEXTS[0]: made(TEXTS[0])})
    assert same(cache.get("mini", 256, TEXTS)[TEXTS[0]], made(TEXTS[0]))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from ml_backend.embeddings import Embedding, EmbeddingCache
cache, own = EmbeddingCache(Path(sys.argv[1])), int(sys.argv[2])
for start in range(0, 200, 10):
    texts = [f"{number % 2 * own} {number}" for number in range(start, start + 10)]
    cache.put("mini", 256, {t: Embedding(np.full(384, len(t), np.float32), 1, 0) for t in texts})
    assert len(cache.get("mini", 256, texts)) == 10
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    root = Path(embeddings.__file__).parent.parent
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(own)], cwd=root, stderr=subprocess.PIPE,
                         env={**os.environ, "OMP_NUM_THREADS": "1"})
        for own in (1, 2, 3)
    ]  # fmt: skip
    for writer in writers:
        _, told = writer.communicate(timeout=60)
        assert writer.returncode == 0, told.decode()
        assert told == b"", "no warning either"
    texts = [f"{number % 2 * own} {number}" for own in (1, 2, 3) for number in range(200)]
    found = EmbeddingCache(tmp_path).get("mini", 256, texts)
    assert set(found) == set(texts)
    assert all((one.vector == len(text)).all() for text, one in found.items())
