"""Content-addressed adapter store: publish, verify, describe, remove.

    <root>/<adapter id>/adapter_model.safetensors  adapter_config.json  manifest.json  ...

An adapter's id is the digest of the two files that peft loads, so it names its bytes. Publishing writes to a temporary
folder beside the target, verifies, syncs and renames: a reader sees a whole adapter or none. The store is a folder, or
a URL that several hosts reach (``WINNOW_ADAPTER_STORE``): then ``root`` is this machine's copy, to which an adapter is
fetched once, and what was fetched is at hand when the network is not. Which adapter is current is the project's own
record (see ``promotions``).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from label_configs.errors import AdapterError
from ml_backend.adapter_files import (
    FILES,
    ID,
    MANIFEST,
    Adapter,
    check_bytes,
    check_extras,
    damaged_files,
    digest_of,
    index_of,
    parse_manifest,
    read_manifest,
)
from ml_backend.adapter_remote import RemoteAdapters, is_remote
from ml_backend.atomic import sync
from ml_backend.log_events import LogEvent, tell
from ml_backend.settings import Places

log = logging.getLogger(__name__)

CACHE = "adapter-cache"  # in the home folder, where the store is a URL
_DESCRIBED = ".described"  # in it, what was asked of adapters that nobody has loaded here
_TEMPORARY = (".publish-", ".fetch-", ".damaged-", ".removed-")  # begin the names of what a crash may leave behind


class AdapterStore:
    """The adapters of one installation, shared by its projects.

    ``place`` is a folder or an fsspec URL; ``home`` the installation's folder, by default the one that holds ``place``.
    Raises ConfigError or EnvironmentFault, at the first use, for a URL that nothing here can read.
    """

    def __init__(self, place: Path | str, *, home: Path | None = None) -> None:
        text = str(place)
        self._url = text if is_remote(text) else None
        if self._url is None:
            self.root = Path(text.partition("://")[2] if "://" in text else text)
            self.home = home or self.root.parent
        elif home is None:
            raise ValueError("a store under a URL needs a home to fetch adapters to")
        else:
            self.root, self.home = home / CACHE, home

    @cached_property
    def _remote(self) -> RemoteAdapters | None:
        return RemoteAdapters(self._url) if self._url else None

    def __str__(self) -> str:
        return self._remote.shown if self._remote else str(self.root)

    def publish(self, folder: Path, manifest: Mapping[str, Any], extras: Mapping[str, Path] | None = None) -> Adapter:
        """Copy a saved adapter into the store and return it; publishing the same bytes again changes nothing.

        ``extras`` are files to keep beside it, by the names they get there. The manifest gets a ``files`` entry with
        every file's digest. Raises AdapterError when the store cannot be written, and leaves no part there then.
        """
        extras = extras or {}
        check_extras(extras)
        adapter_id = digest_of(folder)
        try:
            if self._remote is None or self._remote.is_whole(adapter_id):
                return self.get(adapter_id)
        except AdapterError as error:
            if (self.root / adapter_id).exists():
                tell(log, LogEvent.ADAPTER_REPUBLISHED, reason=error, folder=folder)
        sources = {name: folder / name for name in FILES} | dict(extras)
        with self._building(".publish-", adapter_id) as temporary:
            for name, source in sources.items():
                shutil.copyfile(source, temporary / name)
            whole = {**manifest, "files": index_of(temporary, sources)}
            text = json.dumps(whole, indent=2, sort_keys=True)
            (temporary / MANIFEST).write_text(text, encoding="utf-8")
            if digest_of(temporary) != adapter_id:
                raise AdapterError(f"adapter {adapter_id}: the copy differs from what was trained; check the disk")
            if self._remote:
                self._remote.upload(Adapter(adapter_id, temporary, whole))
        return self.get(adapter_id)

    @contextmanager
    def _building(self, prefix: str, adapter_id: str) -> Iterator[Path]:
        """A folder to put an adapter together in; when the block ends it is the adapter, when it fails it is gone."""
        target = self.root / adapter_id
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=self.root))
        except OSError as error:
            raise AdapterError(
                f"{self.root}: cannot be written ({error.strerror}); make room, or set WINNOW_HOME or "
                "WINNOW_ADAPTER_STORE"
            ) from None
        try:
            yield temporary
            for path in (*temporary.iterdir(), temporary):
                sync(path)
            temporary.chmod(0o755)
            self._set_damaged_aside(target)
            os.rename(temporary, target)
            sync(self.root)
        except OSError as error:
            if not _is_whole(target):  # else another process was first
                raise AdapterError(f"{target}: cannot be written ({error.strerror}); make room and try again") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _set_damaged_aside(self, target: Path) -> None:
        """Make way where the target holds other bytes than its name says; onto a whole one, renaming fails."""
        if target.exists() and not _is_whole(target):
            os.rename(target, Path(tempfile.mkdtemp(prefix=".damaged-", dir=self.root)) / target.name)

    def get(self, adapter_id: str) -> Adapter:
        """The adapter with this id, on this machine, its bytes checked: for those who load it.

        Fetches it where the store is a URL and this machine has no whole copy. Raises AdapterError when it is missing
        or damaged, or cannot be fetched.
        """
        adapter = self.described(adapter_id)
        try:
            check_bytes(adapter)
        except AdapterError:
            if self._remote is None:
                raise
        else:
            return adapter
        self._fetch(self._remote, adapter)
        return self.described(adapter_id)

    def _fetch(self, remote: RemoteAdapters, adapter: Adapter) -> None:
        with self._building(".fetch-", adapter.id) as temporary:
            fetched = Adapter(adapter.id, temporary, adapter.manifest)
            remote.download(fetched)
            shutil.copyfile(adapter.folder / MANIFEST, temporary / MANIFEST)
            if (damaged := damaged_files(fetched)) or digest_of(temporary) != adapter.id:
                raise AdapterError(
                    f"adapter {adapter.id}: {', '.join(damaged) or 'a file'} came damaged from {self}; roll back or "
                    "train anew"
                )
        tell(log, LogEvent.ADAPTER_FETCHED, adapter=adapter.id, store=self)

    def described(self, adapter_id: str) -> Adapter:
        """The adapter with this id, its bytes not read: for those who ask what it is, not for those who load it.

        Its folder holds the manifest and the prompt, and may hold nothing else as yet. Raises AdapterError when it is
        not in the store, or its manifest is damaged.
        """
        if not ID.fullmatch(adapter_id):
            raise AdapterError(f"adapter {adapter_id!r}: no adapter id; see `winnow adapters list`")
        for folder in (self.root / adapter_id, self.root / _DESCRIBED / adapter_id):
            if folder.is_dir():
                return Adapter(adapter_id, folder, read_manifest(folder / MANIFEST))
        text = self._remote.manifest(adapter_id) if self._remote else None
        if text is None or self._remote is None:
            raise AdapterError(f"adapter {adapter_id}: not in the store {self}; see `winnow adapters list`")
        try:
            manifest = parse_manifest(text)
        except ValueError:
            raise AdapterError(
                f"adapter {adapter_id}: its {MANIFEST} in {self} is damaged; roll back or train anew"
            ) from None
        return self._keep_description(self._remote, Adapter(adapter_id, Path(), manifest), text)

    def _keep_description(self, remote: RemoteAdapters, adapter: Adapter, text: bytes) -> Adapter:
        folder = self.root / _DESCRIBED / adapter.id
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".fetch-", dir=self.root))
            try:
                (temporary / MANIFEST).write_bytes(text)
                remote.download(Adapter(adapter.id, temporary, adapter.manifest), only=".j2")
                temporary.chmod(0o755)
                os.rename(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            if not folder.is_dir():  # else another process was first
                raise AdapterError(
                    f"{folder}: cannot be written ({error.strerror}); make room, or set WINNOW_HOME"
                ) from None
        return Adapter(adapter.id, folder, adapter.manifest)

    def ids(self) -> list[str]:
        """Ids of all published adapters, oldest first."""
        if self._remote:
            return self._remote.ids()
        folders = [p for p in self.root.glob("*") if p.is_dir() and ID.fullmatch(p.name)]
        return [p.name for p in sorted(folders, key=lambda p: (p.stat().st_mtime, p.name))]

    def remove(self, adapter_id: str) -> None:
        """Remove an adapter: to readers it is gone in one step. Raises AdapterError where it cannot be removed."""
        if self._remote:
            self._remote.remove(adapter_id)
        for folder in (self.root / adapter_id, self.root / _DESCRIBED / adapter_id):
            if folder.is_dir():
                try:
                    os.rename(folder, Path(tempfile.mkdtemp(prefix=".removed-", dir=self.root)) / adapter_id)
                except OSError as error:
                    raise AdapterError(f"{folder}: cannot be removed ({error.strerror}); check its owner") from None
        for path in self.root.glob(".removed-*"):
            shutil.rmtree(path, ignore_errors=True)

    def leftovers(self, before: datetime) -> dict[str, int]:
        """What crashes left in the store before a time, no adapter of it: name and bytes."""
        found = [p for prefix in _TEMPORARY for p in self.root.glob(f"{prefix}*")]
        old = [p for p in found if datetime.fromtimestamp(p.stat().st_mtime, UTC) < before]
        local = {p.name: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) for p in old}
        return local | (self._remote.leftovers(before) if self._remote else {})

    def remove_leftover(self, name: str) -> None:
        """Remove what ``leftovers`` named."""
        if name.startswith(_TEMPORARY):
            shutil.rmtree(self.root / name, ignore_errors=True)
        elif self._remote:
            self._remote.remove(name)


def store_of(home: Path) -> AdapterStore:
    """The adapter store of an installation: what ``WINNOW_ADAPTER_STORE`` names, else ``adapters`` in its folder."""
    return AdapterStore(Places(home=home).adapter_store_url, home=home)


def _is_whole(folder: Path) -> bool:
    try:
        return digest_of(folder) == folder.name
    except AdapterError:
        return False
