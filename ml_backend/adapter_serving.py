"""Promoted adapters in a vLLM server: the engine for those who outgrow one machine."""

from __future__ import annotations

import logging

import httpx
from pydantic import SecretStr

from label_configs.errors import AdapterError, ConfigError, ModelError
from ml_backend.adapter_files import Adapter
from ml_backend.log_events import LogEvent, tell
from ml_backend.source_config import ChatApi, SourceKind, is_local_url

log = logging.getLogger(__name__)


class AdapterServer:
    """A vLLM server that takes adapters in while it runs.

    It must have been started with ``--enable-lora`` and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``, and see the adapters'
    folders under the same paths. Every method raises ModelError when the server is away or refuses the key.
    """

    def __init__(self, api: ChatApi, key: SecretStr | None) -> None:
        """Raises ConfigError for a host that is not this machine and not allowed."""
        local = is_local_url(api.base_url)
        if not (local or api.allow_remote):
            raise ConfigError(f"{api.base_url}: is not this machine; set allow_remote to let it be asked")
        self._api = api
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        base_url = api.base_url.rstrip("/") + "/"
        self._client = httpx.Client(
            base_url=base_url, headers=headers, timeout=api.timeout_seconds, trust_env=not local
        )

    def has(self, adapter_id: str) -> bool:
        """Whether the server serves a model under this name."""
        served = self._ask("GET", "models")
        _check(served, self._api)
        try:
            return adapter_id in {entry["id"] for entry in served.json()["data"]}
        except (ValueError, KeyError, TypeError):
            raise ModelError(
                f"{self._api.base_url}: lists no models; give the address of a vLLM server, which ends with /v1"
            ) from None

    def load(self, adapter: Adapter) -> None:
        """Have the server serve an adapter under its id, unless it does. Raises AdapterError when it refuses to.

        Name and folder name the bytes, since vLLM keeps computed prefixes by name and folder: other weights under the
        same ones would answer with what the earlier had computed.
        """
        if self.has(adapter.id):
            return
        body = {"lora_name": adapter.id, "lora_path": str(adapter.folder.resolve())}
        loaded = self._ask("POST", "load_lora_adapter", body)
        if loaded.is_success or not self.has(adapter.id):  # else another process was faster
            _check(loaded, self._api, adapter)

    def unload(self, adapter_id: str) -> None:
        """Have the server drop an adapter; one that it does not have, or keeps, is no fault."""
        dropped = self._ask("POST", "unload_lora_adapter", {"lora_name": adapter_id})
        if not (dropped.is_success or dropped.status_code == 404):
            tell(
                log, LogEvent.ADAPTER_STAYS_LOADED, adapter=adapter_id, url=self._api.base_url,
                status=dropped.status_code,
            )  # fmt: skip

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ModelError(
                f"{self._api.base_url}: cannot be reached ({type(error).__name__}); start the server, or mend the "
                "address"
            ) from None


def load_adapter_into_server(api: ChatApi, key: SecretStr | None, adapter: Adapter) -> str:
    """Have a vLLM server load an adapter, and return the name that it serves it under: the adapter's id.

    Raises what ``AdapterServer`` raises.
    """
    AdapterServer(api, key).load(adapter)
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
