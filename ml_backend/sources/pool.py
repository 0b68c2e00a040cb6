"""The sources of this process: each base model is loaded once and shared, each source is built once per version."""

from __future__ import annotations

from ml_backend.adapters import AdapterStore
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.experiment import Project, SourceKind
from ml_backend.prompts import Prompt
from ml_backend.sources.base import Source
from ml_backend.sources.causal import CausalSource
from ml_backend.sources.fake import FakeSource
from ml_backend.sources.similarity import SimilaritySource
from ml_backend.versions import ActiveSource


class SourcePool:
    """Builds sources on demand and keeps them; a new adapter version is loaded at its first use, without a restart."""

    def __init__(self, facts: DeviceFacts, store: AdapterStore) -> None:
        self._facts = facts
        self._store = store
        self._models: dict[str, CausalModel] = {}
        self._sources: dict[tuple[str, str, str, str], Source] = {}

    def source(self, project: Project, active: ActiveSource) -> Source:
        """The source ready to propose. Raises ModelError or AdapterError when it cannot be loaded."""
        key = (project.codebook.fingerprint, active.config.name, active.config.model, active.version)
        if key not in self._sources:
            self._sources[key] = self._build(project, active)
        return self._sources[key]

    def _build(self, project: Project, active: ActiveSource) -> Source:
        config, codebook = active.config, project.codebook
        if config.kind is SourceKind.FAKE:
            return FakeSource(config.name, active.version, codebook)
        if config.kind is SourceKind.SIMILARITY:
            return SimilaritySource(config.name, active.version, config.model, codebook, self._facts)
        model = self._models.get(config.model)
        if model is None:
            model = self._models[config.model] = CausalModel(config.model, self._facts)
        prompt = Prompt(config.prompt, codebook, model.tokenizer, config.max_document_tokens)
        folder = self._store.get(active.adapter_id).folder if active.adapter_id else None
        return CausalSource(
            config.name, active.version, model, prompt, adapter_id=active.adapter_id, adapter_folder=folder
        )
