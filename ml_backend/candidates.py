"""Proposals of all sources -> the candidates that a coder sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

from label_configs.codebook import Codebook, Kind
from label_configs.records import Candidate, CandidateSet, Proposal, Proposer, chosen_labels
from ml_backend.experiment import CandidateRule
from ml_backend.mixing import EQUAL, MixingWeights, mixed

_DIGITS = 6  # of a probability, as proposals have them


def candidate_set(
    document_id: str,
    proposals: Sequence[Proposal],
    rule: CandidateRule,
    version: str,
    codebook: Codebook,
    weights: MixingWeights = EQUAL,
    leader: str = "",
) -> CandidateSet:
    """Union of each source's ``top_k`` codes at or above the floor; by agreement, then by mixed probability.

    The codes that the source ``leader`` stands for come before all others: its first, or where several may hold, those
    with 0.5 or more.

    Agreement counts the sources that propose a code, each by its weight for that code as a multiple of their mean, the
    sum rounded to whole sources: with equal weights their number, while two that are seldom right do not outvote one
    that mostly is. A candidate's probability is mixed over all sources, those that did not propose it included.

    A code that every source puts last is never shown: no other code stands below it, or its probability is 0; where
    several codes may hold, a source that gives one 0.5 or more does not put it last. With no code at or above the
    floor, the first of each source is shown, so that there is something to reject.

    Of a graded codebook, sources propose codes by the probability that they hold at any level; the candidate is the
    level of the highest mixed probability, and what each source gives to that level. The other levels are not shown: a
    coder corrects the level. Raises CodebookError for a label that the codebook has not.
    """
    rankings = [_Ranking.of(proposal, codebook) for proposal in proposals]
    found = _proposed(rankings, rule) or _proposed(rankings, replace(rule, top_k=1, floor=0.0))
    probability = dict(zip(codebook.label_keys, mixed(proposals, codebook, weights).tolist(), strict=True))
    labels = _likeliest(codebook, found, probability)
    candidates = [
        Candidate(
            labels[code],
            round(probability[labels[code]], _DIGITS),
            tuple(sorted((ranking.proposer(labels[code]) for ranking in by), key=lambda p: (-p.probability, p.source))),
        )
        for code, by in found.items()
    ]
    votes = {labels[code]: _votes(code, by, rankings, weights) for code, by in found.items()}
    led = _stands_for(leader, proposals, codebook)
    candidates.sort(key=lambda c: (codebook.label(c.label).code not in led, -votes[c.label], -c.probability, c.label))
    return CandidateSet(document_id, version, tuple(candidates[: rule.max]))


@dataclass(frozen=True)
class _Ranking:
    """One proposal: its codes with their probabilities, most probable first, and those that it puts last."""

    proposal: Proposal
    codes: tuple[tuple[str, float], ...]
    last: frozenset[str]

    @classmethod
    def of(cls, proposal: Proposal, codebook: Codebook) -> _Ranking:
        holds: dict[str, float] = {}
        for scored in proposal.labels:
            code = codebook.label(scored.label).code
            holds[code] = holds.get(code, 0.0) + scored.probability
        codes = sorted(holds.items(), key=lambda pair: -pair[1])  # equal ones in the proposal's order
        below = codes[1:]  # the first of a source is never its last
        unlisted = {code.key for code in codebook.codes} - holds.keys()
        nothing = {code for code, probability in below if round(probability, _DIGITS) <= 0}
        lowest = {code for code, p in below[-1:] if codebook.kind is Kind.EXCLUSIVE or p < 0.5}
        return cls(proposal, tuple(codes), frozenset(unlisted | nothing | (lowest if not unlisted else set())))

    def proposer(self, label: str) -> Proposer:
        """This source's support for a label; ranked behind all others where it does not list it."""
        listed = self.proposal.labels
        rank, probability = next(
            ((rank, one.probability) for rank, one in enumerate(listed, 1) if one.label == label),
            (len(listed) + 1, 0.0),
        )
        return Proposer(self.proposal.source, self.proposal.version, probability, rank)


def _proposed(rankings: Sequence[_Ranking], rule: CandidateRule) -> dict[str, list[_Ranking]]:
    """The codes to show, each with the sources that propose it."""
    last_of_all = frozenset.intersection(*(ranking.last for ranking in rankings)) if rankings else frozenset()
    found: dict[str, list[_Ranking]] = {}
    for ranking in rankings:
        for code, probability in ranking.codes[: rule.top_k]:
            if probability >= rule.floor and code not in last_of_all:
                found.setdefault(code, []).append(ranking)
    return found


def _stands_for(source: str, proposals: Sequence[Proposal], codebook: Codebook) -> set[str]:
    """The codes that a source's proposal stands for; none where it has not proposed."""
    chosen = [chosen_labels(one, kind=codebook.kind) for one in proposals if one.source == source]
    return {codebook.label(label).code for labels in chosen for label in labels}


def _votes(code: str, by: Sequence[_Ranking], rankings: Sequence[_Ranking], weights: MixingWeights) -> int:
    """How many sources of mean weight those that propose a code amount to."""

    def weight(ranking: _Ranking) -> float:
        return weights.weight(ranking.proposal.source, ranking.proposal.version, code)

    mean = fsum(map(weight, rankings)) / len(rankings)
    return round(fsum(map(weight, by)) / mean)


def _likeliest(
    codebook: Codebook, codes: Mapping[str, Sequence[_Ranking]], probability: Mapping[str, float]
) -> dict[str, str]:
    """Of each code its label of the highest mixed probability; of equal ones the first in the codebook."""
    best: dict[str, str] = {}
    for label in codebook.labels:
        if label.code in codes and (label.code not in best or probability[label.key] > probability[best[label.code]]):
            best[label.code] = label.key
    return best
