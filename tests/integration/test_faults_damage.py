"""Bits that flip and files that are cut short: named, left aside or made anew, and never proposed from."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.errors import AdapterError, EnvironmentFault, WinnowError
from ml_backend import promotions
from ml_backend.adapters import AdapterStore
from ml_backend.embeddings import Embedding, EmbeddingCache
from ml_backend.experiment import Experiment
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.registered_projects import load_project, register
from ml_backend.source_config import SourceConfig, SourceKind
from trainer.mirror import Mirror
from trainer.mirror_file import MIRROR_FILE
from trainer.rounds import RoundRecord, RoundState, list_rounds, save_round

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MANIFEST = {"base": "base", "prompt": "zero_shot", "max_document_tokens": 256, "codebook": "abc"}
TURNS = 25


@pytest.fixture
def draw() -> random.Random:
    seed = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
    logging.getLogger(__name__).warning("seed %s", seed)
    return random.Random(seed)


def damage(path: Path, draw: random.Random) -> None:
    """Flip a bit somewhere, or cut the file."""
    body = bytearray(path.read_bytes())
    at = draw.randrange(len(body))
    if draw.random() < 0.5:
        body[at] ^= 1 << draw.randrange(8)
    else:
        del body[at:]
    path.write_bytes(body)


def turns(path: Path, draw: random.Random, check: Callable[[], None]) -> None:
    whole = path.read_bytes()
    for _ in range(TURNS):
        damage(path, draw)
        check()
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_of_other_bytes_is_never_given(tmp_path: Path, draw: random.Random, name: str) -> None:
    (tmp_path / "adapter_config.json").write_text('{"r": 8, "base_model_name_or_path": "tiny"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(draw.randbytes(2000))
    store = AdapterStore(tmp_path / "store")
    made = store.publish(tmp_path, MANIFEST)

    def check() -> None:
        with pytest.raises(AdapterError, match=f"adapter {made.id}: damaged"):
            AdapterStore(store.root).get(made.id)

    turns(made.folder / name, draw, check)


def test_a_history_of_promotions_says_so_or_names_an_adapter_that_is_refused(
    tmp_path: Path, draw: random.Random
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    store = AdapterStore(tmp_path / "store")
    made = store.publish(tmp_path, MANIFEST)
    folder = tmp_path / "project"
    folder.mkdir()
    promotions.promote(folder, made)

    def check() -> None:
        try:
            named = promotions.current(folder)
            if named not in (None, made.id):
                store.get(named)
                pytest.fail(f"another adapter, {named}, was loaded")
        except AdapterError:
            return

    turns(folder / "current.json", draw, check)


def test_a_damaged_mirror_is_read_anew_or_named(tmp_path: Path, draw: random.Random) -> None:
    """SQLite keeps no checksums of texts: a flipped bit in one makes another text, so the mirror keeps them."""
    fake = FakeLabelStudio(7, lambda: NOW)
    fake.import_tasks({"text": f"text {n}", "document_id": f"d{n}"} for n in range(60))
    truth = [wire.kept_task(task) for task in fake.export(7)]
    with Mirror(tmp_path) as mirror:
        mirror.refresh(fake, 7, now=NOW)
    wrong: list[object] = []

    def check() -> None:
        for side in ("-wal", "-shm"):
            (tmp_path / f"{MIRROR_FILE}{side}").unlink(missing_ok=True)
        try:
            with Mirror(tmp_path) as mirror:
                mirror.refresh(fake, 7, now=NOW + timedelta(days=2))
                with mirror.tasks() as tasks:
                    held = [{name: value for name, value in task.items() if name != "draft_exists"} for task in tasks]
        except EnvironmentFault as error:
            held = truth if MIRROR_FILE in str(error) else [{"unnamed": str(error)}]
        if held != truth:
            wrong.append(held)

    turns(tmp_path / MIRROR_FILE, draw, check)
    assert not wrong


def test_a_damaged_cache_gives_what_was_put_or_nothing(tmp_path: Path, draw: random.Random) -> None:
    vectors = {f"text {n}": Embedding(np.full(64, n, np.float32), n, 0) for n in range(40)}
    cache = EmbeddingCache(tmp_path)
    cache.put("mini", 256, vectors)

    def check() -> None:
        for side in ("-wal", "-shm"):
            Path(f"{cache.path}{side}").unlink(missing_ok=True)
        for text, one in EmbeddingCache(tmp_path).get("mini", 256, list(vectors)).items():
            assert one.tokens == vectors[text].tokens
            assert np.array_equal(one.vector, vectors[text].vector)

    turns(cache.path, draw, check)


def test_damaged_records_are_named(tmp_path: Path, draw: random.Random) -> None:
    record = RoundRecord("0123456789abcdef", 7, RoundState.PROMOTED, 4, 3, 1, started_at=NOW)
    save_round(tmp_path / "rounds", record)
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),))
    project = register(tmp_path, 7, experiment, load_codebook("reuters8"))

    unnamed = []

    def reads(read: Callable[[], object], name: str) -> Callable[[], None]:
        def check() -> None:
            try:
                read()
            except WinnowError as error:
                unnamed.extend([str(error)] * (name not in str(error)))

        return check

    rounds = tmp_path / "rounds"
    turns(rounds / record.id / "round.json", draw, reads(lambda: list_rounds(rounds), "round.json"))
    for name in ("winnow.yaml", "codebook.yaml"):
        turns(project.folder / name, draw, reads(lambda: load_project(tmp_path, 7), name))
    assert unnamed == []
