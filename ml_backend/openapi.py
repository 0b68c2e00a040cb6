"""The description of the HTTP interface, ``openapi.yaml``, for whoever writes a client."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from label_configs.strictyaml import load_yaml

PATH = Path(__file__).parent / "openapi.yaml"


@cache
def description() -> dict[str, Any]:
    """OpenAPI 3.1, as plain data."""
    data: dict[str, Any] = load_yaml(PATH).data
    return data
