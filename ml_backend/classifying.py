"""Which sources classify documents by which codebook, with or without a Label Studio project, and having them do it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError
from redis import Redis

from label_configs.codebook import Codebook, codebook_data, read_codebook
from label_configs.errors import ConfigError, ModelError
from label_configs.records import Document, Proposal
from label_configs.strictyaml import nearest
from ml_backend import adapters, promotions, proposal_cache, shared_projects
from ml_backend.experiment import Experiment, Project
from ml_backend.log_events import LogEvent, tell
from ml_backend.source_config import ADAPTER_SOURCE, SourceConfig, SourceKind
from ml_backend.sources.base import Source
from ml_backend.sources.together import propose_each_together, propose_together
from ml_backend.versions import (
    ActiveSource,
    active_sources,
    adapter_source,
    current_source,
    learns,
    prompt_of,
    source_version,
)

log = logging.getLogger(__name__)

ADAPTER_PREFIX = "adapter:"  # before the id of an adapter, where a source is named

_CONFIG = TypeAdapter(SourceConfig)


class Pool(Protocol):
    """What builds sources and keeps them: ``SourcePool``, by its shape alone, since importing it loads torch."""

    def source(self, codebook: Codebook, active: ActiveSource) -> Source:
        """The source ready to propose."""


@dataclass(frozen=True)
class ClassifySpec:
    """All that the proposals depend on, documents apart: a codebook, and sources in the order of their proposals."""

    codebook: Codebook
    sources: tuple[ActiveSource, ...]

    @property
    def names(self) -> list[tuple[str, str]]:
        """(name, version) of each source."""
        return [(s.config.name, s.version) for s in self.sources]

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that change with codebook, sources, their order and versions; the same on any host."""
        named = json.dumps([self.codebook.fingerprint, self.names])
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    def to_json(self, home: Path) -> dict[str, Any]:
        """Plain data for another process, whose ``home`` may lie elsewhere. Holds no secret: API keys go by name."""
        return {"codebook": codebook_data(self.codebook), "sources": [_active_to_json(s, home) for s in self.sources]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], home: Path) -> ClassifySpec:
        """The spec that ``to_json`` wrote. Raises ConfigError when it is of another version of Winnow."""
        try:
            sources = tuple(_active_from_json(s, home) for s in data["sources"])
            return cls(read_codebook(data["codebook"]), sources)
        except (KeyError, TypeError, ValidationError) as error:
            raise ConfigError(
                f"a classification's sources cannot be read ({type(error).__name__}), they are of another version of "
                "Winnow; update all of its processes and start them anew"
            ) from None


def _active_to_json(active: ActiveSource, home: Path) -> dict[str, Any]:
    snapshot = active.snapshot
    if snapshot is not None and snapshot.is_relative_to(home):
        snapshot = snapshot.relative_to(home)
    return {
        "config": asdict(active.config),
        "version": active.version,
        "adapter_id": active.adapter_id,
        "snapshot": None if snapshot is None else str(snapshot),
    }


def _active_from_json(data: Mapping[str, Any], home: Path) -> ActiveSource:
    # As JSON, since only that turns text into enums while it refuses what is of a wrong type.
    config = _CONFIG.validate_json(json.dumps(data["config"]), strict=True, extra="forbid")
    snapshot = None if data["snapshot"] is None else home / data["snapshot"]
    if snapshot is not None and not snapshot.exists():
        shared_projects.refresh(snapshot.parent.parent)
    if data["adapter_id"] is not None:  # the prompt that is kept beside it lies elsewhere on another host
        config = replace(config, prompt=prompt_of(adapters.store_of(home).described(data["adapter_id"])))
    return ActiveSource(config, data["version"], data["adapter_id"], snapshot)


def resolve(
    home: Path,
    *,
    codebook: Codebook | None = None,
    experiment: Experiment | None = None,
    project: Project | None = None,
    names: Sequence[str] = (),
) -> ClassifySpec:
    """What ``names`` stand for: ``adapter:<id>``, ``adapter`` (the project's current one), or names of its sources.

    The sources are the project's, else those of ``experiment`` (a winnow.yaml), whose codebook comes with it. Without
    names: the project's current adapter if there is one, else all sources; a source that learns from verified examples
    takes part when the project has them. Reads no adapter's bytes and loads no model. Raises ConfigError or
    AdapterError that name what is wrong.
    """
    if project is not None:
        if codebook is not None and codebook.fingerprint != project.codebook.fingerprint:
            raise ConfigError(f"project {project.id} has a codebook of its own; name either the project or a codebook")
        codebook = project.codebook
    if codebook is None:
        raise ConfigError("no codebook to classify by; name a codebook, or a project, which has one")
    found = _Choice(home, codebook, experiment, project)
    chosen = [found.named(name) for name in dict.fromkeys(names)] if names else found.default()
    return ClassifySpec(codebook, tuple(chosen))


