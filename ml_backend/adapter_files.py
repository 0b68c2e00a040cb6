"""What a published adapter consists of, and the digests by which its bytes are known.

adapter_config.json  adapter_model.safetensors   what peft loads; the adapter's id is their digest
manifest.json                                    what it was made from, and a digest of every file beside it
...                                              further artefacts: examples, experiment, prompt, report
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from label_configs.errors import AdapterError

FILES = ("adapter_config.json", "adapter_model.safetensors")
MANIFEST = "manifest.json"
ID = re.compile(r"[0-9a-f]{16}")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RUNS_CODE = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")  # reading them may


@dataclass(frozen=True, slots=True)
class Adapter:
    """A published adapter: its id, its folder on this machine, and the manifest of what it was made from."""

    id: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def files(self) -> dict[str, str]:
        """SHA-256, in hexadecimal, of every file that the manifest names."""
        return {name: entry["sha256"] for name, entry in self.manifest.get("files", {}).items()}

    @property
    def size(self) -> int:
        """Bytes of all files that the manifest names; 0 where it is of an earlier version and names none."""
        return sum(int(entry["bytes"]) for entry in self.manifest.get("files", {}).values())


def digest_of(folder: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 over the adapter's files; AdapterError where one is missing."""
    digest = hashlib.sha256()
    for name in FILES:
        try:
            digest.update(name.encode() + b"\0" + _sha256(folder / name).digest())
        except OSError as error:
            raise AdapterError(f"{folder / name}: cannot be read ({error.strerror}); train the adapter anew") from None
    return digest.hexdigest()[:16]


def index_of(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What a manifest says of the files beside it: ``{name: {"sha256": hexadecimal, "bytes": size}}``."""
    return {
        name: {"sha256": _sha256(folder / name).hexdigest(), "bytes": (folder / name).stat().st_size}
        for name in sorted(names)
    }


def damaged_files(adapter: Adapter) -> list[str]:
    """Names of the files that the manifest lists and that the adapter's folder lacks, or holds with other bytes."""
    return [name for name, digest in adapter.files.items() if not _holds(adapter.folder / name, digest)]


def check_bytes(adapter: Adapter) -> None:
    """Raise AdapterError unless the files that peft loads, and a prompt kept beside them, are what was published."""
    kept = str(adapter.manifest.get("prompt_file") or "")
    if digest_of(adapter.folder) != adapter.id or (kept and not _holds(adapter.folder / kept, adapter.files.get(kept))):
        raise AdapterError(f"adapter {adapter.id}: damaged (its bytes have another digest); roll back or train anew")


def check_extras(extras: Mapping[str, Path]) -> None:
    """Raise AdapterError for a name that is none, or a kind of file that can run code when it is read."""
    for name in extras:
        if not _NAME.fullmatch(name) or name in (*FILES, MANIFEST):
            raise AdapterError(f"{name!r}: no name for a file beside an adapter; use letters, digits, '.', '_' and '-'")
        if name.lower().endswith(_RUNS_CODE):
            raise AdapterError(f"{name}: may run code when it is read; keep it as safetensors, Parquet, JSON or YAML")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in a file. Raises AdapterError where it is missing, or not what ``publish`` wrote."""
    try:
        return parse_manifest(path.read_bytes())
    except (OSError, ValueError):
        raise AdapterError(f"{path}: missing or damaged; roll back or train anew") from None


def parse_manifest(text: bytes) -> dict[str, Any]:
    """A manifest's data; ValueError where the text is none."""
    manifest = json.loads(text)
    if not isinstance(manifest, dict):
        raise ValueError("no JSON object")
    files = manifest.get("files", {})
    listed = isinstance(files, dict) and all(_NAME.fullmatch(name) for name in files)
    if not listed or not all(isinstance(e, dict) and {"sha256", "bytes"} <= e.keys() for e in files.values()):
        raise ValueError("its list of files is none")
    return manifest


def _holds(path: Path, digest: str | None) -> bool:
    try:
        return str(_sha256(path).hexdigest()) == digest
    except OSError:
        return False


def _sha256(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
