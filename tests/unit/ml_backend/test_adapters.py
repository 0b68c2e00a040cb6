"""The adapter store: an adapter is whole or absent, and named by its bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.errors import AdapterError
from ml_backend import adapters, promotions
from ml_backend.adapters import AdapterStore, digest_of, store_of

MANIFEST = {"base": "base", "prompt": "zero_shot", "max_document_tokens": 256, "codebook": "abc"}


def trained(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "README.md").write_text("left behind")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


def test_a_published_adapter_is_found_with_its_manifest(store: AdapterStore, tmp_path: Path) -> None:
    made = store.publish(trained(tmp_path / "one"), MANIFEST)
    again = AdapterStore(store.root).get(made.id)
    assert again == made
    assert again.manifest.items() >= MANIFEST.items()
    assert sorted(again.files) == sorted(again.manifest["files"]) == sorted(adapters.FILES)
    assert again.size == sum((again.folder / name).stat().st_size for name in adapters.FILES)
    assert sorted(p.name for p in again.folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]


def test_publishing_twice_is_the_same_as_once(store: AdapterStore, tmp_path: Path) -> None:
    first = store.publish(trained(tmp_path / "one"), MANIFEST)
    second = store.publish(trained(tmp_path / "two"), {**MANIFEST, "base": "other"})
    assert second == first
    assert store.ids() == [first.id]
    assert [p.name for p in store.root.iterdir()] == [first.id]


def test_other_bytes_have_another_id(store: AdapterStore, tmp_path: Path) -> None:
    first = store.publish(trained(tmp_path / "one"), MANIFEST)
    os.utime(first.folder, (1, 1))
    second = store.publish(trained(tmp_path / "two", b"other"), MANIFEST)
    assert store.ids() == [first.id, second.id]


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_damaged_bytes_are_refused_and_can_be_published_anew(store: AdapterStore, tmp_path: Path, name: str) -> None:
    source = trained(tmp_path / "one")
    made = store.publish(source, MANIFEST)
    (made.folder / name).write_bytes(b"weightz")
    with pytest.raises(AdapterError, match=f"^adapter {made.id}: damaged .*; roll back or train anew$"):
        store.get(made.id)
    assert store.publish(source, MANIFEST) == made
    assert digest_of(store.get(made.id).folder) == made.id
    assert store.ids() == [made.id]


def test_an_incomplete_training_is_not_published(store: AdapterStore, tmp_path: Path) -> None:
    source = trained(tmp_path / "one")
    (source / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors: cannot be read .*train the adapter anew"):
        store.publish(source, MANIFEST)
    assert store.ids() == []


def test_a_copy_that_is_cut_short_is_never_visible(
    store: AdapterStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(source: Path, target: Path) -> None:
        target.write_bytes(b"")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapters.shutil, "copyfile", broken)
    with pytest.raises(AdapterError, match=r"No space left on device\); make room and try again"):
        store.publish(trained(tmp_path / "one"), MANIFEST)
    assert store.ids() == []
    assert list(store.root.iterdir()) == []


def test_what_a_crash_left_behind_is_not_an_adapter(store: AdapterStore, tmp_path: Path) -> None:
    made = store.publish(trained(tmp_path / "one"), MANIFEST)
    trained(store.root / ".publish-abc123", b"half")
    (store.root / "notes").mkdir()
    assert store.ids() == [made.id]


def test_publishing_from_many_threads_gives_one_adapter(store: AdapterStore, tmp_path: Path) -> None:
    sources = [trained(tmp_path / f"t{n}", b"w" * 100_000) for n in range(8)]
    together = threading.Barrier(len(sources))

    def publish(source: Path) -> str:
        together.wait()
        return store.publish(source, MANIFEST).id

    with ThreadPoolExecutor(len(sources)) as pool:
        ids = set(pool.map(publish, sources))
    assert ids == set(store.ids())
    assert len(ids) == 1
    assert [p.name for p in store.root.iterdir()] == list(ids)


@given(st.text() | st.sampled_from(["..", ".", "/etc", "../adapters", "a" * 16 + "/..", "A" * 16, "0" * 15 + "\n"]))
def test_no_text_that_is_no_id_reaches_the_disk(name: str) -> None:
    with pytest.raises(AdapterError) as caught:
        AdapterStore(Path("/nonexistent")).described(name)
    assert "\n" not in str(caught.value)


def test_a_damaged_manifest_is_refused(store: AdapterStore, tmp_path: Path) -> None:
    made = store.publish(trained(tmp_path / "one"), MANIFEST)
    for text in ("", "[]", "{"):
        (made.folder / "manifest.json").write_text(text)
        with pytest.raises(AdapterError, match=r"manifest\.json: missing or damaged"):
            store.described(made.id)
    with pytest.raises(AdapterError, match="not in the store"):
        store.get("0" * 16)


def test_promotion_and_rollback_keep_the_history(store: AdapterStore, tmp_path: Path) -> None:
    one = store.publish(trained(tmp_path / "one", b"1"), MANIFEST)
    two = store.publish(trained(tmp_path / "two", b"2"), MANIFEST)
    project = tmp_path / "project"
    project.mkdir()
    assert promotions.current(project) is None
    for adapter in (one, one, two):
        promotions.promote(project, adapter)
        assert promotions.current(project) == adapter.id
    assert promotions.history(project) == [one.id, two.id]
    assert [promotions.roll_back(project) for _ in range(3)] == [one.id, None, None]
    assert promotions.current(project) is None
    promotions.promote(project, two)
    assert promotions.history(project) == [two.id]


def test_promotions_from_many_threads_are_all_in_the_history(store: AdapterStore, tmp_path: Path) -> None:
    made = [store.publish(trained(tmp_path / f"a{n}", str(n).encode()), MANIFEST) for n in range(8)]
    project = tmp_path / "project"
    project.mkdir()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda adapter: promotions.promote(project, adapter), made))
    assert sorted(promotions.history(project)) == sorted(adapter.id for adapter in made)


@pytest.mark.parametrize("text", ["", "{}", '{"adapters": "abc"}', '{"adapters": [1]}', "[]"])
def test_a_damaged_history_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "current.json").write_text(text)
    with pytest.raises(AdapterError, match=r"current\.json: damaged; delete it and promote an adapter again"):
        promotions.current(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterError, match="cannot be written"):
        AdapterStore(tmp_path / "file").publish(trained(tmp_path / "one"), MANIFEST)
    adapter = AdapterStore(tmp_path / "ok").publish(trained(tmp_path / "one"), MANIFEST)
    with pytest.raises(AdapterError, match="cannot be written"):
        promotions.promote(tmp_path / "absent", adapter)


def test_the_manifest_is_readable_json(store: AdapterStore, tmp_path: Path) -> None:
    made = store.publish(trained(tmp_path / "one"), MANIFEST)
    assert json.loads((made.folder / "manifest.json").read_text(encoding="utf-8")) == made.manifest
    assert made.folder.stat().st_mode & 0o777 == 0o755


def test_further_files_lie_beside_it_with_their_digests(store: AdapterStore, tmp_path: Path) -> None:
    (tmp_path / "lines.j2").write_text("a prompt")
    (tmp_path / "made.parquet").write_bytes(b"rows")
    extras = {"lines.j2": tmp_path / "lines.j2", "examples.parquet": tmp_path / "made.parquet"}
    made = store.publish(trained(tmp_path / "one"), MANIFEST | {"prompt_file": "lines.j2"}, extras)
    assert (made.folder / "examples.parquet").read_bytes() == b"rows"
    assert set(made.files) == {*adapters.FILES, *extras}
    assert made.id == digest_of(tmp_path / "one"), "the id names what peft loads"
    (made.folder / "examples.parquet").write_bytes(b"others")
    assert adapters.damaged_files(store.get(made.id)) == ["examples.parquet"]
    (made.folder / "lines.j2").write_text("an edited prompt")
    with pytest.raises(AdapterError, match="damaged"):
        store.get(made.id)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../escaped.json", "no name for a file"),
        (".hidden", "no name for a file"),
        ("manifest.json", "no name for a file"),
        ("adapter_config.json", "no name for a file"),
        ("optimizer.pt", "may run code"),
        ("probe.PKL", "may run code"),
    ],
)
def test_what_may_not_lie_beside_an_adapter(store: AdapterStore, tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdapterError, match=told):
        store.publish(trained(tmp_path / "one"), MANIFEST, {name: tmp_path / "file"})
    assert store.ids() == []


KILLED = """
import sys
from pathlib import Path
from ml_backend import adapters

