"""A causal language model in memory, with any number of LoRA adapters over the one base."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from label_configs.errors import AdapterError, ModelError, reason
from ml_backend.devices import DeviceFacts
from ml_backend.layout import Layout, over_prefix, prefix_cache, to_device
from ml_backend.log_events import LogEvent, tell
from ml_backend.logits import logits_of
from ml_backend.model_code import loading_fault, runs_own_code
from ml_backend.source_config import Weights
from ml_backend.token_tree import TokenTree

log = logging.getLogger(__name__)
transformers_logging.disable_progress_bar()
transformers_logging.disable_default_handler()  # its lines go where all others do
transformers_logging.enable_propagation()

# Of ``sharing_error``, by rounding; kernels for quantised weights round by the batch's shape.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
QUANTISED_TOLERANCE = 0.2
HAVE_FILES = "give a folder with config, tokenizer and safetensors files, or a hub name this machine can reach"
# What transformers, safetensors and torch raise for files that are missing, damaged or of another shape.
LOADING_ERRORS = (OSError, ValueError, ImportError, RuntimeError, SafetensorError)


class CausalModel:
    """Base model, tokenizer and the adapters loaded so far.

    ``model`` is a folder or a hub name. Raises ModelError when the files are missing or do not load, or when
    ``weights`` cannot be had on this machine.
    """

    def __init__(self, model: str, facts: DeviceFacts, weights: Weights = Weights.AUTO) -> None:
        self.name = model
        self.facts = facts
        dtype, bits = held_as(weights, facts)
        try:
            own_code = runs_own_code(model)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=own_code)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                model,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=own_code,
                quantization_config=bits,
                device_map=facts.kind if bits else None,
            )
        except LOADING_ERRORS as error:
            raise loading_fault(model, error, HAVE_FILES) from None
        self.base: Any = (loaded if bits else loaded.to(facts.kind)).eval()
        self._quantised = bits is not None
        self._peft: PeftModel | None = None
        tell(log, LogEvent.MODEL_LOADED, model=model, device=facts.kind, weights=weights.value if bits else dtype)

    @cached_property
    def shares_prefix(self) -> bool:
        """Whether the model gives the same logits with a shared prefix and a tree of continuations as without.

        Measured once on a few tokens: a model with recurrent layers, or one that reads masks in its own way, does not.
        """
        with self.using(None) as model:
            shares = can_share(model, quantised=self._quantised)
        if not shares:
            tell(log, LogEvent.PREFIX_NOT_SHARED, model=self.name)
        return shares

    @contextmanager
    def using(self, adapter_id: str | None, folder: Callable[[], Path] | Path | None = None) -> Iterator[Any]:
        """The model with one adapter active, or none; yields it ready for inference.

        ``folder`` is where its files lie, or a function that says so, called only where they have to be loaded. Raises
        AdapterError when the adapter does not fit the base.
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

    def _load(self, adapter_id: str, folder: Callable[[], Path] | Path | None) -> None:
        if self._peft is not None and adapter_id in self._peft.peft_config:
            return
        if folder is None:
            raise AdapterError(f"adapter {adapter_id}: not loaded, and no folder was given to load it from")
        folder = folder() if callable(folder) else folder
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
        tell(log, LogEvent.ADAPTER_LOADED, adapter=adapter_id, into=self.name)

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


def held_as(weights: Weights, facts: DeviceFacts) -> tuple[torch.dtype, BitsAndBytesConfig | None]:
    """The floating point of the weights and activations, and how bitsandbytes holds the weights, if it does.

    Raises ModelError where this machine cannot.
    """
    if weights in (Weights.INT8, Weights.NF4):
        return facts.dtype, few_bits(weights, facts.dtype)
    if weights is Weights.FLOAT16 and facts.kind == "cpu":
        raise ModelError("weights float16 need a GPU; use bfloat16 or auto")
    if weights is Weights.AUTO:
        return facts.dtype, None
    named = {Weights.FLOAT32: torch.float32, Weights.BFLOAT16: torch.bfloat16, Weights.FLOAT16: torch.float16}
    return named[weights], None


def few_bits(weights: Weights, compute: torch.dtype) -> BitsAndBytesConfig:
    """How bitsandbytes holds weights in 8 bits, or in 4 as NF4 with doubly quantised constants.

    Products are computed in ``compute``. Raises ModelError where bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"weights {weights.value} need bitsandbytes; pip install bitsandbytes, or use weights: auto")
    if weights is Weights.INT8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def can_share(model: Any, *, quantised: bool) -> bool:
    """Whether ``sharing_error`` is within what rounding explains."""
    return sharing_error(model) <= (QUANTISED_TOLERANCE if quantised else TOLERANCE[model.dtype])


@torch.inference_mode()
def sharing_error(model: Any) -> float:
    """Largest difference of logits, in units of their spread, between reading whole prompts and sharing their parts."""
    tokens = torch.arange(3, 17).remainder(model.config.get_text_config().vocab_size).tolist()
    prefix, document, paths = tokens[:6], tokens[6:10], [tuple(tokens[10:13]), (tokens[10], tokens[13])]
    tree = TokenTree.build(paths)
    try:
        cache = prefix_cache(model.base_model, torch.tensor([prefix], device=model.device))
        layout = to_device(Layout.of([document, document[:2]], [tree, tree], len(prefix)), model.device)
        hidden = over_prefix(model.base_model, cache, layout)
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        log.debug("sharing a prefix fails: %s", reason(error))  # what a model raises that knows no such masks or caches
        return float("inf")
    worst, spread = 0.0, 0.0
    for row, read in enumerate((document, document[:2])):
        for path in paths:
            whole = model(input_ids=torch.tensor([[*prefix, *read, *path]], device=model.device), use_cache=False)
            expected = whole.logits[0, -1].float()
            at = layout.width + tree.nodes[path]
            found = logits_of(model, hidden[row, at], range(len(expected)))
            worst = max(worst, float((found - expected).abs().max()))
            spread = max(spread, float(expected.std()))
    return worst / spread if spread else worst


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
