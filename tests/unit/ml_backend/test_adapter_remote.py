"""An adapter store under a URL, in fsspec's memory: whole or absent, and fetched once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from label_configs.errors import AdapterError, ConfigError
from ml_backend.adapter_files import FILES, Adapter
from ml_backend.adapter_remote import open_url, without_secrets
from ml_backend.adapters import AdapterStore
from ml_backend.experiment import Project
from ml_backend.versions import active_sources

URL = "memory://bucket/adapters"
MANIFEST = {"base": "base", "prompt": "zero_shot", "max_document_tokens": 256, "codebook": "abc"}


def trained(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def host(tmp_path: Path, name: str) -> AdapterStore:
    return AdapterStore(URL, home=tmp_path / name)


def keys(fs: MemoryFileSystem) -> list[str]:
    return sorted(path.removeprefix("/bucket/adapters/") for path in fs.store)


def publish(store: AdapterStore, tmp_path: Path, weights: bytes = b"weights") -> Adapter:
    (tmp_path / "prompt.j2").write_text("a prompt")
    (tmp_path / "rows").write_bytes(b"rows")
    extras = {"lines.j2": tmp_path / "prompt.j2", "examples.parquet": tmp_path / "rows"}
    return store.publish(trained(tmp_path / "trained", weights), MANIFEST | {"prompt_file": "lines.j2"}, extras)


def test_what_one_host_publishes_another_loads(memory: MemoryFileSystem, tmp_path: Path) -> None:
    made = publish(host(tmp_path, "one"), tmp_path)
    other = host(tmp_path, "two")
    assert other.ids() == [made.id]
    got = other.get(made.id)
    assert got.manifest == made.manifest
    assert got.folder == tmp_path / "two" / "adapter-cache" / made.id
    assert {p.name for p in got.folder.iterdir()} == {*FILES, "manifest.json", "lines.j2", "examples.parquet"}
    assert str(other) == URL
    memory.store.clear()
    assert other.get(made.id) == got, "what was fetched is at hand when the network is not"
    with pytest.raises(AdapterError, match=r"not in the store memory://bucket/adapters"):
        host(tmp_path, "three").get(made.id)


def test_asking_what_it_is_fetches_no_weights(memory: MemoryFileSystem, tmp_path: Path) -> None:
    made = publish(host(tmp_path, "one"), tmp_path)
    other = host(tmp_path, "two")
    described = other.described(made.id)
    assert {p.name for p in described.folder.iterdir()} == {"manifest.json", "lines.j2"}
    assert described.manifest == made.manifest
    memory.store.clear()
    assert other.described(made.id) == described, "asked once"


def test_an_adapter_exists_with_its_manifest(memory: MemoryFileSystem, tmp_path: Path) -> None:
    store = host(tmp_path, "one")
    made = publish(store, tmp_path)
    memory.rm_file(f"/bucket/adapters/{made.id}/manifest.json")
    other = host(tmp_path, "two")
    assert other.ids() == []
    with pytest.raises(AdapterError, match="not in the store"):
        other.get(made.id)
    assert other.leftovers(datetime.now(UTC) - timedelta(days=1)) == {}
    assert set(other.leftovers(datetime.now(UTC) + timedelta(days=1))) == {made.id}
    assert publish(other, tmp_path) == Adapter(made.id, tmp_path / "two" / "adapter-cache" / made.id, made.manifest)
    assert other.leftovers(datetime.now(UTC) + timedelta(days=1)) == {}


def test_the_manifest_is_written_last_and_only_over_whole_files(
    memory: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    put, pipe = MemoryFileSystem.put_file, MemoryFileSystem.pipe_file

    def put_file(self: MemoryFileSystem, source: str, target: str) -> None:
        written.append(target)
        put(self, source, target)
        if target.endswith("-examples.parquet") and len(written) < 5:
            pipe(self, target, b"cut")

    def pipe_file(self: MemoryFileSystem, target: str, value: bytes) -> None:
        written.append(target)
        pipe(self, target, value)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    store = host(tmp_path, "one")
    with pytest.raises(AdapterError, match=r"examples\.parquet of adapter .* came back changed; publish again"):
        publish(store, tmp_path)
    assert store.ids() == []
    assert not any(path.is_dir() for path in store.root.iterdir()), "nothing half on this machine either"
    made = publish(store, tmp_path)
    assert written[-1] == f"/bucket/adapters/{made.id}/manifest.json"
    assert sum(path.endswith("manifest.json") for path in written) == 1


def test_damage_is_found_here_and_there(memory: MemoryFileSystem, tmp_path: Path) -> None:
    store = host(tmp_path, "one")
    made = publish(store, tmp_path)
    (made.folder / FILES[1]).write_bytes(b"rotten")
    assert store.get(made.id) == made, "fetched anew"
    assert (made.folder / FILES[1]).read_bytes() == b"weights"
    memory.pipe_file(f"/bucket/adapters/{made.id}/{FILES[1]}", b"rotten")
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors came damaged from memory://bucket/adapters"):
        host(tmp_path, "two").get(made.id)
    publish(store, tmp_path)
    assert host(tmp_path, "two").get(made.id).id == made.id, "published anew"
    memory.pipe_file(f"/bucket/adapters/{made.id}/manifest.json", b"{")
    with pytest.raises(AdapterError, match=r"its manifest\.json in memory://bucket/adapters is damaged"):
        host(tmp_path, "three").described(made.id)


def test_two_that_publish_the_same_bytes_with_other_files_both_end_well(
    memory: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = host(tmp_path, "one"), host(tmp_path, "two")
    pipe = MemoryFileSystem.pipe_file

    def overtaken(self: MemoryFileSystem, target: str, value: bytes) -> None:
        monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe)
        (tmp_path / "other").write_bytes(b"other rows")
        two.publish(tmp_path / "trained", MANIFEST, {"examples.parquet": tmp_path / "other"})
        pipe(self, target, value)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", overtaken)
    made = publish(one, tmp_path)
    for name in ("one", "two", "three"):
        assert host(tmp_path, name).get(made.id).id == made.id
    assert host(tmp_path, "three").ids() == [made.id]
    assert (host(tmp_path, "three").get(made.id).folder / "examples.parquet").read_bytes() == b"rows"


def test_publishing_twice_writes_once(memory: MemoryFileSystem, tmp_path: Path) -> None:
    store = host(tmp_path, "one")
    made = publish(store, tmp_path)
    before = {path: file.modified for path, file in memory.store.items()}
    assert publish(host(tmp_path, "two"), tmp_path).manifest == made.manifest
    assert {path: file.modified for path, file in memory.store.items()} == before


def test_a_removed_adapter_is_gone_everywhere(memory: MemoryFileSystem, tmp_path: Path) -> None:
    store = host(tmp_path, "one")
    made, kept = publish(store, tmp_path), publish(store, tmp_path, b"others")
    store.described(made.id)
    store.remove(made.id)
    assert store.ids() == [kept.id]
    assert all(key.startswith(kept.id) for key in keys(memory))
    with pytest.raises(AdapterError, match="not in the store"):
        store.described(made.id)


def test_an_adapter_is_asked_with_the_prompt_kept_beside_it(
    memory: MemoryFileSystem, tmp_path: Path, project: Project
) -> None:
    prompt = tmp_path / "lines.j2"
    prompt.write_text("{% block system %}as trained{% endblock %}")
    manifest = MANIFEST | {"codebook": project.codebook.fingerprint, "prompt": str(prompt), "prompt_file": "lines.j2"}
    source = trained(tmp_path / "trained")
    made = host(tmp_path, "one").publish(source, manifest, {"lines.j2": prompt})
    before = active_sources(project, made)[-1]
    prompt.write_text("{% block system %}edited{% endblock %}")
    assert active_sources(project, made)[-1] == before
    described = active_sources(project, host(tmp_path, "two").described(made.id))[-1]
    assert described.version == before.version, "the same on another host"
    assert "as trained" in Path(described.config.prompt).read_text()


def test_nothing_secret_of_a_url_is_told() -> None:
    assert without_secrets("s3://bucket/adapters") == "s3://bucket/adapters"
    assert without_secrets("ftp://me:hush@host:21/a?token=hush") == "ftp://host:21/a"


def test_an_s3_server_that_does_not_answer_is_not_waited_for_long() -> None:
    limits = open_url("s3://bucket/adapters")[0].config_kwargs
    assert (limits["connect_timeout"], limits["read_timeout"]) == (3, 10)
    assert limits["retries"]["total_max_attempts"] == 2


@pytest.mark.parametrize("url", ["nonsense://x/y", "s4://bucket"])
def test_a_url_that_nothing_can_read_is_told(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^WINNOW_ADAPTER_STORE .*give a folder or a URL that fsspec knows$"):
        AdapterStore(url, home=tmp_path).ids()


def test_a_manifest_that_names_files_elsewhere_is_refused(memory: MemoryFileSystem, tmp_path: Path) -> None:
    made = publish(host(tmp_path, "one"), tmp_path)
    files = {"../../escaped": {"sha256": "0" * 64, "bytes": 1}}
    text = json.dumps({**made.manifest, "files": files}).encode()
    memory.pipe_file(f"/bucket/adapters/{made.id}/manifest.json", text)
    with pytest.raises(AdapterError, match="damaged"):
        host(tmp_path, "two").get(made.id)
