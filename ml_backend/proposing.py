"""Documents -> proposals -> candidates, with the store of proposals made before in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from redis import Redis

from label_configs.errors import ModelError
from label_configs.records import Arm, CandidateSet, Document, Proposal
from ml_backend import adapters, ordering, promotions, proposal_cache
from ml_backend.arms import arm_of
from ml_backend.candidates import candidate_set
from ml_backend.classifying import ClassifySpec, Pool, propose_each, propose_missing
from ml_backend.experiment import Order, Project
from ml_backend.leading import leader
from ml_backend.mixing import EQUAL, MixingWeights
from ml_backend.places import UNIFORM, Places, learned_places
from ml_backend.versions import ActiveSource, active_sources, review_version
from ml_backend.weights_file import weights_in_force


@dataclass(frozen=True)
class Plan:
    """What proposes in a project now, and the name of the review prediction that comes of it.

    ``leader`` is the source whose codes come first, empty where there is none (``ml_backend.leading``); ``places`` says
    where the documents with a random place stand among the others.
    """

    project: Project
    sources: tuple[ActiveSource, ...]
    version: str
    weights: MixingWeights = EQUAL
    leader: str = ""
    places: Places = UNIFORM

    @classmethod
    def of(cls, project: Project) -> Plan:
        """The plan in force: it changes when an adapter is promoted or rolled back, or the experiment is edited.

        It also changes when the verified examples that sources learn from have outgrown those they learned from before,
        when coders' decisions have outgrown those that the sources' weights were learned from, and when another source
        leads.
        """
        current = promotions.current(project.folder)
        adapter = adapters.store_of(project.home).described(current) if current else None
        sources = active_sources(project, adapter, pushed=True)
        found = weights_in_force(project.folder)
        first = leader(project.folder, project.codebook, sources, found.weights)
        return cls(project, sources, review_version(project, sources, found.digest, first), found.weights, first)

    @property
    def names(self) -> list[tuple[str, str]]:
        """(name, version) of each source."""
        return [(s.config.name, s.version) for s in self.sources]

    def candidates(self, document: Document, proposals: Sequence[Proposal]) -> CandidateSet:
        """The candidates of one document from the proposals of all sources; none in the arms choose and blind."""
        experiment = self.project.experiment
        arm = arm_of(experiment, document.id)
        if arm is not Arm.REVIEW:
            return CandidateSet(document.id, self.version, (), arm)
        return candidate_set(
            document.id,
            proposals,
            experiment.candidates,
            self.version,
            self.project.codebook,
            self.weights,
            self.leader,
        )

    def score(self, document: Document, proposals: Sequence[Proposal]) -> float:
        """The document's place in [0, 1] in the order in which coders get them, the lowest first; see ``ordering``."""
        score = self._own_score(document, proposals)
        return ordering.rounded(self.places.at(ordering.drawn_place(document.id))) if score is None else score

    def placing(
        self, redis: Redis, documents: Sequence[Document] = (), proposals: Sequence[Sequence[Proposal]] = ()
    ) -> Plan:
        """The plan with ``places`` by the documents seen before and these, which are remembered."""
        if self.project.experiment.review.order is Order.RANDOM:
            return self
        scores: dict[int, float] = {}
        draws: dict[int, float] = {}
        for document, made in zip(documents, proposals, strict=True):
            if document.task_id is not None:
                score = self._own_score(document, made)
                if score is None:
                    draws[document.task_id] = ordering.drawn_place(document.id)
                else:
                    scores[document.task_id] = score
        return replace(self, places=learned_places(redis, self.project.id, self.version, scores, draws))

    def _own_score(self, document: Document, proposals: Sequence[Proposal]) -> float | None:
        """By what sources say of the document; None where its place is random."""
        review, training = self.project.experiment.review, self.project.experiment.training
        if ordering.is_random(document.id, review, training):
            return None
        return ordering.score(document.id, proposals, review.order, self.project.codebook, self.weights)

    def ready(self, redis: Redis, documents: Sequence[Document]) -> list[list[Proposal] | None]:
        """For each document the proposals of all sources in their order, None where one is still missing."""
        kept = proposal_cache.get_proposals(redis, self.project.codebook.fingerprint, documents, self.names)
        names = [name for name, _ in self.names]
        return [[row[n] for n in names] if len(row) == len(names) else None for row in kept]

    def propose(self, redis: Redis, documents: Sequence[Document], pool: Pool) -> list[list[Proposal]]:
        """Proposals of all sources for each document; what was proposed before is not computed again."""
        return propose_missing(redis, pool, ClassifySpec(self.project.codebook, self.sources), documents)

    def propose_each(
        self, redis: Redis, documents: Sequence[Document], pool: Pool
    ) -> list[list[Proposal] | ModelError]:
        """The same, with the reason in the place of a document that a source fails for."""
        return propose_each(redis, pool, ClassifySpec(self.project.codebook, self.sources), documents)
