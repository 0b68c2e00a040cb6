"""Python code that comes with a model's files: it runs only where the installation names the model.

A model of an architecture that transformers does not have brings its own code, which runs with all rights of the
process. Nothing runs it unless ``WINNOW_TRUST_REMOTE_CODE`` names the model, and no project's winnow.yaml can.
"""

from __future__ import annotations

from pathlib import Path

from label_configs.errors import ModelError, reason
from ml_backend.settings import Places

SETTING = "WINNOW_TRUST_REMOTE_CODE"


def runs_own_code(model: str) -> bool:
    """Whether the code that comes with this model may run; a folder's paths are one, however they are written."""
    named = {name.strip() for name in Places().trust_remote_code.split(",")} - {""}
    return _place(model) in {_place(name) for name in named}


def _place(model: str) -> str:
    path = Path(model).expanduser()
    return str(path.resolve()) if path.is_absolute() or path.is_dir() else model


def loading_fault(model: str, error: Exception, remedy: str) -> ModelError:
    """What to say of a model that transformers could not load; ``remedy`` where its code was not what it lacked."""
    if "trust_remote_code" in str(error):
        return ModelError(
            f"model {model}: comes with Python code of its own, which is not run; read it, and if you trust it name "
            f"the model in {SETTING}, or use another model"
        )
    return ModelError(f"model {model}: cannot be loaded ({reason(error)}); {remedy}")