@dataclass(frozen=True)
class _Choice:
    """The sources that can be named."""

    home: Path
    codebook: Codebook
    experiment: Experiment | None
    project: Project | None

    @property
    def _configs(self) -> dict[str, SourceConfig]:
        experiment = self.project.experiment if self.project else self.experiment
        return {config.name: config for config in experiment.sources} if experiment else {}

    @property
    def _place(self) -> str:
        return f"project {self.project.id}" if self.project else "winnow.yaml"

    @cached_property
    def _current(self) -> ActiveSource | None:
        """The project's current adapter as a source."""
        current = promotions.current(self.project.folder) if self.project else None
        if self.project is None or current is None:
            return None
        return current_source(self.project, adapters.store_of(self.home).described(current))

    def _adapter(self, config: SourceConfig) -> ActiveSource:
        """Raises AdapterError when it is not in the store, or was trained for another codebook."""
        described = adapters.store_of(self.home).described(config.adapter or "")
        return adapter_source(described, self.codebook, config)

    def default(self) -> list[ActiveSource]:
        if self._current is not None:
            return [self._current]
        if not self._configs:
            raise ConfigError(f"no source to classify with; name one, such as {ADAPTER_PREFIX}<id>")
        found = {name: self._active(config) for name, config in self._configs.items()}
        if left_out := [name for name, active in found.items() if active is None]:
            tell(log, LogEvent.SOURCES_LEFT_OUT, place=self._place, sources=left_out)
        if not any(found.values()):
            raise self._untaught(left_out[0])
        return [active for active in found.values() if active is not None]

    def named(self, name: str) -> ActiveSource:
        if name.startswith(ADAPTER_PREFIX):
            adapter_id = name.removeprefix(ADAPTER_PREFIX)
            return self._adapter(SourceConfig(name, SourceKind.ADAPTER, adapter=adapter_id))
        if name == ADAPTER_SOURCE:
            if self._current is None:
                whose = f"{self._place} has no current adapter" if self.project else "only a project has a current one"
                raise ConfigError(f"source {name!r}: {whose}; name {ADAPTER_PREFIX}<id>, see `winnow adapters list`")
            return self._current
        if name not in self._configs:
            raise self._unknown(name)
        active = self._active(self._configs[name])
        if active is None:
            raise self._untaught(name)
        return active

    def _active(self, config: SourceConfig) -> ActiveSource | None:
        """None where it needs verified examples and there are none."""
        if config.adapter is not None:
            return self._adapter(config)
        if not learns(config):
            return ActiveSource(config, source_version(config, None))
        if self.project is None:
            return None
        return next((a for a in active_sources(self.project, None) if a.config.name == config.name), None)

    def _unknown(self, name: str) -> ConfigError:
        known = [*self._configs, *([ADAPTER_SOURCE] if self._current else [])]
        if not known:
            return ConfigError(f"source {name!r}: no project or winnow.yaml to look in; name {ADAPTER_PREFIX}<id>")
        hint = nearest(name, known).replace("valid key", "source")
        return ConfigError(f"source {name!r}: not one of {self._place}, nor {ADAPTER_PREFIX}<id>; rename it {hint}")

    def _untaught(self, name: str) -> ConfigError:
        if self.project is None:
            return ConfigError(f"source {name!r}: works with verified examples, which a project has; name the project")
        return ConfigError(
            f"source {name!r}: works with verified examples, of which {self._place} has too few; code documents first"
        )


def propose_all(pool: Pool, spec: ClassifySpec, documents: Sequence[Document]) -> list[list[Proposal]]:
    """For each document the proposals of all sources, in the spec's order.

    Raises ModelError or AdapterError when a source cannot be loaded.
    """
    made = propose_together([pool.source(spec.codebook, active) for active in spec.sources], documents)
    return [list(row) for row in zip(*made, strict=True)]


def propose_missing(
    redis: Redis, pool: Pool, spec: ClassifySpec, documents: Sequence[Document], *, keep: bool = True
) -> list[list[Proposal]]:
    """``propose_all``, without computing again what Redis has kept; ``keep`` has it keep what is made now.

    With ``keep``, what is made is kept also where another source or document fails: it may have been paid for.
    """
    if keep:
        made = propose_each(redis, pool, spec, documents)
        if failed := next((one for one in made if isinstance(one, ModelError)), None):
            raise failed
        return [one for one in made if not isinstance(one, ModelError)]
    rows = proposal_cache.get_proposals(redis, spec.codebook.fingerprint, documents, spec.names)
    for sources, places in _lacking(spec, rows):
        all_made = propose_all(pool, ClassifySpec(spec.codebook, sources), [documents[i] for i in places])
        for i, of_document in zip(places, all_made, strict=True):
            rows[i] |= {proposal.source: proposal for proposal in of_document}
    return [[row[name] for name, _ in spec.names] for row in rows]


def propose_each(
    redis: Redis, pool: Pool, spec: ClassifySpec, documents: Sequence[Document]
) -> list[list[Proposal] | ModelError]:
    """For each document the proposals of all sources, in the spec's order, or why one of them has none.

    What Redis has kept is not computed again, and what is made now it keeps. Raises ModelError or AdapterError when a
    source cannot be loaded.
    """
    fingerprint = spec.codebook.fingerprint
    rows = proposal_cache.get_proposals(redis, fingerprint, documents, spec.names)
    failed: dict[int, ModelError] = {}
    for sources, places in _lacking(spec, rows):
        loaded = [pool.source(spec.codebook, active) for active in sources]
        asked = [documents[i] for i in places]
        for of_source in propose_each_together(loaded, asked):
            for i, made in zip(places, of_source, strict=True):
                if isinstance(made, Proposal):
                    rows[i][made.source] = made
                else:
                    failed.setdefault(i, made)
        new = [(documents[i], rows[i][s.config.name]) for i in places for s in sources if s.config.name in rows[i]]
        proposal_cache.put_proposals(redis, fingerprint, new)
    return [failed[i] if i in failed else [row[name] for name, _ in spec.names] for i, row in enumerate(rows)]


def _lacking(
    spec: ClassifySpec, rows: Sequence[Mapping[str, Proposal]]
) -> list[tuple[tuple[ActiveSource, ...], list[int]]]:
    """Sources, and the places of the documents that lack the proposals of just these."""
    lacking: dict[tuple[ActiveSource, ...], list[int]] = {}
    for i, row in enumerate(rows):
        if sources := tuple(s for s in spec.sources if s.config.name not in row):
            lacking.setdefault(sources, []).append(i)
    return list(lacking.items())
