"""Documents -> proposals -> candidates, with the store of proposals made before in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis

from label_configs.records import CandidateSet, Document, Proposal
from ml_backend import adapters, queue
from ml_backend.candidates import candidate_set
from ml_backend.classifying import ClassifySpec, Pool, propose_missing
from ml_backend.experiment import Project
from ml_backend.versions import ActiveSource, active_sources, review_version


@dataclass(frozen=True)
class Plan:
    """What proposes in a project now, and the name of the review prediction that comes of it."""

    project: Project
    sources: tuple[ActiveSource, ...]
    version: str

    @classmethod
    def of(cls, project: Project) -> Plan:
        """The plan in force: it changes when an adapter is promoted or rolled back, or the experiment is edited.

        It also changes when the verified examples that sources learn from have outgrown those they learned from before.
        """
        current = adapters.current(project.folder)
        adapter = adapters.store_of(project.home).described(current) if current else None
        sources = active_sources(project, adapter, pushed=True)
        return cls(project, sources, review_version(project, sources))

    @property
    def names(self) -> list[tuple[str, str]]:
        """(name, version) of each source."""
        return [(s.config.name, s.version) for s in self.sources]

    def candidates(self, document: Document, proposals: Sequence[Proposal]) -> CandidateSet:
        """The candidates of one document from the proposals of all sources."""
        return candidate_set(document.id, proposals, self.project.experiment.candidates, self.version)

    def ready(self, redis: Redis, documents: Sequence[Document]) -> list[list[Proposal] | None]:
        """For each document the proposals of all sources in their order, None where one is still missing."""
        kept = queue.get_proposals(redis, self.project.codebook.fingerprint, documents, self.names)
        names = [name for name, _ in self.names]
        return [[row[n] for n in names] if len(row) == len(names) else None for row in kept]

    def propose(self, redis: Redis, documents: Sequence[Document], pool: Pool) -> list[list[Proposal]]:
        """Proposals of all sources for each document; what was proposed before is not computed again."""
        return propose_missing(redis, pool, ClassifySpec(self.project.codebook, self.sources), documents)
