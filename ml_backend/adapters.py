"""Content-addressed adapter store: publish, verify, current, promote, roll back.

    <root>/<adapter id>/adapter_model.safetensors  adapter_config.json  manifest.json
    <project folder>/current.json                  {"adapters": [oldest, ..., current]}

An adapter's id is the digest of its two files, so it names its bytes. Publishing writes to a temporary folder beside
the target, verifies, syncs and renames: a reader sees a whole adapter or none.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from label_configs.errors import AdapterError
from ml_backend.atomic import sync

log = logging.getLogger(__name__)

FILES = ("adapter_config.json", "adapter_model.safetensors")
MANIFEST = "manifest.json"
ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Adapter:
    """A published adapter: its id, its folder, and the manifest of what it was made from."""

    id: str
    folder: Path
    manifest: Mapping[str, Any]


def digest_of(folder: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 over the adapter's files; AdapterError where one is missing."""
    digest = hashlib.sha256()
    for name in FILES:
        try:
            with (folder / name).open("rb") as file:
                digest.update(name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise AdapterError(f"{folder / name}: cannot be read ({error.strerror}); train the adapter anew") from None
    return digest.hexdigest()[:16]


class AdapterStore:
    """The adapters of one installation, shared by its projects."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, folder: Path, manifest: Mapping[str, Any]) -> Adapter:
        """Copy a saved adapter into the store and return it; publishing the same bytes again changes nothing."""
        adapter_id = digest_of(folder)
        target = self.root / adapter_id
        if target.exists():
            try:
                return self.get(adapter_id)
            except AdapterError as error:
                log.warning("%s; published anew from %s", error, folder)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".publish-", dir=self.root))
        except OSError as error:
            raise AdapterError(
                f"{self.root}: cannot be written ({error.strerror}); make room or set WINNOW_HOME"
            ) from None
        try:
            for name in FILES:
                shutil.copyfile(folder / name, temporary / name)
            (temporary / MANIFEST).write_text(json.dumps(dict(manifest), indent=2, sort_keys=True), encoding="utf-8")
            if digest_of(temporary) != adapter_id:
                raise AdapterError(f"adapter {adapter_id}: the copy differs from what was trained; check the disk")
            for path in (*temporary.iterdir(), temporary):
                sync(path)
            temporary.chmod(0o755)
            self._set_damaged_aside(target)
            os.rename(temporary, target)
            sync(self.root)
        except OSError as error:
            if target.exists():  # another process published the same bytes first
                return self.get(adapter_id)
            raise AdapterError(f"{target}: cannot be written ({error.strerror}); make room and train again") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return self.get(adapter_id)

    def _set_damaged_aside(self, target: Path) -> None:
        """Make way where the target holds other bytes than its name says; onto a whole one, renaming fails."""
        if target.exists() and not _is_whole(target):
            os.rename(target, Path(tempfile.mkdtemp(prefix=".damaged-", dir=self.root)) / target.name)

    def get(self, adapter_id: str) -> Adapter:
        """The adapter with this id, its bytes checked. Raises AdapterError when it is missing or damaged."""
        adapter = self.described(adapter_id)
        if digest_of(adapter.folder) != adapter_id:
            raise AdapterError(
                f"adapter {adapter_id}: damaged (its bytes have another digest); roll back or train anew"
            )
        return adapter

    def described(self, adapter_id: str) -> Adapter:
        """The adapter with this id, its bytes not read: for those who ask what it is, not for those who load it."""
        if not ID.fullmatch(adapter_id):
            raise AdapterError(f"adapter {adapter_id!r}: no adapter id; see `winnow adapters`")
        folder = self.root / adapter_id
        if not folder.is_dir():
            raise AdapterError(f"adapter {adapter_id}: not in the store {self.root}; see `winnow adapters`")
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if not isinstance(manifest, dict):
                raise ValueError("no JSON object")
        except (OSError, ValueError):
            raise AdapterError(f"{folder / MANIFEST}: missing or damaged; roll back or train anew") from None
        return Adapter(adapter_id, folder, manifest)

    def ids(self) -> list[str]:
        """Ids of all published adapters, oldest first."""
        folders = [p for p in self.root.glob("*") if p.is_dir() and ID.fullmatch(p.name)]
        return [p.name for p in sorted(folders, key=lambda p: (p.stat().st_mtime, p.name))]


def store_of(home: Path) -> AdapterStore:
    """The adapter store of an installation."""
    return AdapterStore(home / "adapters")


def history(project_folder: Path) -> list[str]:
    """Ids of the adapters promoted in a project, oldest first, the current one last."""
    path = project_folder / "current.json"
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))["adapters"]
        if not (isinstance(ids, list) and all(isinstance(i, str) for i in ids)):
            raise TypeError("no list of ids")
        return ids
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise AdapterError(f"{path}: damaged; delete it and promote an adapter again") from None


def current(project_folder: Path) -> str | None:
    """Id of the project's current adapter, None before the first promotion."""
    ids = history(project_folder)
    return ids[-1] if ids else None


def promote(project_folder: Path, adapter: Adapter) -> None:
    """Make an adapter the project's current one, in one step."""
    with _alone(project_folder):
        if current(project_folder) != adapter.id:
            _write_history(project_folder, [*history(project_folder), adapter.id])


def roll_back(project_folder: Path) -> str | None:
    """Return to the adapter before the current one and give its id; None is the base model."""
    with _alone(project_folder):
        before = history(project_folder)[:-1]
        _write_history(project_folder, before)
    return before[-1] if before else None


@contextmanager
def _alone(project_folder: Path) -> Iterator[None]:
    """One reader-then-writer of the history at a time, over all processes; AdapterError where it cannot be written."""
    try:
        with (project_folder / ".current.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise AdapterError(
            f"{project_folder}: cannot be written ({error.strerror}); make room or check its owner"
        ) from None


def _write_history(project_folder: Path, ids: list[str]) -> None:
    temporary = project_folder / ".current.json"
    temporary.write_text(json.dumps({"adapters": ids}), encoding="utf-8")
    sync(temporary)
    os.replace(temporary, project_folder / "current.json")
    sync(project_folder)


def _is_whole(folder: Path) -> bool:
    try:
        return digest_of(folder) == folder.name
    except AdapterError:
        return False
