"""A real vLLM server: asked through `chat_api` it answers as the local model does, adapters included.

`make test-vllm` runs this; vLLM has an environment of its own, which `make vllm` builds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.torch
import torch

from label_configs.codebook import Codebook, load_codebook
from label_configs.errors import AdapterError, ModelError
from label_configs.records import Document, Proposal, VerifiedExample
from ml_backend.adapter_files import Adapter
from ml_backend.adapter_serving import load_adapter_into_server
from ml_backend.adapters import AdapterStore, store_of
from ml_backend.answers import Floats
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.experiment import Experiment
from ml_backend.promotions import promote, roll_back
from ml_backend.prompts import Prompt
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.source_config import ChatApi, SourceConfig, SourceKind, Structure
from ml_backend.sources.causal import CausalSource
from ml_backend.sources.chat_api import ALTERNATIVES, ChatApiSource
from ml_backend.sources.pool import SourcePool
from ml_backend.spending import Ledger
from tests.vllm.server import VllmServer
from trainer.base_model import load_trainable
from trainer.demo import documents
from trainer.demo.wheels import DemoFiles
from trainer.recipe import LoraRecipe, Precision
from trainer.training import train

pytestmark = pytest.mark.models

ROOT = Path(__file__).parents[2]
CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)
PROMPT = str(Path(__file__).parent / "lines.j2")
PATIENCE = 600.0  # seconds for one answer: adapters are slow on a CPU, and other work may share it
RECIPE = LoraRecipe(rank=8, alpha=16, epochs=2, precision=Precision.FP32, prompt=PROMPT, max_document_tokens=128)
TRAINED, ASKED = 64, 50  # documents
LONGEST = 1200  # characters of a document that is asked about: nothing is cut, whichever way tokens are counted

Ask = Callable[..., list[Proposal]]


@pytest.fixture(scope="module")
def reuters() -> Codebook:
    return load_codebook("reuters8")


@pytest.fixture(scope="module")
def asked(demo_files: DemoFiles, reuters: Codebook) -> list[Document]:
    """Fifty of the test documents, as many of each code as there are."""
    sample = documents.sample(demo_files.reuters_test, reuters.label_keys, total=100)
    return [document for document, _ in sample if len(document.text) <= LONGEST][:ASKED]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> AdapterStore:
    return store_of(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def adapter(
    demo_files: DemoFiles, reuters: Codebook, store: AdapterStore, tmp_path_factory: pytest.TempPathFactory
) -> Adapter:
    """What two passes over 64 documents make of the base."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(RECIPE.seed)
    model, tokenizer = load_trainable(str(demo_files.smollm2), RECIPE, CPU)
    prompt = Prompt(RECIPE.prompt, reuters, tokenizer, RECIPE.max_document_tokens)
    sample = documents.sample(demo_files.reuters_train, reuters.label_keys, total=TRAINED)
    examples = [VerifiedExample(d.id, d.text, (code,), ("coder",), holdout=False) for d, code in sample]
    train(model, prompt, examples, RECIPE, folder, lambda _progress: None)
    model.save_pretrained(folder / "adapter")
    manifest = {
        "base": str(demo_files.smollm2), "prompt": PROMPT, "max_document_tokens": RECIPE.max_document_tokens,
        "codebook": reuters.fingerprint,
    }  # fmt: skip
    return store.publish(folder / "adapter", manifest)


