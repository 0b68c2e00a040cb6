"""Which version of each source is in force: known without loading a model, so the web process can ask."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath

from label_configs.codebook import Codebook
from label_configs.errors import AdapterError
from ml_backend.adapter_files import Adapter
from ml_backend.adapters import store_of
from ml_backend.experiment import Order, Project
from ml_backend.snapshot import latest_snapshot, pushed_snapshot
from ml_backend.source_config import ADAPTER_SOURCE, Calibration, SourceConfig, SourceKind, Weights
from ml_backend.source_plugins import plugin_of
from ml_backend.templates import prompt_version, shows_examples


@dataclass(frozen=True, slots=True)
class ActiveSource:
    """A source that proposes now, with its version.

    ``adapter_id`` is None for a base model; ``snapshot`` is the file of the verified examples that the source works
    with (a probe is fitted on them, a few-shot prompt shows some), None where it needs none.
    """

    config: SourceConfig
    version: str
    adapter_id: str | None = None
    snapshot: Path | None = None


def active_sources(project: Project, adapter: Adapter | None, *, pushed: bool = False) -> tuple[ActiveSource, ...]:
    """The project's sources in their order, and after them its current adapter, if there is one.

    A source that needs verified examples takes part once the project has a snapshot of enough of them: it works with
    the one published last, or with ``pushed`` with the one that Label Studio's tasks are proposed with. Raises
    AdapterError when an adapter is missing or was trained for another codebook.
    """
    found = []
    snapshot_of = pushed_snapshot if pushed else latest_snapshot
    for config in project.experiment.sources:
        if config.adapter is not None:
            named = store_of(project.home).described(config.adapter)
            found.append(adapter_source(named, project.codebook, config))
        elif not learns(config):
            found.append(ActiveSource(config, source_version(config, None)))
        elif (snapshot := snapshot_of(project.folder)) is not None:
            found.append(ActiveSource(config, source_version(config, None, snapshot.stem), snapshot=snapshot))
    if adapter is not None:
        found.append(current_source(project, adapter))
    return tuple(found)


def current_source(project: Project, adapter: Adapter) -> ActiveSource:
    """The project's current adapter as a source: asked in the workers, or of the server that ``serves_adapters``.

    Raises AdapterError when it was trained for another codebook.
    """
    config = SourceConfig(ADAPTER_SOURCE, SourceKind.ADAPTER)
    for host in project.experiment.sources:
        if host.api is not None and host.api.serves_adapters:
            config = SourceConfig(ADAPTER_SOURCE, SourceKind.CHAT_API, api=host.api, price=host.price)
    return adapter_source(adapter, project.codebook, config)


def adapter_source(adapter: Adapter, codebook: Codebook, config: SourceConfig) -> ActiveSource:
    """An adapter as a source: its manifest says with which base, prompt and length it proposes, those of its training.

    Raises AdapterError when it was trained for another codebook.
    """
    manifest = adapter.manifest
    if lacking := {"base", "prompt", "max_document_tokens", "codebook"} - manifest.keys():
        raise AdapterError(f"adapter {adapter.id}: its manifest lacks {', '.join(sorted(lacking))}; roll it back")
    check_codebook(adapter, codebook)
    config = replace(
        config,
        model=manifest["base"],
        prompt=prompt_of(adapter),
        max_document_tokens=manifest["max_document_tokens"],
        temperature=manifest.get("temperature") or config.temperature,
    )
    return ActiveSource(config, source_version(config, adapter.id), adapter.id)


def check_codebook(adapter: Adapter, codebook: Codebook) -> None:
    """Raise AdapterError where an adapter was trained for another codebook."""
    if adapter.manifest.get("codebook") != codebook.fingerprint:
        raise AdapterError(
            f"adapter {adapter.id}: was trained for another codebook than {codebook.name} as it is now; roll it back "
            "with `winnow adapters rollback`, or restore the codebook"
        )


def prompt_of(adapter: Adapter) -> str:
    """The prompt that an adapter was trained with: a shipped one's name, of a team's own file the copy kept beside it.

    So the adapter is asked as it was trained though the team goes on editing its file.
    """
    kept = adapter.manifest.get("prompt_file")
    return str(adapter.folder / kept) if kept else str(adapter.manifest["prompt"])


def learns(config: SourceConfig) -> bool:
    """Whether a source needs verified examples to propose."""
    asks = config.kind in (SourceKind.CAUSAL, SourceKind.CHAT_API)
    return config.kind is SourceKind.PROBE or (asks and shows_examples(config.prompt))


def source_version(config: SourceConfig, adapter_id: str | None, snapshot: str = "") -> str:
    """``model/prompt@adapter-id``; the prompt's place says how a source without a prompt works.

    Names all that the proposals depend on: a hub name stands in full, a folder by its name and a digest of its path;
    what differs from the defaults follows the prompt, and so does the digest of the examples that it works with. Of a
    package's source it names the package's version and a digest of the options. Raises ConfigError where that package
    is not installed here.
    """
    asks = config.kind in (SourceKind.CAUSAL, SourceKind.ADAPTER, SourceKind.CHAT_API)
    way = [prompt_version(config.prompt) if asks else str(config.kind)]
    if not isinstance(config.kind, SourceKind):
        plugin = plugin_of(config.kind)
        own = json.dumps([plugin.package, config.options], sort_keys=True)
        way += [plugin.version, hashlib.sha256(own.encode()).hexdigest()[:8]]
    if config.max_document_tokens != SourceConfig.max_document_tokens:
        way.append(str(config.max_document_tokens))
    if config.weights is not Weights.AUTO:
        way.append(config.weights.value)
    if config.calibration is not Calibration.NONE:
        way.append(config.calibration.value)
    if config.temperature != 1:
        way.append(f"t{config.temperature:g}")
    if snapshot:
        chosen = [] if config.kind is SourceKind.PROBE else [f"{config.shots}{config.examples.value}", config.encoder]
        way.append(hashlib.sha256("\0".join([snapshot, *chosen]).encode()).hexdigest()[:8])
    if config.kind is SourceKind.CHAT_API:
        way.append("api")
    return f"{_model_version(config)}/{'-'.join(way)}@{adapter_id or 'base'}"


def _model_version(config: SourceConfig) -> str:
    path = PurePath(config.model)
    if not path.is_absolute():
        return config.model or config.name
    return f"{path.name}-{hashlib.sha256(config.model.encode()).hexdigest()[:6]}"


def review_version(project: Project, sources: tuple[ActiveSource, ...], weights: str = "", leader: str = "") -> str:
    """Name of the review prediction: a digest of all that its candidates and its score depend on, documents apart.

    ``weights`` is the digest of the weights that the sources are mixed by, empty where they are equal; ``leader`` the
    source whose codes come first, empty where there is none.
    """
    review, training = project.experiment.review, project.experiment.training
    inputs = {
        "codebook": project.codebook.fingerprint,
        "form": project.form.value,
        "rule": asdict(project.experiment.candidates),
        "sources": [[s.config.name, s.version] for s in sources],
        "arms": [review.blind_share, review.choose_share, review.holdout, training and training.holdout_share],
        "order": [review.order] if review.order is Order.RANDOM else [review.order, review.random_share],
    } | {name: value for name, value in (("weights", weights), ("leader", leader)) if value}
    if project.team:
        inputs["team"] = asdict(project.team)
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return f"winnow-review-{digest[:12]}"