def stopped(*_):
    print("at work", flush=True)
    sys.stdin.read()

setattr(adapters, sys.argv[3], stopped)
adapters.AdapterStore(sys.argv[1]).publish(Path(sys.argv[2]), {})
"""


@pytest.mark.parametrize("moment", ["index_of", "digest_of", "sync", "_is_whole"])
def test_a_publisher_that_is_killed_leaves_no_half_adapter(store: AdapterStore, tmp_path: Path, moment: str) -> None:
    source = trained(tmp_path / "one", b"w" * 100_000)
    if moment == "_is_whole":  # asked just before the renaming, where there is something to replace
        damaged = store.publish(source, MANIFEST)
        (damaged.folder / adapters.FILES[1]).write_bytes(b"damaged")
    command = [sys.executable, "-c", KILLED, str(store.root), str(source), moment]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "at work\n"
        publisher.kill()
    if moment != "_is_whole":
        assert store.ids() == []
    made = store.publish(source, MANIFEST)
    assert store.ids() == [made.id]
    later = datetime.now(UTC) + timedelta(days=1)
    for name in store.leftovers(later):
        assert name.startswith((".publish-", ".damaged-"))
        store.remove_leftover(name)
    assert [p.name for p in store.root.iterdir()] == [made.id]
    assert store.get(made.id) == made


def test_a_reader_never_sees_a_part(store: AdapterStore, tmp_path: Path) -> None:
    sources = [trained(tmp_path / f"s{n}", bytes([n]) * 8_000_000) for n in range(8)]
    ended = threading.Event()

    def read() -> int:
        seen: set[str] = set()
        while not ended.is_set() or len(seen) < len(sources):
            # At its first sight, which comes soon after it appears; raises where it is not whole.
            seen |= {store.get(adapter_id).id for adapter_id in store.ids() if adapter_id not in seen}
        return len(seen)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        made = [store.publish(source, MANIFEST) for source in sources]
        ended.set()
        assert [reader.result() for reader in readers] == [len(made)] * 2


def test_a_removed_adapter_is_gone_with_what_crashes_left(store: AdapterStore, tmp_path: Path) -> None:
    one, two = (store.publish(trained(tmp_path / n, n.encode()), MANIFEST) for n in ("one", "two"))
    trained(store.root / ".publish-abc", b"half")
    store.remove(one.id)
    assert store.ids() == [two.id]
    assert store.leftovers(datetime.now(UTC) - timedelta(days=1)) == {}, "what is young may be at work"
    found = store.leftovers(datetime.now(UTC) + timedelta(seconds=1))
    assert found == {".publish-abc": 4 + 2 + len("left behind")}
    store.remove_leftover(".publish-abc")
    assert [p.name for p in store.root.iterdir()] == [two.id]


def test_a_rollback_may_go_further_back(store: AdapterStore, tmp_path: Path) -> None:
    made = [store.publish(trained(tmp_path / n, n.encode()), MANIFEST) for n in "abcd"]
    project = tmp_path / "project"
    project.mkdir()
    for adapter in made:
        promotions.promote(project, adapter)
    assert promotions.roll_back(project, made[1].id) == made[1].id
    assert promotions.history(project) == [made[0].id, made[1].id]
    with pytest.raises(AdapterError, match="was not current before"):
        promotions.roll_back(project, made[3].id)
    assert promotions.current(project) == made[1].id, "nothing has changed"
    assert promotions.roll_back(project, "base") is None
    assert promotions.history(project) == []


def test_the_store_lies_where_the_setting_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    assert store_of(home).root == home / "adapters"
    for named in (str(tmp_path / "shared"), f"file://{tmp_path}/shared"):
        monkeypatch.setenv("WINNOW_ADAPTER_STORE", named)
        assert (store_of(home).root, store_of(home).home) == (tmp_path / "shared", home)
