"""How often the true codes are among the candidates, against how many candidates a coder has to judge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from label_configs.codebook import Codebook
from label_configs.errors import ConfigError
from label_configs.records import Proposal
from ml_backend.candidates import candidate_set
from ml_backend.experiment import CandidateRule
from ml_backend.mixing import EQUAL, MixingWeights

TOP_K = (1, 2, 3, 4, 5)
FLOORS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
MAX = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)


@dataclass(frozen=True, slots=True)
class CodedDocument:
    """A document's proposals of all sources, and the labels that hold for it."""

    document_id: str
    proposals: tuple[Proposal, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One rule: the ``mean`` number of candidates, and of how many documents they ``held`` every true code.

    ``efficient``: no rule of the curve holds as many with fewer candidates, or more with as few. ``present``: the rule
    of the experiment.
    """

    top_k: int
    floor: float
    max: int
    n: int
    held: int
    mean: float
    present: bool
    efficient: bool = False

    @property
    def share(self) -> float:
        """held / n."""
        return self.held / self.n

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``."""
        return asdict(self) | {"share": round(self.share, 6), "mean": round(self.mean, 6)}


def candidate_curve(
    documents: Iterable[CodedDocument],
    codebook: Codebook,
    rule: CandidateRule,
    weights: MixingWeights = EQUAL,
    *,
    sweep: bool = True,
) -> list[CurvePoint]:
    """A point for each rule of the grid, ``rule`` among them; without ``sweep`` for it alone.

    A graded code counts as held at whatever level it is shown, since the coder corrects the level. Documents without a
    label are left out: any candidates would hold all that is true of them. Raises ConfigError where none is left.
    """
    coded = [document for document in documents if document.labels]
    if not coded:
        raise ConfigError("no document with a verified code; verify some that the sources have proposed for")
    top_ks, floors, maxima = {rule.top_k}, {rule.floor}, {rule.max}
    if sweep:
        codes = len(codebook.codes)
        top_ks |= {number for number in TOP_K if number <= codes}
        floors |= set(FLOORS)
        maxima |= {number for number in MAX if number <= codes}
    points = []
    for top_k in sorted(top_ks):
        for floor in sorted(floors):
            wide = replace(rule, top_k=top_k, floor=floor, max=max(maxima))
            found = [_codes_and_truth(document, codebook, wide, weights) for document in coded]
            for most in sorted(maxima):
                held = sum(truth <= set(codes[:most]) for codes, truth in found)
                mean = sum(len(codes[:most]) for codes, _ in found) / len(found)
                present = (top_k, floor, most) == (rule.top_k, rule.floor, rule.max)
                points.append(CurvePoint(top_k, floor, most, len(found), held, mean, present))
    return _with_frontier(points)


def frontier(points: Iterable[CurvePoint]) -> list[CurvePoint]:
    """The efficient points by their mean; of rules that come to the same, the present one or else the first."""
    best: dict[tuple[float, int], CurvePoint] = {}
    for point in points:
        place = (round(point.mean, 9), point.held)
        if point.efficient and (place not in best or point.present):
            best[place] = point
    return [best[place] for place in sorted(best)]


def _codes_and_truth(
    document: CodedDocument, codebook: Codebook, rule: CandidateRule, weights: MixingWeights
) -> tuple[list[str], set[str]]:
    shown = candidate_set(document.document_id, document.proposals, rule, "", codebook, weights)
    codes = [codebook.label(candidate.label).code for candidate in shown.candidates]
    return codes, {codebook.label(label).code for label in document.labels}


def _with_frontier(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    """The points with ``efficient`` set: each holds more than all with fewer candidates, and as many as its equals."""
    efficient: set[tuple[float, int]] = set()
    most = -1
    for mean, held in sorted({(round(p.mean, 9), p.held) for p in points}, key=lambda place: (place[0], -place[1])):
        if held > most:
            efficient.add((mean, held))
            most = held
    return [replace(point, efficient=(round(point.mean, 9), point.held) in efficient) for point in points]
