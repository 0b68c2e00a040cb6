"""Proposals of all sources -> the candidates that a coder sees."""

from __future__ import annotations

from collections.abc import Sequence

from label_configs.records import Candidate, CandidateSet, Proposal, Proposer
from ml_backend.experiment import CandidateRule


def candidate_set(document_id: str, proposals: Sequence[Proposal], rule: CandidateRule, version: str) -> CandidateSet:
    """Union of each source's ``top_k`` labels at or above the floor; by agreement, then by mean probability.

    A candidate's probability is its mean over all sources, those that did not propose it included. With no label at or
    above the floor, the most probable one of each source is shown, so that there is something to reject.
    """
    chosen = _chosen(proposals, rule, rule.floor) or _chosen(proposals, CandidateRule(top_k=1), 0.0)
    mean = _mean_probabilities(proposals)
    candidates = [
        Candidate(label, mean[label], tuple(sorted(proposers, key=lambda p: -p.probability)))
        for label, proposers in chosen.items()
    ]
    candidates.sort(key=lambda c: (-len(c.proposers), -c.probability, c.label))
    return CandidateSet(document_id, version, tuple(candidates[: rule.max]))


def _chosen(proposals: Sequence[Proposal], rule: CandidateRule, floor: float) -> dict[str, list[Proposer]]:
    chosen: dict[str, list[Proposer]] = {}
    for proposal in proposals:
        for rank, scored in enumerate(proposal.labels[: rule.top_k], 1):
            if scored.probability >= floor:
                proposer = Proposer(proposal.source, proposal.version, scored.probability, rank)
                chosen.setdefault(scored.label, []).append(proposer)
    return chosen


def _mean_probabilities(proposals: Sequence[Proposal]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for proposal in proposals:
        for scored in proposal.labels:
            totals[scored.label] = totals.get(scored.label, 0.0) + scored.probability
    return {label: min(1.0, total / len(proposals)) for label, total in totals.items()}
