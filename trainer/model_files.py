"""Whether a model's files are there and whole, seen without loading them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from label_configs.errors import ModelError, reason
from ml_backend.experiment import Experiment
from ml_backend.model_code import SETTING, runs_own_code
from ml_backend.source_config import SourceKind

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HEADER_LIMIT = 100_000_000  # bytes; what the safetensors format allows


def models_of(experiment: Experiment) -> list[str]:
    """The models that an experiment names, each once: its sources' in their order, then the one that is trained.

    What an API serves is not looked for here, and a named adapter's manifest says its model.
    """
    local = [s for s in experiment.sources if s.kind not in (SourceKind.FAKE, SourceKind.CHAT_API, SourceKind.ADAPTER)]
    named = [*(s.model for s in local), *(s.encoder for s in experiment.sources)]
    if experiment.training:
        named.append(experiment.training.base)
    return list(dict.fromkeys(filter(None, named)))


def check_models(models: Iterable[str], folder: Path) -> None:
    """Raise ModelError at the first model whose files are missing or damaged; ``folder`` is that of winnow.yaml."""
    for model in models:
        check_model(model, folder)


def check_model(model: str, folder: Path = Path()) -> str:
    """What there is to say of a model: a folder, whose files are whole, or a hub name, which is not looked up here.

    Raises ModelError. ``folder`` is where a path without the leading ``./`` would be, so that the slip can be named.
    """
    path = Path(model)
    own_code = f"; its own code is run, {SETTING} names it" if runs_own_code(model) else ""
    if path.is_absolute():
        return _check_folder(path) + own_code
    if (folder / path).is_dir():
        raise ModelError(f"model {model}: is a folder, but is written as a hub name; write ./{model}")
    if not HUB_NAME.fullmatch(model):
        raise ModelError(f"model {model}: neither a folder nor a hub name; write ./folder or owner/name")
    return f"on the Hugging Face hub; will be downloaded at first use{own_code}"


def _check_folder(folder: Path) -> str:
    if not folder.is_dir():
        raise ModelError(f"model {folder}: no such folder; check the path in winnow.yaml, or give a hub name")
    if not (folder / "config.json").is_file():
        raise ModelError(f"model {folder}: has no config.json; download the model whole")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"model {folder}: has no tokenizer ({', '.join(TOKENIZERS[:2])}); download the model whole")
    names = _weight_files(folder)
    for name in names:
        _check_safetensors(folder / name)
    size = sum((folder / name).stat().st_size for name in names) / 1e6
    return f"config, tokenizer and {size:.0f} MB of weights"


def _weight_files(folder: Path) -> list[str]:
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        raise ModelError(f"model {folder}: has no {WEIGHTS}; download the model in the safetensors format")
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{index}: damaged; download the model again") from None
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ModelError(f"model {folder}: {missing[0]} is missing; download the model whole")
    return names


def _check_safetensors(path: Path) -> None:
    """That a safetensors file is as long as its header says: 8 bytes with the header's length, JSON, tensors."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length)) if 0 < length < HEADER_LIMIT else {}
        ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        whole = bool(ends) and path.stat().st_size == 8 + length + max(ends)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({reason(error)}); check its permissions") from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ModelError(f"{path}: damaged or not wholly downloaded; download it again")
