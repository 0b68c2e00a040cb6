"""The sources of this process: each model is loaded once and shared, each source is built once per version."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from pydantic import SecretStr

from label_configs.codebook import Codebook
from label_configs.errors import AdapterError
from ml_backend import shared_projects
from ml_backend.adapter_files import Adapter
from ml_backend.adapter_serving import AdapterServer
from ml_backend.adapters import AdapterStore
from ml_backend.api_keys import api_key
from ml_backend.base_state import check_base
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.embeddings import cache_of
from ml_backend.promotions import current
from ml_backend.prompts import Prompt, Shots
from ml_backend.registered_projects import registered
from ml_backend.sentence_encoder import SentenceEncoder
from ml_backend.shots import Nearest, choose_per_code
from ml_backend.snapshot import read_examples
from ml_backend.source_config import Calibration, ExampleChoice, SourceConfig, SourceKind, Weights
from ml_backend.sources.base import Source
from ml_backend.sources.calibrated import CalibratedSource
from ml_backend.sources.causal import CausalSource
from ml_backend.sources.chat_api import ChatApiSource
from ml_backend.sources.fake import FakeSource
from ml_backend.sources.plugged import plugged_source
from ml_backend.sources.probe import ProbeSource
from ml_backend.sources.served_adapter import ServedAdapter
from ml_backend.sources.similarity import SimilaritySource
from ml_backend.spending import Ledger
from ml_backend.versions import ActiveSource, check_codebook

ADAPTERS_KEPT = 4  # the adapters used last; earlier ones make room, so that promotions do not fill the memory
SNAPSHOTS_KEPT = 2  # of a source that learns: the newest examples, and those that open tasks were proposed with

Key = tuple[str, str, str]


class SourcePool:
    """Builds sources on demand and keeps them; a new adapter version is loaded at its first use, without a restart."""

    def __init__(
        self, facts: DeviceFacts, store: AdapterStore, api_keys: Mapping[str, SecretStr] | None = None
    ) -> None:
        self._facts = facts
        self._store = store
        self._api_keys = api_keys or {}
        self._models: dict[tuple[str, Weights], CausalModel] = {}
        self._encoders: dict[str, SentenceEncoder] = {}
        self._sources: dict[Key, Source] = {}
        self._adapters: dict[Key, ActiveSource] = {}  # the one used last at the end
        self._learned: dict[tuple[str, str, Path], list[Key]] = {}  # of each source that learns, likewise

    def source(self, codebook: Codebook, active: ActiveSource) -> Source:
        """The source ready to propose. Raises ModelError or AdapterError when it cannot be loaded."""
        key = (codebook.fingerprint, active.config.name, active.version)
        if key not in self._sources:
            source, temperature = self._build(codebook, active), active.config.temperature
            self._sources[key] = CalibratedSource(source, temperature, codebook) if temperature != 1 else source
        if active.adapter_id:
            self._adapters.pop(key, None)
            self._adapters[key] = active
            self._make_room()
        if active.snapshot:
            self._forget_earlier(key, active.snapshot.parent)
        return self._sources[key]

    def _build(self, codebook: Codebook, active: ActiveSource) -> Source:
        config = active.config
        if not isinstance(config.kind, SourceKind):
            return plugged_source(codebook, active)
        if config.kind is SourceKind.FAKE:
            return FakeSource(config.name, active.version, codebook)
        if config.kind is SourceKind.SIMILARITY:
            return SimilaritySource(
                config.name, active.version, self._encoder(config.model), codebook, config.max_document_tokens
            )
        if config.kind is SourceKind.PROBE:
            assert active.snapshot is not None
            return ProbeSource(
                config.name, active.version, self._encoder(config.model), codebook, active.snapshot,
                config.max_document_tokens,
            )  # fmt: skip
        if config.kind is SourceKind.CHAT_API:
            return self._asked_of_a_server(codebook, active)
        model = self._model(config)
        shots = self._shots(codebook, active)
        prompt = Prompt(config.prompt, codebook, model.tokenizer, config.max_document_tokens, shots)
        adapter_id, folder = active.adapter_id, None
        if adapter_id:
            folder = partial(self._adapter_folder, codebook, adapter_id)
            folder()  # what is wrong with it is told before it is asked
        return CausalSource(
            config.name, active.version, model, prompt, adapter_id=adapter_id, adapter_folder=folder,
            contextual=config.calibration is Calibration.CONTEXTUAL,
        )  # fmt: skip

    def _asked_of_a_server(self, codebook: Codebook, active: ActiveSource) -> ChatApiSource | ServedAdapter:
        config, adapter_id = active.config, active.adapter_id
        key = api_key(f"source {config.name}: api.key", config.api, self._api_keys)
        shots = self._shots(codebook, active)
        if adapter_id is None or config.api is None:
            return ChatApiSource(config, active.version, codebook, self._ledger, key, shots=shots)
        named = replace(config, model=adapter_id)
        source = ChatApiSource(named, active.version, codebook, self._ledger, key, shots=shots)
        checked = partial(self._adapter, codebook, adapter_id)
        return ServedAdapter(source, AdapterServer(config.api, key), adapter_id, checked)

    def _adapter_folder(self, codebook: Codebook, adapter_id: str) -> Path:
        """Where an adapter's files lie, looked at anew at each load: their bytes, the codebook, the base."""
        adapter = self._adapter(codebook, adapter_id)
        check_base(adapter)
        return adapter.folder

    def _adapter(self, codebook: Codebook, adapter_id: str) -> Adapter:
        adapter = self._store.get(adapter_id)
        check_codebook(adapter, codebook)
        return adapter

    def _shots(self, codebook: Codebook, active: ActiveSource) -> Shots:
        """The examples that the source's prompt shows."""
        if active.snapshot is None:
            return ()
        config, examples = active.config, read_examples(active.snapshot)
        encoder = self._encoder(config.encoder) if config.encoder else None
        if config.examples is ExampleChoice.NEAREST and encoder is not None:
            return Nearest(encoder, examples, codebook, config.shots)
        return choose_per_code(examples, codebook, config.shots, encoder)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._store.home)

    def _model(self, config: SourceConfig) -> CausalModel:
        key = (config.model, config.weights)
        if key not in self._models:
            self._models[key] = CausalModel(config.model, self._facts, config.weights)
        return self._models[key]

    def _encoder(self, model: str) -> SentenceEncoder:
        if model not in self._encoders:
            self._encoders[model] = SentenceEncoder(model, self._facts, cache_of(self._store.home))
        return self._encoders[model]

    def _forget_earlier(self, key: Key, folder: Path) -> None:
        """Drop what a source, of the project whose snapshots lie in ``folder``, learned from earlier examples."""
        kept = self._learned.setdefault((key[0], key[1], folder), [])
        if key in kept:
            kept.remove(key)
        kept.append(key)
        for earlier in kept[:-SNAPSHOTS_KEPT]:
            del self._sources[earlier]
        del kept[:-SNAPSHOTS_KEPT]

    def _make_room(self) -> None:
        while len(self._adapters) > ADAPTERS_KEPT:
            key = next(iter(self._adapters))
            dropped, source = self._adapters.pop(key), self._sources.pop(key)
            if dropped.config.kind is SourceKind.CHAT_API:
                self._take_out(source, dropped.adapter_id)
            elif dropped.adapter_id and dropped.adapter_id not in {a.adapter_id for a in self._adapters.values()}:
                self._model(dropped.config).unload(dropped.adapter_id)

    def _take_out(self, source: Source, adapter_id: str | None) -> None:
        """Unload an adapter from its server, unless it is some project's current one: other processes ask for it."""
        home = self._store.home
        served = source.source if isinstance(source, CalibratedSource) else source
        with suppress(AdapterError):  # a project whose current one cannot be read: nothing is unloaded
            folders = [home / "projects" / str(project) for project in registered(home)]
            for folder in folders:
                shared_projects.refresh(folder)
            in_force = {current(folder) for folder in folders}
            if isinstance(served, ServedAdapter) and adapter_id not in in_force:
                served.unload()
