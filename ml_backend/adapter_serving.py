"""Promoted adapters in a vLLM server: the engine for those who outgrow one machine."""

from __future__ import annotations

import httpx
from pydantic import SecretStr

from label_configs.errors import AdapterError, ConfigError, ModelError
from ml_backend.adapters import Adapter
from ml_backend.source_config import ChatApi, SourceKind, is_loopback


def load_adapter_into_server(api: ChatApi, key: SecretStr | None, adapter: Adapter) -> str:
    """Have a vLLM server load an adapter, and return the name that it serves it under: the adapter's id.

    Name and folder name the bytes, since vLLM keeps computed prefixes by name and folder: other weights under the same
    ones would answer with what the earlier had computed. An adapter that is there is left as it is. The server must
    have been started with ``--enable-lora`` and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``, and see the adapter's folder
    under the same path. Raises ConfigError for a host that is not this machine and not allowed, ModelError when the
    server is away or refuses the key, AdapterError when it does not load it.
    """
    local = is_loopback(api.base_url)
    if not (local or api.allow_remote):
        raise ConfigError(f"{api.base_url}: is not this machine; set allow_remote to let it be asked")
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    base_url = api.base_url.rstrip("/") + "/"
    try:
        with httpx.Client(
            base_url=base_url, headers=headers, timeout=api.timeout_seconds, trust_env=not local
        ) as client:
            served = client.get("models")
            _check(served, api)
            if adapter.id in {entry["id"] for entry in served.json()["data"]}:
                return adapter.id
            body = {"lora_name": adapter.id, "lora_path": str(adapter.folder.resolve())}
            loaded = client.post("load_lora_adapter", json=body)
    except httpx.HTTPError as error:
        raise ModelError(
            f"{api.base_url}: cannot be reached ({type(error).__name__}); start the server, or mend the address"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ModelError(
            f"{api.base_url}: lists no models; give the address of a vLLM server, which ends with /v1"
        ) from None
    _check(loaded, api, adapter)
    return adapter.id


def served_source(adapter: Adapter, api: ChatApi) -> dict[str, object]:
    """What winnow.yaml says of the adapter as a source: asked as it was trained."""
    asked = {name: adapter.manifest[name] for name in ("prompt", "max_document_tokens") if name in adapter.manifest}
    if temperature := adapter.manifest.get("temperature"):
        asked["temperature"] = temperature
    more = {"key": api.key} if api.key else {}
    remote = {"allow_remote": True} if api.allow_remote else {}
    return {
        "name": f"served-{adapter.id}", "kind": SourceKind.CHAT_API.value, "model": adapter.id, **asked,
        "api": {"base_url": api.base_url, **more, **remote},
    }  # fmt: skip


def _check(response: httpx.Response, api: ChatApi, adapter: Adapter | None = None) -> None:
    """Raise the error that a refusal means."""
    if response.is_success:
        return
    told = f"{api.base_url} answers {response.status_code}"
    if response.status_code in (401, 403):
        raise ModelError(f"{told}: it refuses the key, or wants one; mend WINNOW_API_KEYS")
    if adapter is None:
        raise ModelError(f"{told}: it lists no models; give the address of a vLLM server, which ends with /v1")
    if response.status_code == 404:
        raise AdapterError(
            f"adapter {adapter.id}: {told}; start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and "
            "see that it reads the adapter's folder under the same path"
        )
    raise AdapterError(
        f"adapter {adapter.id}: {told}; see that its base is the model served, its rank at most --max-lora-rank"
    )
