"""A project's adapter behind a vLLM server: taken in when it is promoted, and again when the server has lost it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.errors import AdapterError, ConfigError, ModelError
from label_configs.records import Document
from ml_backend import adapters, promotions
from ml_backend.adapter_files import Adapter
from ml_backend.classifying import resolve
from ml_backend.devices import DeviceFacts
from ml_backend.experiment import Project, load_experiment
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.source_config import ADAPTER_SOURCE, ChatApi, SourceConfig, SourceKind
from ml_backend.sources.pool import ADAPTERS_KEPT, SourcePool
from tests.unit.ml_backend.chat_server import ChatServer, Reply, Request, completion

DOCUMENTS = [Document("d1", "A tanker."), Document("d2", "Wheat.")]


class Vllm:
    """What of vLLM matters here: names that are served, and 404 for the others."""

    def __init__(self) -> None:
        self.served = {"base"}
        self.lose: Callable[[], None] = lambda: None  # what goes wrong before the next question

    def answer(self, request: Request) -> Reply:
        match request["path"]:
            case "/v1/models":
                return Reply(json.dumps({"data": [{"id": name} for name in sorted(self.served)]}).encode())
            case "/v1/load_lora_adapter":
                assert (Path(request["lora_path"]) / "adapter_model.safetensors").exists()
                self.served.add(request["lora_name"])
                return Reply(b"Success")
            case "/v1/unload_lora_adapter":
                known = request["lora_name"] in self.served
                self.served.discard(request["lora_name"])
                return Reply(b"Success", 200 if known else 404)
        self.lose()
        if request["model"] not in self.served:
            return Reply(b"{}", 404)
        return completion("ship", [("ship", {"ship": 0.9, "grain": 0.1})])


@pytest.fixture
def vllm() -> Vllm:
    return Vllm()


@pytest.fixture
def server(vllm: Vllm) -> Iterator[ChatServer]:
    with ChatServer(vllm.answer) as running:
        yield running


@pytest.fixture
def served(project: Project, server: ChatServer) -> Project:
    """The project, with a server that takes its adapters in."""
    api = ChatApi(server.url, retries=0, concurrency=1, serves_adapters=True)
    host = SourceConfig("vllm", SourceKind.CHAT_API, model="base", api=api)
    return register(project.home, project.id, replace(project.experiment, sources=(host,)), project.codebook)


def publish(project: Project, folder: Path, number: int) -> Adapter:
    made = folder / f"trained-{number}"
    made.mkdir()
    (made / "adapter_config.json").write_text("{}", encoding="utf-8")
    (made / "adapter_model.safetensors").write_bytes(b"weights %d" % number)
    manifest = {"base": "a/base", "prompt": "zero_shot", "max_document_tokens": 64, "temperature": 1.5}
    return adapters.store_of(project.home).publish(made, manifest | {"codebook": project.codebook.fingerprint})


@pytest.fixture
def pool(served: Project, cpu: DeviceFacts) -> SourcePool:
    return SourcePool(cpu, adapters.store_of(served.home))


def ask(project: Project, pool: SourcePool) -> str:
    """Have the current adapter asked; the version that it answers under."""
    active = Plan.of(project).sources[-1]
    made = pool.source(project.codebook, active).propose(DOCUMENTS)
    assert [p.document_id for p in made] == ["d1", "d2"]
    assert {(p.source, p.version) for p in made} == {(ADAPTER_SOURCE, active.version)}
    return active.version


def asked(server: ChatServer) -> list[str]:
    """The models that were asked, in turn, each once for several questions."""
    names = [r["model"] for r in server.requests if r["path"] == "/v1/chat/completions"]
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


def test_a_promoted_adapter_is_taken_in_and_asked_under_its_id_and_so_backwards(
    served: Project, pool: SourcePool, server: ChatServer, vllm: Vllm, tmp_path: Path
) -> None:
    one, two = publish(served, tmp_path, 1), publish(served, tmp_path, 2)
    versions = []
    for adapter in (one, two):
        promotions.promote(served.folder, adapter)
        versions.append(ask(served, pool))
    promotions.roll_back(served.folder)
    versions.append(ask(served, pool))
    assert asked(server) == [one.id, two.id, one.id]
    assert versions == [f"a/base/zero_shot-64-t1.5-api@{i}" for i in (one.id, two.id, one.id)]
    assert vllm.served == {"base", one.id, two.id}


def test_what_the_server_has_lost_is_loaded_again(
    served: Project, pool: SourcePool, vllm: Vllm, tmp_path: Path
) -> None:
    adapter = publish(served, tmp_path, 1)
    promotions.promote(served.folder, adapter)
    ask(served, pool)
    vllm.served = {"base"}  # started anew
    ask(served, pool)

    def lose_once() -> None:
        vllm.served.discard(adapter.id)
        vllm.lose = lambda: None

    vllm.lose = lose_once  # between looking and asking
    ask(served, pool)
    assert adapter.id in vllm.served


def test_a_failure_that_is_none_of_the_adapters_is_told(
    served: Project, pool: SourcePool, vllm: Vllm, server: ChatServer, tmp_path: Path
) -> None:
    promotions.promote(served.folder, publish(served, tmp_path, 1))

    def break_down() -> None:
        raise ConnectionError  # the server hangs up

    vllm.lose = break_down
    with pytest.raises(ModelError, match="cannot be reached or broke off"):
        ask(served, pool)
    assert sum(r["path"] == "/v1/load_lora_adapter" for r in server.requests) == 1


def test_adapters_that_nobody_asks_for_are_unloaded(
    served: Project, pool: SourcePool, vllm: Vllm, tmp_path: Path
) -> None:
    made = [publish(served, tmp_path, number) for number in range(ADAPTERS_KEPT + 2)]
    other = register(served.home, 8, served.experiment, served.codebook)
    promotions.promote(other.folder, made[0])
    ask(other, pool)
    for adapter in made[1:]:
        promotions.promote(served.folder, adapter)
        ask(served, pool)
    assert vllm.served == {"base", made[0].id, *(a.id for a in made[2:])}, "the first is another project's current one"


def test_a_damaged_adapter_is_not_sent(served: Project, pool: SourcePool, server: ChatServer, tmp_path: Path) -> None:
    adapter = publish(served, tmp_path, 1)
    (adapter.folder / "adapter_model.safetensors").write_bytes(b"other")
    promotions.promote(served.folder, adapter)
    with pytest.raises(AdapterError, match="damaged"):
        ask(served, pool)
    assert asked(server) == []


def test_classification_asks_the_same_server(served: Project, tmp_path: Path) -> None:
    promotions.promote(served.folder, publish(served, tmp_path, 1))
    assert resolve(served.home, project=served, names=["adapter"]).sources == Plan.of(served).sources[-1:]


def test_one_server_takes_the_adapters(tmp_path: Path) -> None:
    (tmp_path / "winnow.yaml").write_text(
        "codebook: reuters8\nsources:\n"
        "  - {name: a, kind: chat_api, model: m, api: {base_url: 'http://127.0.0.1:1/v1', serves_adapters: true}}\n"
        "  - {name: b, kind: chat_api, model: m, api: {base_url: 'http://127.0.0.1:2/v1', serves_adapters: true}}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r":4: sources\.1\.api\.serves_adapters: so does a; let one server do it$"):
        load_experiment(tmp_path / "winnow.yaml")
