"""Which model an adapter was trained over: told by its files, without loading them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from label_configs.errors import AdapterError, ModelError
from ml_backend.adapter_files import Adapter

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")  # the first counts
_SETTINGS = ("config.json", "tokenizer_config.json", "chat_template.jinja")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_BLOCKS, _BLOCK = 64, 4096  # of each weights file; and bytes of each block
_HEADER_LIMIT = 100_000_000  # bytes; what the safetensors format allows


@dataclass(frozen=True, slots=True)
class BaseState:
    """A model's files as they are: ``revision`` is a hub model's commit, None of a folder; ``digest`` names the bytes.

    16 hexadecimal digits over the configuration, the tokenizer with its chat template, and of each weights file the
    size, the header (names, shapes and types of all tensors) and 64 blocks of 4 KiB spread evenly over it. So models of
    one shape are told apart whose weights differ throughout, as they do after any training, in a few milliseconds; a
    change between the blocks alone goes unseen. Files that no loader reads, a model card say, change nothing.
    """

    digest: str
    revision: str | None


def base_state(model: str) -> BaseState | None:
    """The state of a model, given as a folder or a hub name; None for a hub model that this machine has not fetched.

    Raises ModelError where its files cannot be read.
    """
    folder, revision = Path(model), None
    if not folder.is_absolute():
        found = _cached(model)
        if found is None:
            return None
        folder, revision = found, found.name
    digest = hashlib.sha256()
    try:
        for name in _names(folder):
            digest.update(f"{name}\0".encode())
            for part in _parts(folder / name):
                digest.update(part)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"model {model}: cannot be read ({type(error).__name__}); download the model whole") from None
    return BaseState(digest.hexdigest()[:16], revision)


def check_base(adapter: Adapter) -> None:
    """Raise AdapterError where the model that the adapter was trained over is no longer the same.

    An adapter of an earlier version, whose manifest does not say, is let be: it loads only where the shapes fit.
    """
    expected, base = adapter.manifest.get("base_digest"), str(adapter.manifest.get("base", ""))
    if expected is None:
        return
    state = base_state(base)
    if state is not None and state.digest != expected:
        revision = adapter.manifest.get("base_revision")
        before = f"the commit {revision}" if revision else "the model's files"
        raise AdapterError(
            f"adapter {adapter.id}: was trained over another state of {base} than is there now; restore {before}, or "
            "roll back and train anew"
        )


def _cached(model: str) -> Path | None:
    """The folder in which the hub's cache holds what a model's name stands for now."""
    try:
        found = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _names(folder: Path) -> Iterator[str]:
    yield from (name for name in _SETTINGS if (folder / name).is_file())
    yield from [name for name in _TOKENIZERS if (folder / name).is_file()][:1]
    if (folder / _WEIGHTS).is_file():
        yield _WEIGHTS
    else:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        yield from sorted({str(name) for name in index["weight_map"].values()})


def _parts(path: Path) -> Iterator[bytes]:
    """What of a file goes into the digest: of settings and tokenizers all."""
    if path.suffix != ".safetensors":
        yield path.read_bytes()
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _HEADER_LIMIT:
            raise ValueError("no safetensors file")
        yield f"{size}\0".encode() + file.read(length)
        start = 8 + length
        for block in range(_BLOCKS):
            file.seek(start + (size - start) * block // _BLOCKS)
            yield file.read(_BLOCK)
