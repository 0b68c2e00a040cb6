"""What all hosts must know of a project, where they share an adapter store under a URL.

    <store>/projects/<id>/<name>    files of the project's folder, as ``SHARED`` names them

With a store in a folder nothing here does anything: the project's folder is the record, and one host has it. Under a
URL the store is the record and a host's folder its copy: whoever changes a file writes it there first, and whoever
loads the project brings the copy up to date, by one listing where nothing changed. Redis takes no part, so it outlives
a wiped Redis. Of two hosts that change one file at the same moment the later stands, as with two people at one screen.

Every function raises AdapterError, of one line, where the store cannot be used, and EnvironmentFault where the host's
own folder cannot.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from label_configs.errors import AdapterError, EnvironmentFault
from ml_backend.adapter_remote import faults, is_remote, open_store, without_secrets, written
from ml_backend.atomic import replacing, write_atomically
from ml_backend.log_events import LogEvent, tell
from ml_backend.settings import Places

log = logging.getLogger(__name__)

SHARED = (
    "winnow.yaml", "codebook.yaml", "team_form.yaml", "label_config.xml", "current.json", "standing.json",
    "weights/*.json", "snapshots/*.parquet", "snapshots/*.jsonl", "snapshots/*.json", "rounds/seen.json",
    "rounds/*/round.json",
)  # fmt: skip
# They name other files, or say that a project is whole: written and fetched after the others.
_LAST = ("current.json", "latest.json", "pushed.json", "seen.json", "winnow.yaml")
_SEEN, _LOCK = ".shared.json", ".shared.lock"


class _Shared:
    """The files of one project in the store; ``name`` is a path below the project's folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._fs, root = open_store(url)
        self._root = f"{root}/projects/{folder.name}"
        self._shown, self._what = without_secrets(url), f"project {folder.name}"

    def stamps(self) -> dict[str, str]:
        """What is there: by name, what is another whenever the file was written anew."""
        with faults(self._shown, f"{self._what} cannot be listed"):
            try:
                found = self._fs.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        return {
            path.removeprefix(self._fs._strip_protocol(self._root)).lstrip("/"):
                str(info.get("ETag") or f"{written(info).isoformat()} {info.get('size')}")
            for path, info in found.items()
        }  # fmt: skip

    def put(self, name: str, content: bytes) -> None:
        with faults(self._shown, f"{name} of {self._what} cannot be written"):
            self._fs.pipe_file(f"{self._root}/{name}", content)

    def get(self, name: str) -> bytes | None:
        """The file, None where it is gone meanwhile."""
        with faults(self._shown, f"{name} of {self._what} cannot be read"):
            try:
                return bytes(self._fs.cat_file(f"{self._root}/{name}"))
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        with faults(self._shown, f"{name} of {self._what} cannot be removed"):
            try:
                self._fs.rm_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return


def put(path: Path, content: str | None = None) -> None:
    """Have all hosts know a file of a project's folder, by ``content`` or as it lies there; to be called first.

    Of other files, and with a store in a folder, nothing is done.
    """
    if (place := _place(path)) is not None:
        shared, name = place
        shared.put(name, path.read_bytes() if content is None else content.encode())
        with _alone(shared.folder):  # so that it is gone here, too, when another host removes it
            write_atomically(shared.folder / _SEEN, json.dumps(_read_seen(shared.folder) | {name: ""}))


def write(path: Path, text: str) -> None:
    """Write a file of a project's folder: for all hosts first, then here."""
    put(path, text)
    write_atomically(path, text)


def remove(path: Path) -> None:
    """Have all hosts forget a file of a project's folder; to be called before it is removed there."""
    if (place := _place(path)) is not None:
        shared, name = place
        shared.remove(name)


def forget(path: Path) -> None:
    """Remove a file of a project's folder: for all hosts first, then here. One that is gone is no fault."""
    remove(path)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be removed ({error.strerror}); check the folder's rights") from None


def refresh(folder: Path) -> None:
    """Bring this host's copy of a project up to date; of one that the store does not know, put it there.

    The latter is how an installation with a store in a folder becomes one of several hosts.
    """
    if (place := _place(folder / _SEEN)) is None:
        return
    shared, _ = place
    found = shared.stamps()
    if found and found == _read_seen(folder):
        return
    if not found and not (folder / "winnow.yaml").exists():
        return
    with _alone(folder):
        if not found:
            _adopt(shared, folder)
        seen = _read_seen(folder)
        while (found := shared.stamps()) != seen:
            _fetch(shared, folder, seen, found)
            write_atomically(folder / _SEEN, json.dumps(found))
            seen = found


def ids() -> set[int]:
    """Ids of the projects that the store knows; none with a store in a folder."""
    if (url := _url()) is None:
        return set()
    fs, root = open_store(url)
    with faults(without_secrets(url), "projects cannot be listed"):
        try:
            names = [str(path).rstrip("/").rpartition("/")[2] for path in fs.ls(f"{root}/projects", detail=False)]
        except FileNotFoundError:
            return set()
    return {int(name) for name in names if name.isdigit()}


def _place(path: Path) -> tuple[_Shared, str] | None:
    """The store's files of the project that a path belongs to, and the path's name there."""
    if (url := _url()) is None:
        return None
    for folder in path.parents:
        if folder.name.isdigit() and folder.parent.name == "projects":
            return _Shared(url, folder), path.relative_to(folder).as_posix()
    return None


def _url() -> str | None:
    return url if is_remote(url := Places().adapter_store_url) else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of this host at a time brings the copy up to date."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise AdapterError(f"{folder}: cannot be written ({error.strerror}); make room or check its owner") from None


def _adopt(shared: _Shared, folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for pattern in SHARED for path in folder.glob(pattern)}
    for name in _in_order(names):
        shared.put(name, (folder / name).read_bytes())
    tell(log, LogEvent.PROJECT_SHARED, folder=folder)


def _fetch(shared: _Shared, folder: Path, seen: Mapping[str, str], found: Mapping[str, str]) -> None:
    for name in _in_order({name for name, stamp in found.items() if seen.get(name) != stamp}):
        if (content := shared.get(name)) is not None:
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
    for name in seen.keys() - found.keys():
        (folder / name).unlink(missing_ok=True)


def _in_order(names: set[str]) -> list[str]:
    """What is named before what names it."""
    return sorted(names, key=lambda name: (name.endswith(_LAST), name))


def _read_seen(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / _SEEN).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # never, or damaged: all is fetched anew
        return {}
