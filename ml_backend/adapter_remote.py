"""Adapters in a place that several hosts reach: any file system that fsspec knows, such as ``s3://bucket/adapters``.

    <url>/<adapter id>/adapter_config.json  adapter_model.safetensors   as in a folder
    <url>/<adapter id>/<digest>-<name>                                  what lies beside them, named by its bytes
    <url>/<adapter id>/manifest.json                                    written last: the adapter exists with it

A reader looks for the manifest, so it sees a whole adapter or none. Two that publish the same adapter write the same
bytes under the same names, and whichever manifest stays names files that are there. Credentials come from where the
file system takes them (for S3 the ``AWS_*`` variables or its profile files) and are never told.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fsspec.core import url_to_fs

from label_configs.errors import AdapterError, ConfigError, EnvironmentFault, reason
from ml_backend.adapter_files import FILES, ID, MANIFEST, Adapter, parse_manifest

_BLOCK = 1 << 20  # bytes read at once
# Of S3, whose own would have a host wait for minutes before it goes on with what it knows.
_S3_LIMITS = {"connect_timeout": 3, "read_timeout": 10, "retries": {"total_max_attempts": 2}}
# What the file systems' libraries raise for networks and credentials, beside OSError; a library that is not loaded
# raises nothing.
_FOREIGN = (
    ("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"), ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"), ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
)  # fmt: skip


class RemoteAdapters:
    """The adapters under a URL. Every method raises AdapterError, of one line, where the place cannot be used."""

    def __init__(self, url: str) -> None:
        self.shown = without_secrets(url)
        self._fs, self._root = open_store(url)

    def ids(self) -> list[str]:
        """Ids of the published adapters, oldest first."""
        with self._faults("cannot be listed"):
            found = self._fs.glob(f"{self._root}/*/{MANIFEST}", detail=True)
        times = {path.rsplit("/", 2)[1]: written(info) for path, info in found.items()}
        return sorted(filter(ID.fullmatch, times), key=lambda one: (times[one], one))

    def manifest(self, adapter_id: str) -> bytes | None:
        """The text of an adapter's manifest; None where there is no such adapter."""
        with self._faults(f"adapter {adapter_id} cannot be read"):
            try:
                return bytes(self._fs.cat_file(self._path(adapter_id, MANIFEST)))
            except FileNotFoundError:
                return None

    def is_whole(self, adapter_id: str) -> bool:
        """Whether an adapter is there, with the bytes that its manifest names. Reads them all."""
        text = self.manifest(adapter_id)
        if text is None:
            return False
        try:
            adapter = Adapter(adapter_id, Path(), parse_manifest(text))
        except ValueError:
            return False
        with self._faults(f"adapter {adapter_id} cannot be read"):
            return set(FILES) <= adapter.files.keys() and all(
                self._digest(self._path(adapter_id, name, digest)) == digest for name, digest in adapter.files.items()
            )

    def upload(self, adapter: Adapter) -> None:
        """Write an adapter from its folder, each file read back and compared, the manifest last."""
        with self._faults(f"adapter {adapter.id} cannot be written"):
            for name, digest in adapter.files.items():
                path = self._path(adapter.id, name, digest)
                self._fs.put_file(str(adapter.folder / name), path)
                if self._digest(path) != digest:
                    raise AdapterError(
                        f"adapter store {self.shown}: {name} of adapter {adapter.id} came back changed; publish again"
                    )
            self._fs.pipe_file(self._path(adapter.id, MANIFEST), (adapter.folder / MANIFEST).read_bytes())

    def download(self, adapter: Adapter, *, only: str = "") -> None:
        """Fetch an adapter's files into its folder, which exists; ``only`` those whose names end with it."""
        with self._faults(f"adapter {adapter.id} cannot be fetched"):
            for name, digest in adapter.files.items():
                if name.endswith(only):
                    self._fs.get_file(self._path(adapter.id, name, digest), str(adapter.folder / name))

    def remove(self, adapter_id: str) -> None:
        """Remove an adapter, its manifest first; what is gone already is no fault."""
        with self._faults(f"adapter {adapter_id} cannot be removed"):
            names = [path.rpartition("/")[2] for path in self._fs.find(self._path(adapter_id, ""))]
            for name in sorted(names, key=lambda name: name != MANIFEST):
                try:
                    self._fs.rm_file(self._path(adapter_id, name))
                except FileNotFoundError:
                    continue

    def leftovers(self, before: datetime) -> dict[str, int]:
        """Ids without a manifest, as a crash leaves them, whose files were all written before a time; their bytes."""
        newest: dict[str, datetime] = {}
        sizes: dict[str, int] = {}
        with self._faults("cannot be listed"):
            found: dict[str, Any] = self._fs.find(self._root, detail=True)
        for path, info in found.items():
            name = path.removeprefix(self._root).strip("/").split("/")[0]
            newest[name] = max(newest.get(name, datetime.min.replace(tzinfo=UTC)), written(info))
            sizes[name] = sizes.get(name, 0) + int(info.get("size") or 0)
        published = {path.rsplit("/", 2)[1] for path in found if path.endswith(f"/{MANIFEST}")}
        return {name: sizes[name] for name, time in newest.items()
                if ID.fullmatch(name) and name not in published and time < before}  # fmt: skip

    def _path(self, adapter_id: str, name: str, digest: str = "") -> str:
        own = name in FILES or not digest
        return f"{self._root}/{adapter_id}/{name if own else f'{digest[:16]}-{name}'}"

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        try:
            with self._fs.open(path, "rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        except FileNotFoundError:
            return ""
        return digest.hexdigest()

    def _faults(self, what: str) -> AbstractContextManager[None]:
        return faults(self.shown, what)


def is_remote(place: str) -> bool:
    """Whether it is a URL that several hosts may reach, and no folder of this one."""
    scheme, separator, _ = place.partition("://")
    return bool(separator) and scheme not in ("file", "local")


def open_url(url: str) -> tuple[Any, str]:
    """The file system of a URL that processes share, and the path in it. Raises ImportError or ValueError as fsspec."""
    limits = {"config_kwargs": _S3_LIMITS} if url.startswith(("s3:", "s3a:")) else {}
    # A list of names kept from earlier would hide what another process wrote since.
    file_system, root = url_to_fs(url, use_listings_cache=False, **limits)
    return file_system, root


def open_store(url: str) -> tuple[Any, str]:
    """The file system of a store's URL, and the path in it. Raises ConfigError or EnvironmentFault for one unusable."""
    try:
        file_system, root = open_url(url)
    except ImportError as error:
        extra = "; pip install 'label-studio-winnow[s3]'" if url.startswith(("s3:", "s3a:")) else ""
        raise EnvironmentFault(f"WINNOW_ADAPTER_STORE {without_secrets(url)}: {reason(error)}{extra}") from None
    except ValueError as error:
        raise ConfigError(
            f"WINNOW_ADAPTER_STORE {without_secrets(url)}: {reason(error)}; give a folder or a URL that fsspec knows"
        ) from None
    return file_system, root.rstrip("/")


@contextmanager
def faults(shown: str, what: str) -> Iterator[None]:
    """Turn what file systems raise into an AdapterError that says ``what`` cannot be done in the store ``shown``."""
    try:
        yield
    except network_errors() as error:
        raise AdapterError(
            f"adapter store {shown}: {what} ({reason(error)}); check the network, WINNOW_ADAPTER_STORE and "
            "its credentials, and try again"
        ) from None


def without_secrets(url: str) -> str:
    """A URL less user name, password and query, as it may stand in logs."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def network_errors() -> tuple[type[Exception], ...]:
    """What file systems raise for networks and credentials."""
    found = [getattr(sys.modules[module], name) for module, name in _FOREIGN if module in sys.modules]
    return (OSError, *found)


def written(info: Mapping[str, Any]) -> datetime:
    """When a file was written, by whatever name its file system gives the time."""
    time = info.get("LastModified") or info.get("created") or info.get("mtime") or info.get("last_modified")
    if isinstance(time, int | float):
        return datetime.fromtimestamp(time, UTC)
    if not isinstance(time, datetime):
        return datetime.now(UTC)  # unknown: nothing is taken for old
    return time if time.tzinfo else time.replace(tzinfo=UTC)
