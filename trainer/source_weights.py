"""The weights that sources are mixed by (``ml_backend.mixing``), learned from coders' decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from label_configs.codebook import Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.records import Arm, Decision
from ml_backend import promotions
from ml_backend.experiment import Project
from ml_backend.leading import standing_in_force
from ml_backend.mixing import EQUAL, Cell, Evidence, MixingWeights, drift
from ml_backend.training_config import Training
from ml_backend.weights_file import weights_in_force
from trainer.consensus import outcomes
from trainer.leaks import leaks
from trainer.standing import firsts_since
from trainer.verified import Reading

ENOUGH_DOCUMENTS = 20  # below, the weights stay equal: what 20 decisions say moves a source's weight by some hundredths
_DIGITS = 6  # of evidence, as its file has it


def learn_weights(project: Project, reading: Reading) -> MixingWeights:
    """What the decisions say of the sources; equal weights below 20 documents, and where there is one source alone.

    Learned from decisions on candidates alone, never from the holdout, nor from a document whose text is in it under
    another id; see ``usable``. With them comes what ``ml_backend.leading`` counts since the last round.
    """
    if not mixes(project):
        return EQUAL
    held = held_out(project, reading)
    votes = usable(reading.decisions, project.codebook.kind)
    decisions = [decision for decision in votes if decision.document_id not in held]
    learned = weights_of(decisions, project.codebook)
    if len(learned.documents) < ENOUGH_DOCUMENTS:
        return EQUAL
    standing = standing_in_force(project.folder, project.codebook)
    if standing is None:
        return learned
    firsts = firsts_since(decisions, standing, promotions.current(project.folder))
    return replace(learned, firsts=firsts, since=standing.round)


def outgrown(project: Project, reading: Reading, now: MixingWeights, growth: float) -> bool:
    """Whether open tasks should be proposed anew with the weights ``now``: a share ``growth`` of the evidence changed.

    At once where some documents that the weights in force were learned from are held out now. Raises TrainingError
    where the weights in force cannot be read.
    """
    before = weights_in_force(project.folder).weights
    held = held_out(project, reading, before.documents)
    return bool(held.intersection(before.documents)) or drift(now, before) >= growth


def mixes(project: Project) -> bool:
    """Whether more than one source proposes."""
    return len(project.experiment.sources) + (promotions.current(project.folder) is not None) > 1


def held_out(project: Project, reading: Reading, others: Iterable[str] = ()) -> set[str]:
    """Ids, of the documents decided on and ``others``, that nothing may be learned from."""
    share = (project.experiment.training or Training(base="")).holdout_share
    ids = {decision.document_id for decision in reading.decisions}.union(others)
    leaked = {leak.training_id for leak in leaks(reading.examples)}
    return {one for one in ids if one in leaked or is_holdout(one, share)}


def usable(decisions: Iterable[Decision], kind: Kind) -> list[Decision]:
    """Decisions that say something of the sources, sorted by document: the votes that consensus counts (see there).

    Without candidates, as in the arms choose and blind, nothing was judged.
    """
    votes = [vote for outcome in outcomes(decisions, kind=kind).values() for vote in outcome.votes]
    return [vote for vote in votes if vote.arm is Arm.REVIEW and vote.shown is not None]


def weights_of(decisions: Sequence[Decision], codebook: Codebook) -> MixingWeights:
    """Weights from these decisions; a document counts once, however many coders decided on it.

    Raises CodebookError for a candidate that the codebook has not.
    """
    coders: dict[str, int] = {}
    for decision in decisions:
        coders[decision.document_id] = coders.get(decision.document_id, 0) + 1
    evidence: dict[Cell, Evidence] = {}
    for decision in decisions:
        for candidate in decision.shown.candidates if decision.shown else ():
            code, kept = codebook.label(candidate.label).code, candidate.label in decision.kept
            for by in candidate.proposers:
                cell, mass = (by.source, by.version, code), by.probability / coders[decision.document_id]
                evidence[cell] = evidence.get(cell, Evidence()) + Evidence(mass * kept, mass)
    rounded = {
        cell: Evidence(round(found.kept, _DIGITS), round(found.shown, _DIGITS)) for cell, found in evidence.items()
    }
    return MixingWeights(rounded, tuple(sorted(coders)))
