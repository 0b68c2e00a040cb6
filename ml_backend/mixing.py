"""Sources mixed by weights that are learned from what coders kept and rejected.

A label's mixed probability is the weighted mean of the sources' (a linear opinion pool; Genest and Zidek, Combining
Probability Distributions, Statistical Science 1986):

    p(c) = sum over sources s of w_sc p_s(c) / sum over s of w_sc

A graded codebook's levels share their code's weight. The weight w_sc is a kept rate: of the probability that the source
gave to this code where it was shown as a candidate, the part that coders kept. So a second choice that came with 0.05
and was wrong counts against a source as little as it weighed. With K the probability mass kept and N that shown, as in
the mean of a beta-binomial's posterior whose prior weighs as much as ``PRIOR`` units of mass, each rate is shrunk
towards the one above it:

    m    = (K + 1) / (N + 2)                               all sources and codes
    m_s  = (K_s  + PRIOR m)   / (N_s  + PRIOR)             a source
    w_sc = (K_sc + PRIOR m_s) / (N_sc + PRIOR)             a code of a source

K_s and K_sc are of one version of the source; what coders decided on its other versions counts half (a power prior;
Ibrahim and Chen, Power Prior Distributions for Regression Models, Statistical Science 2000). So a probe that was fitted
anew goes on from what its name has earned, and the first adapter, of which nobody has seen anything, from the mean of
all. Without decisions all weights are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from label_configs.codebook import Codebook
from label_configs.records import Proposal
from ml_backend.probabilities import Floats, probabilities_of

PRIOR = 10.0  # probability mass; a rate is half its own and half the one above it once so much was shown
OTHER_VERSIONS = 0.5  # what a decision on another version of a source counts

Cell = tuple[str, str, str]  # source, version, code


@dataclass(frozen=True, slots=True)
class Evidence:
    """Probability mass that a source gave to candidates that coders judged, and the part of it that they kept."""

    kept: float = 0.0
    shown: float = 0.0

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.kept + other.kept, self.shown + other.shown)

    def __mul__(self, factor: float) -> Evidence:
        return Evidence(self.kept * factor, self.shown * factor)

    def towards(self, rate: float) -> float:
        """The kept rate, shrunk towards ``rate``."""
        return (self.kept + PRIOR * rate) / (self.shown + PRIOR)


@dataclass(frozen=True)
class MixingWeights:
    """What coders decided on each source, version and code, and the weights that come of it; see the module.

    ``documents`` are the ids of those that the decisions are on, sorted. ``firsts`` counts by source the documents that
    coders judged it on since the round ``since``, and those of them for which they kept what it put first: by these
    ``ml_backend.leading`` says who leads, the weights do not depend on them.
    """

    evidence: Mapping[Cell, Evidence] = field(default_factory=dict)
    documents: tuple[str, ...] = ()
    firsts: Mapping[str, Evidence] = field(default_factory=dict)
    since: str = ""

    def weight(self, source: str, version: str, code: str) -> float:
        """w_sc, in (0, 1)."""
        return self._evidence(source, version, code).towards(self.source_weight(source, version))

    def source_weight(self, source: str, version: str) -> float:
        """m_s, in (0, 1)."""
        return self._evidence(source, version, "").towards(self.mean)

    @cached_property
    def mean(self) -> float:
        """m, in (0, 1)."""
        total = self._sums.get(("", "", ""), Evidence())
        return (total.kept + 1) / (total.shown + 2)

    def matrix(self, proposals: Sequence[Proposal], codebook: Codebook) -> Floats:
        """w_sc ``[sources, labels]`` for the sources of these proposals, labels in the codebook's order."""
        if not self.evidence:
            return np.ones((len(proposals), len(codebook.labels)))
        return np.array([self._row(proposal.source, proposal.version, codebook) for proposal in proposals])

    def _row(self, source: str, version: str, codebook: Codebook) -> Floats:
        key = (source, version, codebook.fingerprint)
        if key not in self._rows:
            self._rows[key] = np.array([self.weight(source, version, label.code) for label in codebook.labels])
        return self._rows[key]

    def _evidence(self, source: str, version: str, code: str) -> Evidence:
        """Of one version of a source, and half of that of its others; of all codes where ``code`` is empty."""
        own = self._sums.get((source, version, code), Evidence())
        every = self._sums.get((source, "", code), Evidence())
        return own * (1 - OTHER_VERSIONS) + every * OTHER_VERSIONS

    @cached_property
    def _sums(self) -> dict[Cell, Evidence]:
        """The evidence of each cell, and with "" for any: of sources over versions and codes, of all."""
        sums: dict[Cell, Evidence] = {}
        for (source, version, code), found in self.evidence.items():
            cells = [(source, version, code), (source, version, ""), (source, "", code), (source, "", ""), ("", "", "")]
            for cell in dict.fromkeys(cells):
                sums[cell] = sums.get(cell, Evidence()) + found
        return sums

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], Floats]:
        return {}


EQUAL = MixingWeights()


def mixed(proposals: Sequence[Proposal], codebook: Codebook, weights: MixingWeights = EQUAL) -> Floats:
    """p(c) ``[labels]`` in the codebook's order; 0 without proposals. What a source does not list has probability 0."""
    if not proposals:
        return np.zeros(len(codebook.labels))
    proposals = sorted(proposals, key=lambda one: (one.source, one.version))  # the same sum, to the last bit
    by = weights.matrix(proposals, codebook)
    found: Floats = (by * probabilities_of(proposals, codebook)).sum(axis=0) / by.sum(axis=0)
    return found


def drift(now: MixingWeights, before: MixingWeights) -> float:
    """How much evidence came, went or changed, as a share of that of ``before``; infinite where that was none."""
    cells = now.evidence.keys() | before.evidence.keys()
    moved = sum(_distance(now.evidence.get(c, Evidence()), before.evidence.get(c, Evidence())) for c in cells)
    size = sum(_distance(one, Evidence()) for one in before.evidence.values())
    return moved / size if size else float("inf") if moved else 0.0


def _distance(one: Evidence, other: Evidence) -> float:
    return abs(one.kept - other.kept) + abs(one.shown - other.shown)
