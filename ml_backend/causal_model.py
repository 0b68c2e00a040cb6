"""A causal language model in memory, with any number of LoRA adapters over the one base."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from label_configs.errors import AdapterError, ModelError, reason
from ml_backend.devices import DeviceFacts

log = logging.getLogger(__name__)
transformers_logging.disable_progress_bar()

# What transformers, safetensors and torch raise for files that are missing, damaged or of another shape.
LOADING_ERRORS = (OSError, ValueError, ImportError, RuntimeError, SafetensorError)


class CausalModel:
    """Base model, tokenizer and the adapters loaded so far.

    ``model`` is a folder or a hub name. Raises ModelError when the files are missing or do not load.
    """

    def __init__(self, model: str, facts: DeviceFacts) -> None:
        self.name = model
        self.facts = facts
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
            loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=facts.dtype, use_safetensors=True)
        except LOADING_ERRORS as error:
            raise ModelError(
                f"model {model}: cannot be loaded ({reason(error)}); give a folder with config, tokenizer and "
                "safetensors files, or a hub name this machine can reach"
            ) from None
        self.base: Any = loaded.to(facts.kind).eval()
        self._peft: PeftModel | None = None
        log.info("loaded model %s on %s as %s", model, facts.kind, facts.dtype_name)

    @contextmanager
    def using(self, adapter_id: str | None, folder: Path | None = None) -> Iterator[Any]:
        """The model with one adapter active, or none; yields it ready for inference.

        Raises AdapterError when the adapter does not fit the base.
        """
        if adapter_id is None:
            if self._peft is None:
                yield self.base
            else:
                with self._peft.disable_adapter():
                    yield self.base
            return
        with torch.inference_mode(False):  # weights made in it could never be unloaded
            self._load(adapter_id, folder)
        assert self._peft is not None
        self._peft.set_adapter(adapter_id)
        yield self.base

    def _load(self, adapter_id: str, folder: Path | None) -> None:
        if self._peft is not None and adapter_id in self._peft.peft_config:
            return
        if folder is None:
            raise AdapterError(f"adapter {adapter_id}: not loaded, and no folder was given to load it from")
        try:
            if self._peft is None:
                with adapter_errors(adapter_id, self.name):
                    config = PeftConfig.from_pretrained(str(folder), inference_mode=True)
                    self._peft = PeftModel(self.base, config, adapter_name=adapter_id)
            load_adapter(self._peft, adapter_id, folder, self.name)
        except AdapterError:
            self.unload(adapter_id)  # what was loaded in part would change the base's answers
            raise
        self._peft.eval()
        log.info("loaded adapter %s over %s", adapter_id, self.name)

    def unload(self, adapter_id: str) -> None:
        """Forget an adapter; nothing happens when it is not loaded."""
        if self._peft is None or adapter_id not in self._peft.peft_config:
            return
        others = [name for name in self._peft.peft_config if name != adapter_id]
        if others:
            self._peft.set_adapter(others[-1])
            self._peft.delete_adapter(adapter_id)
        else:
            self._peft.unload()
            self._peft = None


@contextmanager
def adapter_errors(adapter_id: str, base: str) -> Iterator[None]:
    """Turn what peft raises for an adapter that does not fit into AdapterError."""
    try:
        yield
    except (*LOADING_ERRORS, KeyError, TypeError) as error:
        raise AdapterError(
            f"adapter {adapter_id}: does not load over {base} ({reason(error)}); train it anew"
        ) from None


def load_adapter(peft: PeftModel, adapter_id: str, folder: Path, base: str) -> None:
    """Load an adapter's weights into ``peft``. Raises AdapterError unless every one has its place, and every place one.

    peft itself passes over layers that the adapter or the base lacks, and goes on with random or no weights there.
    """
    with adapter_errors(adapter_id, base):
        device = str(next(peft.parameters()).device)
        found: Any = peft.load_adapter(str(folder), adapter_name=adapter_id, torch_device=device)
    if strange := [*found.missing_keys, *found.unexpected_keys]:
        raise AdapterError(
            f"adapter {adapter_id}: was made for another base than {base} ({len(strange)} weights have no counterpart, "
            f"such as {strange[0]}); train it anew"
        )
