"""Verified documents with the proposals of all sources: what a candidate rule is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from label_configs.codebook import Codebook
from label_configs.errors import ConfigError
from label_configs.records import Arm, Document, Proposal
from ml_backend.arms import arm_of
from ml_backend.classifying import ClassifySpec, resolve
from ml_backend.experiment import CandidateRule, Project, load_experiment
from ml_backend.mixing import EQUAL, MixingWeights
from ml_backend.proposing import Plan
from ml_backend.settings import Settings
from trainer.bulk.engine import local_engine
from trainer.bulk.meter import Meter
from trainer.candidate_curve import CodedDocument
from trainer.kept_proposals import KeptProposals
from trainer.verified import Reading
from trainer.verified_file import VerifiedFile


@dataclass(frozen=True)
class Sample:
    """Coded documents, and what makes candidates of their proposals; ``notes`` say what the figures rest on."""

    title: str
    codebook: Codebook
    rule: CandidateRule
    sources: tuple[str, ...]
    documents: Sequence[CodedDocument]
    weights: MixingWeights = EQUAL
    notes: tuple[str, ...] = ()


def sample_of_project(project: Project, reading: Reading) -> Sample:
    """A project's verified documents, holdout included: nothing is learned here.

    Of each source the latest proposal that a task holds counts; documents that lack those of a source are left out.
    """
    plan = Plan.of(project)
    names = tuple(name for name, _ in plan.names)
    documents = _with_all(reading, names, project.codebook)
    unseen = sum(arm_of(project.experiment, one.document_id) is not Arm.REVIEW for one in documents)
    notes = [
        f"{unseen} of {len(documents)} documents were coded without candidates; the codes of the others may lean "
        "towards what was shown."
    ]
    if lacking := len(reading.examples) - len(documents):
        notes.append(f"{lacking} verified documents lack proposals of a source and are left out.")
    if known := {one.document_id for one in documents}.intersection(plan.weights.documents):
        notes.append(f"The weights of the sources were learned from {len(known)} of these documents.")
    return Sample(
        f"project {project.id}", project.codebook, project.experiment.candidates, names, documents, plan.weights,
        tuple(notes),
    )  # fmt: skip


def _with_all(reading: Reading, names: Sequence[str], codebook: Codebook) -> list[CodedDocument]:
    keys = set(codebook.label_keys)
    latest: dict[str, dict[str, Proposal]] = {}
    for proposal in reading.proposals:
        if keys.issuperset(scored.label for scored in proposal.labels):
            latest.setdefault(proposal.document_id, {})[proposal.source] = proposal
    found = []
    for example in reading.examples:
        own = latest.get(example.document_id, {})
        if all(name in own for name in names):
            found.append(CodedDocument(example.document_id, tuple(own[name] for name in names), example.labels))
    return found


def sample_of_file(settings: Settings, config: Path, file: VerifiedFile, console: Console) -> Sample:
    """A file's documents, proposed for by the sources of a winnow.yaml, in this process, with its progress shown.

    What was proposed before is not computed again; it lies in ``home/candidates``, named by codebook and sources.
    Raises ConfigError for what the files say, ModelError where a source does not load.
    """
    experiment, codebook = load_experiment(config)
    examples = file.examples(codebook, holdout_share=0.5)  # which the holdout would be does not matter here
    spec = resolve(settings.home, codebook=codebook, experiment=experiment)
    if not spec.sources:
        raise ConfigError(f"{config}: no source proposes without verified examples; add one that does")
    kept = KeptProposals(settings.home / "candidates" / f"{spec.digest}.jsonl")
    documents = [Document(example.document_id, example.text) for example in examples]
    _propose(settings, spec, kept, [one for one in documents if kept.of(one) is None], len(documents), console)
    coded = [
        CodedDocument(document.id, tuple(kept.of(document) or ()), example.labels)
        for document, example in zip(documents, examples, strict=True)
    ]
    return Sample(
        file.path.name, codebook, experiment.candidates, tuple(name for name, _ in spec.names), coded,
    )  # fmt: skip


def _propose(
    settings: Settings, spec: ClassifySpec, kept: KeptProposals, lacking: Sequence[Document], total: int,
    console: Console,
) -> None:  # fmt: skip
    if not lacking:
        return
    engine = local_engine(settings, spec)
    size = settings.chunk_documents
    chunks = [lacking[start : start + size] for start in range(0, len(lacking), size)]
    with Meter(total, total - len(lacking), console) as meter:
        for chunk, made in zip(chunks, engine.classify(chunks), strict=True):
            kept.keep(chunk, made)
            meter.advance(len(chunk))
