"""Keys of chat APIs: configuration names them, the environment holds them."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from label_configs.errors import ConfigError
from ml_backend.source_config import ChatApi


def api_key(where: str, api: ChatApi | None, keys: Mapping[str, SecretStr]) -> SecretStr | None:
    """The key that ``api.key`` names, None where it names none; ``where`` is the place that named it.

    Raises ConfigError where ``WINNOW_API_KEYS`` has none of that name.
    """
    if api is None or not api.key:
        return None
    if api.key not in keys:
        example = f'{{"{api.key}": "..."}}'
        raise ConfigError(f"{where}: no key {api.key!r} in WINNOW_API_KEYS; set it to a JSON object, {example}")
    return keys[api.key]
