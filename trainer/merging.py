"""A base model with an adapter merged into its weights. Imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from label_configs.errors import AdapterError, ModelError, reason
from ml_backend.adapter_files import Adapter
from ml_backend.causal_model import LOADING_ERRORS, load_adapter
from ml_backend.model_code import loading_fault, runs_own_code


def save_merged(adapter: Adapter, folder: Path) -> None:
    """Write the merged model and the tokenizer to ``folder``: safetensors, in the floating point of the base's files.

    The base is loaded on the CPU. Raises ModelError when it does not load, AdapterError when the adapter does not fit.
    """
    base = str(adapter.manifest["base"])
    try:
        own_code = runs_own_code(base)
        tokenizer: Any = AutoTokenizer.from_pretrained(base, trust_remote_code=own_code)
        model: Any = AutoModelForCausalLM.from_pretrained(
            base, dtype="auto", use_safetensors=True, trust_remote_code=own_code
        )
    except LOADING_ERRORS as error:
        raise loading_fault(base, error, "restore it, it is what is merged") from None
    merged = _merged(model, adapter, base)
    try:
        merged.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except ValueError as error:  # generation settings of the base that contradict each other
        raise ModelError(f"model {base}: cannot be saved ({reason(error)}); mend its generation_config.json") from None


def _merged(model: Any, adapter: Adapter, base: str) -> Any:
    try:
        peft = PeftModel.from_pretrained(model, str(adapter.folder), adapter_name="merged")
        load_adapter(peft, "checked", adapter.folder, base)  # refuses what peft passes over
        peft.delete_adapter("checked")
        return peft.merge_and_unload(safe_merge=True, adapter_names=["merged"])
    except LOADING_ERRORS as error:
        raise AdapterError(
            f"adapter {adapter.id}: cannot be merged into {base} ({reason(error)}); train anew"
        ) from None
