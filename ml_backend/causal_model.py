"""A causal language model in memory, with any number of LoRA adapters over the one base."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from label_configs.errors import AdapterError, ModelError
from ml_backend.devices import DeviceFacts

log = logging.getLogger(__name__)
transformers_logging.disable_progress_bar()


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
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"model {model}: cannot be loaded ({reason}); give a folder with config, tokenizer and "
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
                self._peft = PeftModel.from_pretrained(self.base, str(folder), adapter_name=adapter_id)
            else:
                self._peft.load_adapter(str(folder), adapter_name=adapter_id)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise AdapterError(
                f"adapter {adapter_id}: does not load over {self.name} ({str(error).splitlines()[0]}); train it anew"
            ) from None
        self._peft.eval()
        log.info("loaded adapter %s over %s", adapter_id, self.name)
