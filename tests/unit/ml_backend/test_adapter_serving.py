"""Adapters go into a server under the name of their bytes; a server that cannot says so in one line."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from label_configs.errors import AdapterError, ConfigError, ModelError, WinnowError
from label_configs.strictyaml import load_yaml
from ml_backend.adapter_serving import load_adapter_into_server
from ml_backend.adapters import Adapter, store_of
from ml_backend.source_config import ChatApi
from tests.unit.ml_backend.chat_server import ChatServer, Reply, Request
from trainer.cli import cli

KEY = SecretStr("sk-winnow-0123456789")


@pytest.fixture
def adapter(home: Path, tmp_path: Path) -> Adapter:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return store_of(home).publish(folder, {"prompt": "definitions", "max_document_tokens": 256, "temperature": 1.7})


def models(*names: str) -> Reply:
    return Reply(json.dumps({"data": [{"id": name} for name in names]}).encode())


def server_with(*names: str, loading: Reply | None = None) -> ChatServer:
    def answer(request: Request) -> Reply:
        return models(*names) if request["path"] == "/v1/models" else loading or Reply(b"Success")

    return ChatServer(answer)


def test_it_is_loaded_under_its_id(adapter: Adapter) -> None:
    with server_with("base") as server:
        assert load_adapter_into_server(ChatApi(server.url), KEY, adapter) == adapter.id
    told = {"lora_name": adapter.id, "lora_path": str(adapter.folder), "path": "/v1/load_lora_adapter"}
    assert server.requests[1] == told
    assert server.headers[1]["authorization"] == f"Bearer {KEY.get_secret_value()}"


def test_one_that_is_there_is_left_as_it_is(adapter: Adapter) -> None:
    with server_with("base", adapter.id) as server:
        assert load_adapter_into_server(ChatApi(server.url), None, adapter) == adapter.id
    assert [r["path"] for r in server.requests] == ["/v1/models"]
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("listing", "loading", "error", "message"),
    [
        (
            models(),
            Reply(b"{}", 404),
            AdapterError,
            "answers 404; start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME",
        ),
        (models(), Reply(b"{}", 400), AdapterError, "answers 400; see that its base is the model served"),
        (models(), Reply(b"{}", 307, {"Location": "/x"}), AdapterError, "answers 307"),
        (Reply(b"{}", 401), None, ModelError, "answers 401: it refuses the key, or wants one; mend WINNOW_API_KEYS"),
        (Reply(b"{}", 404), None, ModelError, "answers 404: it lists no models; give the address of a vLLM server"),
        (Reply(b"<html>"), None, ModelError, "lists no models; give the address"),
        (Reply(b'{"data": [1]}'), None, ModelError, "lists no models; give the address"),
        (Reply(b'{"da', cut=True), None, ModelError, r"cannot be reached \(RemoteProtocolError\)"),
    ],
)
def test_what_a_server_refuses_is_told(
    adapter: Adapter, listing: Reply, loading: Reply | None, error: type[WinnowError], message: str
) -> None:
    def answer(request: Request) -> Reply:
        return loading if loading and request["path"] != "/v1/models" else listing

    with ChatServer(answer) as server, pytest.raises(error, match=message) as caught:
        load_adapter_into_server(ChatApi(server.url), KEY, adapter)
    assert "\n" not in str(caught.value)
    assert KEY.get_secret_value() not in str(caught.value)


def test_a_server_that_is_away_or_elsewhere(adapter: Adapter) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(ModelError, match=r"cannot be reached \(ConnectError\); start the server"):
            load_adapter_into_server(ChatApi(f"http://127.0.0.1:{probe.getsockname()[1]}/v1"), None, adapter)
    with pytest.raises(ConfigError, match="is not this machine"):
        load_adapter_into_server(ChatApi("https://models.example/v1"), None, adapter)


def test_the_command_says_what_goes_into_winnow_yaml(
    adapter: Adapter, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_HOME", str(home))
    monkeypatch.setenv("WINNOW_API_KEYS", json.dumps({"house": KEY.get_secret_value()}))
    with server_with("base") as server:
        command = ["adapters", "serve", adapter.id, "--base-url", server.url, "--key", "house"]
        ran = CliRunner().invoke(cli, command, catch_exceptions=False)
    (tmp_path / "source.yaml").write_text(ran.stdout, encoding="utf-8")
    assert load_yaml(tmp_path / "source.yaml", error=ConfigError).data == {
        "sources": [
            {
                "name": f"served-{adapter.id}", "kind": "chat_api", "model": adapter.id, "prompt": "definitions",
                "max_document_tokens": 256, "temperature": 1.7, "api": {"base_url": server.url, "key": "house"},
            }
        ]
    }  # fmt: skip
    monkeypatch.delenv("WINNOW_API_KEYS")
    with pytest.raises(ConfigError, match=r"^--key: no key 'house' in WINNOW_API_KEYS"):
        CliRunner().invoke(cli, command, catch_exceptions=False)
