"""Sources of installed packages at work. Loads their code: imported by processes that propose, never by the web's."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from rq.timeouts import BaseTimeoutException

from label_configs.codebook import Codebook
from label_configs.errors import ConfigError, ModelError, WinnowError
from label_configs.records import Document, Proposal
from label_configs.strictyaml import Location, YamlFile, build
from ml_backend.source_config import SourceConfig
from ml_backend.source_plugins import InstalledPlugin, plugin_of
from ml_backend.sources.base import Source
from ml_backend.sources.plugin import SourcePlugin
from ml_backend.versions import ActiveSource, source_version


class PluggedSource:
    """A package's source, its proposals looked at: whatever it does, others get sound proposals or one error."""

    def __init__(self, source: Source, active: ActiveSource, plugin: InstalledPlugin, codebook: Codebook) -> None:
        self.name, self.version = active.config.name, active.version
        self._source, self._plugin, self._labels = source, plugin, sorted(codebook.label_keys)

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order. Raises ModelError where the package's source fails."""
        with blamed(self.name, self._plugin):
            proposals = list(self._source.propose(documents))
        if problem := self._problem(documents, proposals):
            raise ModelError(f"source {self.name}: {self._plugin} {problem}; mend the package, or update it")
        return proposals

    def _problem(self, documents: Sequence[Document], proposals: Sequence[Proposal]) -> str:
        """What is wrong with proposals, empty where nothing is."""
        if not all(isinstance(proposal, Proposal) for proposal in proposals):
            return "gave something that is no Proposal"
        if [proposal.document_id for proposal in proposals] != [document.id for document in documents]:
            return f"gave {len(proposals)} proposals for {len(documents)} documents, not one each in their order"
        for proposal in proposals:
            if (proposal.source, proposal.version) != (self.name, self.version):
                return "gave proposals under another name or version than it was made with"
            if sorted(scored.label for scored in proposal.labels) != self._labels:
                return "gave a proposal that has not each of the codebook's labels once"
            probabilities = [scored.probability for scored in proposal.labels]
            if not all(isfinite(p) and 0 <= p <= 1 for p in probabilities):
                return "gave a probability that is not between 0 and 1"
            if probabilities != sorted(probabilities, reverse=True):
                return "gave labels that are not in the order of their probabilities; `ranked` sorts them"
        return ""


def plugged_source(codebook: Codebook, active: ActiveSource) -> PluggedSource:
    """A source of a package, ready to propose.

    Raises ConfigError where the package is missing or of another version than was asked for, where it refuses its
    options, and where it sends documents away without leave; ModelError where its code fails.
    """
    config = active.config
    found = plugin_of(config.kind)
    if source_version(config, None) != active.version:
        raise ConfigError(
            f"source {config.name}: {found} is installed here, {active.version} was asked for; install the same on all "
            "hosts and start their processes anew"
        )
    plugin = loaded(found, config.name)
    options = checked(plugin, found, config, _Named(Path(f"source {config.name}"), None, {}), ("options",))
    with blamed(config.name, found):
        source = plugin.make(config.name, active.version, codebook, options)
    return PluggedSource(source, active, found, codebook)


def loaded(found: InstalledPlugin, name: str) -> SourcePlugin:
    """The package's code, imported now. Raises ModelError where it cannot be, or is no plugin."""
    with blamed(name, found):
        plugin = found.entry.load()
    if not isinstance(plugin, SourcePlugin):
        raise ModelError(f"source {name}: {found} names {found.entry.value}, which is no SourcePlugin; update it")
    return plugin


def checked(plugin: SourcePlugin, found: InstalledPlugin, config: SourceConfig, file: YamlFile, at: Location) -> Any:
    """A source's options as its package wants them; ``file`` and ``at`` say where they stand.

    Raises ConfigError where they are refused, or where documents would leave this machine without leave.
    """
    if plugin.sends_documents_away and not config.allow_remote:
        where = file.where(at[:-1])
        raise ConfigError(
            f"{where}: {found} sends documents away from this machine; add `allow_remote: true` to let it"
        )
    if plugin.options is None:
        if config.options:
            raise ConfigError(f"{file.where(at)}: options: {found} has none; remove them")
        return None
    return build(plugin.options, dict(config.options), source=file, at=at)


@contextmanager
def blamed(name: str, found: InstalledPlugin) -> Iterator[None]:
    """Whatever goes wrong in a package's code is one error that names the package and the line.

    What the code itself said is left out: it may quote a document.
    """
    try:
        yield
    except (WinnowError, BaseTimeoutException):
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(last.filename).name}:{last.lineno}"
        raise ModelError(
            f"source {name}: {found} failed ({type(error).__name__} at {at}); mend the package, or update it"
        ) from error


@dataclass(frozen=True)
class _Named(YamlFile):
    """Stands for winnow.yaml where only the source's name is known: its path is that."""

    def where(self, at: Location) -> str:
        """The source's name."""
        del at
        return str(self.path)
