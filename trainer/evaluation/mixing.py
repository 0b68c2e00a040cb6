"""The weights that sources are mixed by, and what they changed for coders.

Measured without the source that leads (``ml_backend.leading``), whose codes stand before what the weights order. It was
chosen on the holdout, which is not among the documents here; on the holdout itself, figures of sources one by one are
not biased by that choice, those of the candidates with a lead would be, and are not given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from label_configs.codebook import Codebook
from label_configs.drawing import draw
from label_configs.records import CandidateSet, Decision, Proposal
from ml_backend.candidates import candidate_set
from ml_backend.experiment import Project
from ml_backend.mixing import EQUAL, Evidence, MixingWeights
from ml_backend.weights_file import weights_in_force
from trainer.source_weights import held_out, usable, weights_of
from trainer.verified import Reading

FOLDS = 5


@dataclass(frozen=True, slots=True)
class CodeWeight:
    """w_sc of one code; of the probability mass ``shown`` as candidates, coders kept ``kept``."""

    code: str
    weight: float
    kept: float
    shown: float


@dataclass(frozen=True, slots=True)
class SourceWeight:
    """A source in one version: m_s, its evidence, and the weights of the codes that coders judged of it."""

    source: str
    version: str
    weight: float
    kept: float
    shown: float
    codes: tuple[CodeWeight, ...]


@dataclass(frozen=True, slots=True)
class WeightsEffect:
    """Candidates by the weights against those by equal ones, over ``n`` documents that coders judged.

    Of the weights in force: in how many documents another candidate comes ``first``, the ``order`` differs, the ``set``
    differs. Cross-fitted (each document by weights learned from the decisions on the other four fifths): in how many
    the first candidate is right by equal weights, by learned ones, only by these (``gained``), only by equal ones.
    """

    n: int
    first: int
    order: int
    set: int
    right_equal: int
    right_weighted: int
    gained: int
    lost: int

    def as_json(self) -> dict[str, Any]:
        """The counts, and their shares of ``n``; null without documents."""
        counts = asdict(self)
        shares = {name: count / self.n if self.n else None for name, count in counts.items() if name != "n"}
        return counts | {"shares": shares}


@dataclass(frozen=True, slots=True)
class MixingReport:
    """The weights in force: their digest, how many documents they were learned from, each source's, their effect."""

    digest: str
    documents: int
    sources: tuple[SourceWeight, ...]
    effect: WeightsEffect

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``."""
        return asdict(self) | {"effect": self.effect.as_json()}


def mixing_report(project: Project, reading: Reading) -> MixingReport | None:
    """The weights in force and what they changed; None where all are equal.

    The effect is measured on the documents that weights may be learned from, where coders agree, by the proposals of
    the versions that were shown. Raises TrainingError where the weights cannot be read.
    """
    found = weights_in_force(project.folder)
    if not found.digest:
        return None
    held = held_out(project, reading)
    votes = usable(reading.decisions, project.codebook.kind)
    decisions = [decision for decision in votes if decision.document_id not in held]
    truth = {example.document_id: frozenset(example.labels) for example in reading.examples if example.labels}
    keys = set(project.codebook.label_keys)
    # Of a codebook that lost codes since, earlier proposals cannot be mixed by it.
    proposals = [one for one in reading.proposals if keys.issuperset(scored.label for scored in one.labels)]
    effect = _effect(decisions, _mixed_then(proposals, decisions), truth, project, found.weights)
    return MixingReport(found.digest, len(found.weights.documents), _sources(found.weights), effect)


def _sources(weights: MixingWeights) -> tuple[SourceWeight, ...]:
    of_source: dict[tuple[str, str], list[CodeWeight]] = {}
    for (source, version, code), found in sorted(weights.evidence.items()):
        weight = weights.weight(source, version, code)
        of_source.setdefault((source, version), []).append(CodeWeight(code, weight, found.kept, found.shown))
    rows = []
    for (source, version), codes in of_source.items():
        whole = sum((Evidence(one.kept, one.shown) for one in codes), start=Evidence())
        weight = weights.source_weight(source, version)
        rows.append(SourceWeight(source, version, weight, whole.kept, whole.shown, tuple(codes)))
    return tuple(rows)


def _mixed_then(proposals: Sequence[Proposal], decisions: Sequence[Decision]) -> dict[str, list[Proposal]]:
    """document id -> the proposals, of those still there, of the sources and versions that its last coder saw."""
    seen = {
        decision.document_id: {(by.source, by.version) for one in decision.shown.candidates for by in one.proposers}
        for decision in decisions
        if decision.shown is not None
    }
    found: dict[str, dict[str, Proposal]] = {}
    for proposal in proposals:
        if (proposal.source, proposal.version) in seen.get(proposal.document_id, ()):
            found.setdefault(proposal.document_id, {})[proposal.source] = proposal
    return {document_id: list(own.values()) for document_id, own in found.items()}


def _effect(
    decisions: Sequence[Decision],
    proposals: Mapping[str, Sequence[Proposal]],
    truth: Mapping[str, frozenset[str]],
    project: Project,
    weights: MixingWeights,
) -> WeightsEffect:
    documents = sorted(set(proposals) & set(truth))
    book, rule = project.codebook, project.experiment.candidates
    others = {fold: _without(decisions, fold, book) for fold in range(FOLDS)}
    first = order = sets = right_equal = right_weighted = gained = lost = 0
    for one in documents:
        plain, weighted, crossed = (
            _labels(candidate_set(one, proposals[one], rule, "", book, by))
            for by in (EQUAL, weights, others[_fold(one)])
        )
        first += plain[:1] != weighted[:1]
        order += plain != weighted
        sets += set(plain) != set(weighted)
        before, after = (bool(truth[one].intersection(labels[:1])) for labels in (plain, crossed))
        right_equal += before
        right_weighted += after
        gained += after and not before
        lost += before and not after
    return WeightsEffect(len(documents), first, order, sets, right_equal, right_weighted, gained, lost)


def _labels(shown: CandidateSet) -> list[str]:
    return [candidate.label for candidate in shown.candidates]


def _fold(document_id: str) -> int:
    return int(draw(document_id, "winnow-weights-fold") * FOLDS)


def _without(decisions: Sequence[Decision], fold: int, codebook: Codebook) -> MixingWeights:
    return weights_of([decision for decision in decisions if _fold(decision.document_id) != fold], codebook)
