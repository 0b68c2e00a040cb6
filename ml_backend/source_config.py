"""What winnow.yaml says of one source: which model, asked how, at what price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from label_configs.errors import ConfigError
from label_configs.strictyaml import Location, nearest
from ml_backend.settings import is_loopback
from ml_backend.source_plugins import installed_plugins, plugin_of

Problem = tuple[Location, str]

ADAPTER_SOURCE = "adapter"  # the name of the source that a promoted adapter is
PLUGIN_FIELDS = ("name", "kind", "temperature", "price", "options", "allow_remote")  # of a package's source


class SourceKind(StrEnum):
    """How a source arrives at its probabilities; installed packages may bring more (``ml_backend.source_plugins``)."""

    CAUSAL = "causal"  # a causal language model with a prompt
    ADAPTER = "adapter"  # ... with a LoRA adapter over it
    SIMILARITY = "similarity"  # a sentence encoder: nearness to names and definitions
    PROBE = "probe"  # logistic regression on a sentence encoder's embeddings of verified documents
    CHAT_API = "chat_api"  # a server with OpenAI's interface
    FAKE = "fake"


class Weights(StrEnum):
    """How a model's weights are held; ``auto`` is float32 on a CPU, half precision on a GPU."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"
    NF4 = "nf4"


class Calibration(StrEnum):
    """``contextual``: divided by what the model says of a document without content (Zhao et al. 2021, 2102.09690)."""

    NONE = "none"
    CONTEXTUAL = "contextual"


class ExampleChoice(StrEnum):
    """Which verified documents a few-shot prompt shows."""

    PER_CODE = "per_code"  # the same for every document: ``shots`` of each code
    NEAREST = "nearest"  # the ``shots`` most similar to the document, by the sentence encoder ``encoder``


class Structure(StrEnum):
    """How an API is held to the codebook's words."""

    CHOICE = "choice"  # vLLM's ``structured_outputs: {choice: [...]}``
    JSON_SCHEMA = "json_schema"  # ``response_format`` with an enum: OpenAI, Ollama, llama.cpp
    NONE = "none"  # the label is read from the log-probabilities of the answer's tokens alone


@dataclass(frozen=True)
class Price:
    """Prices in one currency: per million tokens of prompts (``input``) and answers (``output``), per device hour."""

    input: float = 0.0
    output: float = 0.0
    device_hour: float = 0.0


@dataclass(frozen=True)
class Budget:
    """What may be spent on a source in an installation: tokens (prompts and answers), money in the prices' currency."""

    tokens: int | None = None
    money: float | None = None


@dataclass(frozen=True)
class ChatApi:
    """A server with OpenAI's chat interface.

    ``key`` names an entry of ``WINNOW_API_KEYS``. Documents are sent to a host that is not this machine only with
    ``allow_remote``. ``concurrency`` is the number of requests under way at once, ``timeout_seconds`` one request's
    limit, ``retries`` how often one is repeated. ``system_turn`` False puts the instruction before the document in the
    user's turn, for models whose chat template knows no other (Gemma, early Mistral). With ``serves_adapters`` the
    server, a vLLM with LoRA, takes the project's adapters in as they are promoted, and they are asked there.
    """

    base_url: str
    key: str = ""
    allow_remote: bool = False
    structure: Structure = Structure.CHOICE
    logprobs: bool = True
    system_turn: bool = True
    serves_adapters: bool = False
    concurrency: int = 8
    retries: int = 5
    timeout_seconds: float = 60.0
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True)
class SourceConfig:
    """One source.

    ``model`` is a folder (starting with ``/``, ``./``, ``../`` or ``~``), a name on the Hugging Face hub, or the name
    that an API serves it under; ``max_document_tokens`` is where longer documents lose their middle. ``adapter`` is the
    id of a published adapter, whose manifest then says model, prompt and length. ``temperature`` divides the
    log-probabilities; ``winnow evaluate`` tells the one that fits the holdout. A ``kind`` that is no SourceKind is that
    of an installed package, whose own ``options`` stand there; documents leave this machine by ``allow_remote`` alone.
    """

    name: str
    kind: Annotated[SourceKind | str, Field(union_mode="left_to_right")]
    model: str = ""
    prompt: str = "zero_shot"
    max_document_tokens: int = 512
    adapter: str | None = None
    weights: Weights = Weights.AUTO
    calibration: Calibration = Calibration.NONE
    temperature: float = 1.0
    examples: ExampleChoice = ExampleChoice.PER_CODE
    shots: int = 1
    encoder: str = ""
    api: ChatApi | None = None
    price: Price | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    allow_remote: bool = False