@pytest.fixture(scope="module")
def other_adapter(adapter: Adapter, store: AdapterStore, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """The adapter turned round: where it adds to the base, this one subtracts."""
    folder = tmp_path_factory.mktemp("turned")
    weights = safetensors.torch.load_file(adapter.folder / "adapter_model.safetensors")
    turned = {name: -tensor if "lora_B" in name else tensor for name, tensor in weights.items()}
    safetensors.torch.save_file(turned, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_bytes((adapter.folder / "adapter_config.json").read_bytes())
    return store.publish(folder, adapter.manifest)


@pytest.fixture(scope="module")
def local(demo_files: DemoFiles) -> CausalModel:
    return CausalModel(str(demo_files.smollm2), CPU)


@pytest.fixture(scope="module")
def prompt(local: CausalModel, reuters: Codebook) -> Prompt:
    return Prompt(PROMPT, reuters, local.tokenizer)


@pytest.fixture(scope="module")
def server(adapter: Adapter, demo_files: DemoFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """The server; it starts when the training is over, since both want all cores."""
    executable = ROOT / ".venv-vllm" / "bin" / "python"
    if not executable.exists():
        pytest.skip("vLLM is not installed: run `make vllm`")
    log_path = tmp_path_factory.mktemp("vllm") / "vllm.log"
    with VllmServer(executable, demo_files.smollm2, max_lora_rank=RECIPE.rank, log_path=log_path) as running:
        yield running


@pytest.fixture
def ask(server: VllmServer, reuters: Codebook, asked: list[Document], tmp_path: Path) -> Ask:
    """Ask the server about the fifty documents; ``model`` is the name of an adapter, by default the base's."""

    def propose(model: str = server.model, some: Sequence[Document] = asked, **api: Any) -> list[Proposal]:
        served = ChatApi(server.base_url, timeout_seconds=PATIENCE, **api)
        config = SourceConfig("vllm", SourceKind.CHAT_API, model=model, prompt=PROMPT, api=served)
        return ChatApiSource(config, "v", reuters, Ledger(tmp_path)).propose(some)

    return propose


def table(proposals: Sequence[Proposal], codebook: Codebook) -> Floats:
    """Probabilities ``[documents, labels]`` in the codebook's order."""
    rows = [{scored.label: scored.probability for scored in proposal.labels} for proposal in proposals]
    return np.array([[row[key] for key in codebook.label_keys] for row in rows])


def equal_codes(one: Sequence[Proposal], other: Sequence[Proposal]) -> int:
    return sum(a.labels[0].label == b.labels[0].label for a, b in zip(one, other, strict=True))


@torch.inference_mode()
def by_first_tokens(model: CausalModel, prompt: Prompt, text: str) -> Floats:
    """Probabilities of Reuters' words from the local model's logits at the answer's first token, by the rule of
    ``ml_backend.answers``: no two of the words begin alike, so that the first token decides."""
    ids = [*prompt.prefix_ids, *prompt.document_ids(text)[0], *prompt.tails[0]]
    logits = model.base(input_ids=torch.tensor([ids])).logits[0, -1].double().numpy()
    words = prompt.questions[0].answers
    of_word = {
        token: next((i for i, word in enumerate(words) if text and word.startswith(text)), None)
        for token, text in enumerate(model.tokenizer.batch_decode([[i] for i in range(len(logits))]))
    }
    allowed = sorted((t for t, i in of_word.items() if i is not None), key=lambda t: -logits[t])[:ALTERNATIVES]
    weights = np.zeros(len(words))
    for token in allowed:
        weights[of_word[token]] += np.exp(logits[token] - logits[allowed[0]])
    return np.asarray(weights / weights.sum())


def test_structured_choice_gives_the_probabilities_of_the_local_models_logits(
    ask: Ask, asked: list[Document], local: CausalModel, prompt: Prompt, reuters: Codebook
) -> None:
    served = table(ask(), reuters)
    with local.using(None, None):
        expected = np.stack([by_first_tokens(local, prompt, document.text) for document in asked])
    assert served == pytest.approx(expected, abs=2e-3)
    assert (served.argmax(1) == expected.argmax(1)).sum() >= ASKED - 1


def test_tokens_are_those_of_the_local_prompt(ask: Ask, asked: list[Document], prompt: Prompt) -> None:
    proposals = ask(some=asked[:5])
    for document, proposal in zip(asked, proposals, strict=False):
        ids = [*prompt.prefix_ids, *prompt.document_ids(document.text)[0], *prompt.tails[0]]
        assert proposal.tokens == len(ids)
        assert proposal.truncated == 0
        assert proposal.output_tokens >= 2, "the word and the end"


def test_a_served_adapter_gives_the_codes_of_the_local_one(
    ask: Ask, server: VllmServer, adapter: Adapter, asked: list[Document], local: CausalModel, prompt: Prompt,
    reuters: Codebook, record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    name = load_adapter_into_server(ChatApi(server.base_url), None, adapter)
    assert name == adapter.id == load_adapter_into_server(ChatApi(server.base_url), None, adapter)
    mine = CausalSource("local", "v", local, prompt, adapter_id=adapter.id, adapter_folder=adapter.folder)
    served, expected = ask(name), mine.propose(asked)
    equal = equal_codes(served, expected)
    apart = np.abs(table(served, reuters) - table(expected, reuters))
    record_property("equal codes", equal)
    record_property("mean difference of probabilities", float(apart.mean()))
    record_property("largest difference of probabilities", float(apart.max()))
    assert equal >= ASKED - 2
    assert apart.mean() < 0.03, "words in other tokens than the usual ones count here, but not locally"
    assert equal_codes(ask(), expected) < equal, "the base itself says something else"


def test_other_weights_under_the_same_name_and_folder_would_answer_with_what_the_earlier_computed(
    ask: Ask, server: VllmServer, adapter: Adapter, other_adapter: Adapter, asked: list[Document],
    reuters: Codebook, tmp_path: Path,
) -> None:  # fmt: skip
    """Why adapters are loaded under the id of their bytes, from a folder of that name."""
    long = sorted(asked, key=lambda document: -len(document.text))[:4]  # vLLM keeps whole blocks of 128 tokens
    body = {"lora_name": "current", "lora_path": str(tmp_path / "current"), "load_inplace": True}
    for each in (adapter, other_adapter):
        shutil.copytree(each.folder, tmp_path / "current", dirs_exist_ok=True)
        httpx.post(f"{server.base_url}/load_lora_adapter", json=body, trust_env=False, timeout=60).raise_for_status()
        stale = table(ask("current", long), reuters)
    name = load_adapter_into_server(ChatApi(server.base_url), None, other_adapter)
    versioned = table(ask(name, long), reuters)
    assert np.abs(stale - versioned).max() > 0.01
    assert table(ask(name, long), reuters) == pytest.approx(versioned, abs=1e-4), "by its id it answers the same again"


def test_json_held_to_a_schema_and_free_answers_are_understood(
    ask: Ask, adapter: Adapter, asked: list[Document], server: VllmServer
) -> None:
    name = load_adapter_into_server(ChatApi(server.base_url), None, adapter)
    chosen = ask(name, asked[:10])
    assert equal_codes(ask(name, asked[:10], structure=Structure.NONE), chosen) >= 9
    told = ask(name, asked[:10], structure=Structure.JSON_SCHEMA)
    assert all(sum(s.probability for s in p.labels) == pytest.approx(1, abs=1e-5) for p in told)


def test_what_the_server_has_not_is_told(ask: Ask, server: VllmServer, adapter: Adapter, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"answers 404: it has no model 'gone'"):
        ask("gone")
    absent = Adapter("0123456789abcdef", tmp_path / "absent", {})
    with pytest.raises(AdapterError, match=r"adapter 0123456789abcdef: .* answers 404"):
        load_adapter_into_server(ChatApi(server.base_url), None, absent)


def test_a_projects_adapters_are_taken_in_as_they_are_promoted_and_rolled_back(
    server: VllmServer, adapter: Adapter, other_adapter: Adapter, store: AdapterStore, asked: list[Document],
    reuters: Codebook, record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    api = ChatApi(server.base_url, timeout_seconds=PATIENCE, serves_adapters=True)
    host = SourceConfig("vllm", SourceKind.CHAT_API, model=server.model, prompt=PROMPT, api=api)
    project = register(store.home, 1, Experiment("reuters8", (host,)), reuters)
    pool = SourcePool(CPU, store)
    found, seconds = [], []
    for swap in (
        lambda: promote(project.folder, adapter),
        lambda: promote(project.folder, other_adapter),
        lambda: roll_back(project.folder),
    ):
        started = time.monotonic()
        swap()
        active = Plan.of(project).sources[-1]
        source = pool.source(reuters, active)
        first = source.propose(asked[:1])
        seconds.append(round(time.monotonic() - started, 1))
        found.append(table([*first, *source.propose(asked[1:4])], reuters))
        assert first[0].version == active.version
    record_property("seconds to the first answer", seconds)
    assert np.abs(found[0] - found[1]).max() > 0.05
    assert found[2] == pytest.approx(found[0], abs=1e-2)
