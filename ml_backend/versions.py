"""Which version of each source is in force: known without loading a model, so the web process can ask."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import PurePath

from label_configs.errors import AdapterError
from ml_backend.adapters import Adapter
from ml_backend.experiment import ADAPTER_SOURCE, Project, SourceConfig, SourceKind
from ml_backend.prompts import prompt_version


@dataclass(frozen=True, slots=True)
class ActiveSource:
    """A source that proposes now, with its version; ``adapter_id`` is None for a base model."""

    config: SourceConfig
    version: str
    adapter_id: str | None = None


def active_sources(project: Project, adapter: Adapter | None) -> tuple[ActiveSource, ...]:
    """The project's sources in their order, and after them its current adapter, if there is one.

    The adapter's manifest says with which base and prompt it proposes: those that it was trained with. Raises
    AdapterError when it was trained for another codebook.
    """
    found = [ActiveSource(config, source_version(config, None)) for config in project.experiment.sources]
    if adapter is not None:
        manifest = adapter.manifest
        if lacking := {"base", "prompt", "max_document_tokens", "codebook"} - manifest.keys():
            raise AdapterError(f"adapter {adapter.id}: its manifest lacks {', '.join(sorted(lacking))}; roll it back")
        if manifest["codebook"] != project.codebook.fingerprint:
            raise AdapterError(
                f"adapter {adapter.id}: was trained for another codebook than project {project.id} has now; "
                "roll it back with `winnow adapters rollback` or restore the codebook"
            )
        config = SourceConfig(
            ADAPTER_SOURCE, SourceKind.ADAPTER, manifest["base"], manifest["prompt"], manifest["max_document_tokens"]
        )
        found.append(ActiveSource(config, source_version(config, adapter.id), adapter.id))
    return tuple(found)


def source_version(config: SourceConfig, adapter_id: str | None) -> str:
    """``model/prompt@adapter-id``; the prompt's place says how a source without a prompt works.

    Names all that the proposals depend on: a hub name stands in full, a folder by its name and a digest of its path,
    and where documents are cut at another length than by default, the prompt says so.
    """
    causal = config.kind in (SourceKind.CAUSAL, SourceKind.ADAPTER)
    way = prompt_version(config.prompt) if causal else config.kind.value
    if config.max_document_tokens != SourceConfig.max_document_tokens:
        way += f"-{config.max_document_tokens}"
    return f"{_model_version(config)}/{way}@{adapter_id or 'base'}"


def _model_version(config: SourceConfig) -> str:
    path = PurePath(config.model)
    if not path.is_absolute():
        return config.model or config.name
    return f"{path.name}-{hashlib.sha256(config.model.encode()).hexdigest()[:6]}"


def review_version(project: Project, sources: tuple[ActiveSource, ...]) -> str:
    """Name of the review prediction: a digest of all that its candidates depend on, documents apart."""
    inputs = {
        "codebook": project.codebook.fingerprint,
        "form": project.form.value,
        "rule": asdict(project.experiment.candidates),
        "sources": [[s.config.name, s.version] for s in sources],
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return f"winnow-review-{digest[:12]}"