def is_local_url(url: str) -> bool:
    """Whether the URL's host is this machine: ``localhost`` or a loopback address; no name is looked up."""
    return is_loopback(urlsplit(url).hostname or "")


def source_problems(config: SourceConfig) -> Iterator[Problem]:
    """What cannot be in one source, each with its place below the source and its remedy."""
    if not (config.name.strip() and config.name.isprintable()):
        yield ("name",), f"{config.name!r} is no name; use letters, digits and hyphens"
    if not isinstance(config.kind, SourceKind):
        yield from _plugin_problems(config)
    elif config.options or config.allow_remote:
        at = "options" if config.options else "allow_remote"
        yield (at,), f"only the source of an installed package has it; remove it from this one of kind {config.kind}"
    if config.kind is SourceKind.ADAPTER:
        if config.adapter is None:
            yield ("adapter",), f"{config.name} names none; add `adapter:` with an id of `winnow adapters list`"
    elif config.adapter is not None:
        yield ("adapter",), f"only a source of kind adapter has one; remove it or use kind: {SourceKind.ADAPTER}"
    elif isinstance(config.kind, SourceKind) and config.kind is not SourceKind.FAKE and not config.model:
        yield ("model",), f"{config.name} has none; add `model:` with a folder or a hub name"
    if config.max_document_tokens < 1:
        yield ("max_document_tokens",), "must be 1 or more"
    if config.shots < 1:
        yield ("shots",), "counts examples; use 1 or more"
    if not 0 < config.temperature < 100:
        yield ("temperature",), "must lie between 0 and 100"
    if config.examples is ExampleChoice.NEAREST and not config.encoder:
        yield ("encoder",), "the nearest examples need a sentence encoder; add `encoder:` with a folder or a hub name"
    yield from _price_problems(config)
    yield from _api_problems(config)


def _plugin_problems(config: SourceConfig) -> Iterator[Problem]:
    """What cannot be in the source of an installed package, as far as its code need not be run to tell."""
    plugins = installed_plugins()
    if config.kind not in plugins:
        known = nearest(config.kind, [*SourceKind, *plugins]).replace("valid key", "kind")
        yield ("kind",), f"{config.kind!r} is unknown, rename it or install the package that brings it {known}"
        return
    try:
        plugin_of(config.kind)
    except ConfigError as error:
        yield ("kind",), str(error)
    for one in fields(config):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if one.name not in PLUGIN_FIELDS and getattr(config, one.name) != default and one.name != "adapter":
            yield (one.name,), f"a source of kind {config.kind} does not read it; its package's own go below `options:`"
    yield from ((("options", *at), "is null; leave it out") for at in _nulls(config.options))


def _nulls(value: Any) -> Iterator[Location]:
    """Places of nulls, which the copy that `winnow init` keeps has not."""
    if value is None:
        yield ()
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield from ((key, *at) for at in _nulls(below))


def _price_problems(config: SourceConfig) -> Iterator[Problem]:
    if config.price and min(config.price.input, config.price.output, config.price.device_hour) < 0:
        yield ("price",), "prices must be 0 or more"


def _api_problems(config: SourceConfig) -> Iterator[Problem]:
    api = config.api
    if config.kind is not SourceKind.CHAT_API:
        if api is not None:
            yield ("api",), f"only a source of kind chat_api has it; remove it or use kind: {SourceKind.CHAT_API}"
        return
    if api is None:
        yield ("api",), "is missing; add `api: {base_url: ...}`"
        return
    try:
        parts = urlsplit(api.base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is none, an unclosed bracket
        usable = False
    if not usable:
        yield ("api", "base_url"), f"{api.base_url!r} is no URL; write http://host:port/v1"
    elif not is_local_url(api.base_url) and not api.allow_remote:
        yield (
            ("api", "base_url"),
            f"{parts.hostname} is not this machine, documents would leave it; add `allow_remote: true` to let them",
        )
    for name in ("concurrency", "timeout_seconds"):
        if getattr(api, name) <= 0:
            yield ("api", name), "must be above 0"
    if api.retries < 0:
        yield ("api", "retries"), "must be 0 or more"
    budget = api.budget
    for name in ("tokens", "money"):
        if (limit := getattr(budget, name)) is not None and limit <= 0:
            yield ("api", "budget", name), "must be above 0"
    if budget.money is not None and config.price is None:
        yield (
            ("api", "budget", "money"),
            "no price to count it by; add `price: {input: ..., output: ...}`",
        )
