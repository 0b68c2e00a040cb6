"""Runs where the folder named is a disk of its own, of little room: what is written there while it is full.

Started by ``test_faults_disk`` in a mount namespace; says nothing and ends with 0 where all is as it should be.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from label_configs.errors import AdapterError, EnvironmentFault
from ml_backend.adapters import AdapterStore
from ml_backend.atomic import write_atomically
from ml_backend.embeddings import Embedding, EmbeddingCache
from ml_backend.labelstudio_fake import FakeLabelStudio
from trainer.mirror import Mirror

MANIFEST = {"base": "base", "prompt": "zero_shot", "max_document_tokens": 256, "codebook": "abc"}
NOW = datetime(2030, 1, 1, tzinfo=UTC)
LARGE = 600_000  # bytes


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast


def the_store(disk: Path, elsewhere: Path) -> None:
    """An adapter is published in full or not at all."""
    (elsewhere / "adapter_config.json").write_text("{}", encoding="utf-8")
    (elsewhere / "adapter_model.safetensors").write_bytes(b"w" * LARGE)
    store, ballast = AdapterStore(disk / "adapters"), fill(disk)
    ballast.write_bytes(b"x" * (ballast.stat().st_size - LARGE // 2))  # room for a part
    with pytest.raises(AdapterError, match=r"No space left on device.*make room"):
        store.publish(elsewhere, MANIFEST)
    assert store.ids() == []
    ballast.unlink()
    adapter = store.publish(elsewhere, MANIFEST)
    assert store.get(adapter.id) == adapter
    store.remove(adapter.id)


def records(disk: Path) -> None:
    """The old record stays, whole."""
    path = disk / "record.json"
    write_atomically(path, "old")
    ballast = fill(disk)
    with pytest.raises(EnvironmentFault, match="free space"):
        write_atomically(path, "new" * 10_000)
    assert path.read_text() == "old"
    assert not list(disk.glob(".record*"))
    ballast.unlink()


def the_mirror(disk: Path) -> None:
    """What was read stays; with room again the rest is read, each task once."""
    fake, now = FakeLabelStudio(7, lambda: NOW), NOW
    fake.import_tasks({"text": f"text {n} " * 500, "document_id": f"d{n}"} for n in range(900))
    with Mirror(disk / "project") as mirror:
        ballast = fill(disk)
        ballast.write_bytes(b"x" * (ballast.stat().st_size - 2 * LARGE))
        for _ in range(2):
            now += timedelta(minutes=1)
            with pytest.raises(EnvironmentFault, match="free space"):
                mirror.refresh(fake, 7, now=now)
    ballast.unlink()
    with Mirror(disk / "project") as mirror:
        mirror.refresh(fake, 7, now=now)
        with mirror.tasks() as tasks:
            assert [task["data"]["document_id"] for task in tasks] == [f"d{n}" for n in range(900)]


def the_cache(disk: Path) -> None:
    """It is bypassed, and what it held is right."""
    cache, one = EmbeddingCache(disk / "cache"), Embedding(np.ones(384, np.float32), 3, 0)
    cache.put("mini", 256, {"here": one})
    ballast = fill(disk)
    cache.put("mini", 256, {f"text {n}": one for n in range(2000)})
    ballast.unlink()
    assert set(EmbeddingCache(disk / "cache").get("mini", 256, ["here", "text 1"])) in ({"here"}, {"here", "text 1"})


if __name__ == "__main__":
    logging.disable()
    full, other = Path(sys.argv[1]), Path(sys.argv[2])
    the_store(full, other)
    records(full)
    the_cache(full)
    the_mirror(full)
