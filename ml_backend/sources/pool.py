"""The sources of this process: each model is loaded once and shared, each source is built once per version."""

from __future__ import annotations

from label_configs.codebook import Codebook
from ml_backend.adapters import AdapterStore
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.prompts import Prompt
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.base import Source
from ml_backend.sources.causal import CausalSource
from ml_backend.sources.fake import FakeSource
from ml_backend.sources.similarity import SentenceEncoder, SimilaritySource
from ml_backend.versions import ActiveSource

ADAPTERS_KEPT = 4  # the adapters used last; earlier ones make room, so that promotions do not fill the memory

Key = tuple[str, str, str]


class SourcePool:
    """Builds sources on demand and keeps them; a new adapter version is loaded at its first use, without a restart."""

    def __init__(self, facts: DeviceFacts, store: AdapterStore) -> None:
        self._facts = facts
        self._store = store
        self._models: dict[str, CausalModel] = {}
        self._encoders: dict[str, SentenceEncoder] = {}
        self._sources: dict[Key, Source] = {}
        self._adapters: dict[Key, ActiveSource] = {}  # the one used last at the end

    def source(self, codebook: Codebook, active: ActiveSource) -> Source:
        """The source ready to propose. Raises ModelError or AdapterError when it cannot be loaded."""
        key = (codebook.fingerprint, active.config.name, active.version)
        if key not in self._sources:
            self._sources[key] = self._build(codebook, active)
        if active.adapter_id:
            self._adapters.pop(key, None)
            self._adapters[key] = active
            self._make_room()
        return self._sources[key]

    def _build(self, codebook: Codebook, active: ActiveSource) -> Source:
        config = active.config
        if config.kind is SourceKind.FAKE:
            return FakeSource(config.name, active.version, codebook)
        if config.kind is SourceKind.SIMILARITY:
            encoder = self._encoders.get(config.model)
            if encoder is None:
                encoder = self._encoders[config.model] = SentenceEncoder(config.model, self._facts)
            return SimilaritySource(config.name, active.version, encoder, codebook, config.max_document_tokens)
        model = self._model(config)
        prompt = Prompt(config.prompt, codebook, model.tokenizer, config.max_document_tokens)
        folder = self._store.get(active.adapter_id).folder if active.adapter_id else None
        return CausalSource(
            config.name, active.version, model, prompt, adapter_id=active.adapter_id, adapter_folder=folder
        )

    def _model(self, config: SourceConfig) -> CausalModel:
        if config.model not in self._models:
            self._models[config.model] = CausalModel(config.model, self._facts)
        return self._models[config.model]

    def _make_room(self) -> None:
        while len(self._adapters) > ADAPTERS_KEPT:
            key = next(iter(self._adapters))
            dropped = self._adapters.pop(key)
            del self._sources[key]
            if dropped.adapter_id and dropped.adapter_id not in {a.adapter_id for a in self._adapters.values()}:
                self._model(dropped.config).unload(dropped.adapter_id)
