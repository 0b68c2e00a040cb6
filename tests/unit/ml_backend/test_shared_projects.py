"""What hosts know of a project together: order, removal, damage. tests/integration/test_several_hosts.py has S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ml_backend import shared_projects
from ml_backend.shared_projects import write

URL = "memory://hosts/adapters"


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    monkeypatch.setenv("WINNOW_ADAPTER_STORE", URL)
    MemoryFileSystem.store.clear()
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """One project's folder on two hosts."""
    one, two = (tmp_path / host / "projects" / "7" for host in ("one", "two"))
    one.mkdir(parents=True)
    return one, two


def test_what_one_host_writes_another_reads(folders: tuple[Path, Path]) -> None:
    one, two = folders
    write(one / "weights" / "abc.json", "{}")
    write(one / "winnow.yaml", "a: 1\n")
    assert shared_projects.ids() == {7}
    shared_projects.refresh(two)
    assert ((two / "winnow.yaml").read_text(), (two / "weights" / "abc.json").read_text()) == ("a: 1\n", "{}")
    write(two / "winnow.yaml", "a: 2\n")
    shared_projects.refresh(one)
    assert (one / "winnow.yaml").read_text() == "a: 2\n"


def test_what_a_host_wrote_itself_goes_when_another_removes_it(folders: tuple[Path, Path]) -> None:
    one, two = folders
    write(one / "winnow.yaml", "a: 1\n")
    write(one / "team_form.yaml", "b: 1\n")
    shared_projects.refresh(two)
    shared_projects.remove(two / "team_form.yaml")
    shared_projects.refresh(one)
    assert not (one / "team_form.yaml").exists()
    assert (one / "winnow.yaml").exists()


def test_what_is_unchanged_is_not_fetched_again(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = folders
    write(one / "winnow.yaml", "a: 1\n")
    shared_projects.refresh(two)
    before, listings = (two / "winnow.yaml").stat().st_ino, []
    find = MemoryFileSystem.find
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *a, **k: (listings.append(a), find(*a, **k))[1])
    shared_projects.refresh(two)
    assert (two / "winnow.yaml").stat().st_ino == before
    assert len(listings) == 1


def test_what_names_other_files_is_fetched_after_them(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = folders
    for name in (
        "winnow.yaml",
        "snapshots/latest.json",
        "snapshots/z.parquet",
        "weights/current.json",
        "weights/z.json",
    ):
        write(one / name, "x")
    asked: list[str] = []
    fetch = MemoryFileSystem.cat_file

    def noted(self: MemoryFileSystem, path: str, *args: object) -> object:
        asked.append(path.partition("/projects/7/")[2])
        return fetch(self, path, *args)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", noted)
    shared_projects.refresh(two)
    assert set(asked[:2]) == {"snapshots/z.parquet", "weights/z.json"}
    assert asked[-1] == "winnow.yaml"


def test_a_damaged_note_of_what_was_seen_is_made_anew(folders: tuple[Path, Path]) -> None:
    one, _ = folders
    write(one / "winnow.yaml", "a: 1\n")
    (one / ".shared.json").write_text("{")
    shared_projects.refresh(one)
    assert list(json.loads((one / ".shared.json").read_text())) == ["winnow.yaml"]


def test_a_bucket_that_was_emptied_is_given_what_a_host_knows(folders: tuple[Path, Path]) -> None:
    one, two = folders
    write(one / "winnow.yaml", "a: 1\n")
    write(one / "current.json", "[]")
    (one / "mirror.sqlite").write_text("this host's own")
    MemoryFileSystem.store.clear()
    shared_projects.refresh(one)
    shared_projects.refresh(two)
    assert sorted(path.name for path in two.iterdir() if path.name[0] != ".") == ["current.json", "winnow.yaml"]


def test_a_store_in_a_folder_and_other_files_are_left_alone(
    tmp_path: Path, folders: tuple[Path, Path], store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_projects.put(tmp_path / "rounds" / "abc" / "round.json", "of no project")
    for place in ("", str(tmp_path / "adapters"), f"file://{tmp_path}/adapters"):
        monkeypatch.setenv("WINNOW_ADAPTER_STORE", place)
        shared_projects.put(folders[0] / "winnow.yaml", "a: 1\n")
        shared_projects.remove(folders[0] / "winnow.yaml")
        shared_projects.refresh(folders[0])
        assert shared_projects.ids() == set()
    assert list(MemoryFileSystem.store) == []
    assert list(folders[0].iterdir()) == []
