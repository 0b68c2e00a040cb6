"""Sources' probabilities on documents that they did not learn from: what coders' labels can be doubted by.

A source that learned from a document repeats its label. Out of sample are: sources that learn nothing, anywhere; the
others on the holdout, and where the examples that they learned from are at hand, on every document not among these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from label_configs.codebook import Codebook, Kind
from label_configs.errors import AdapterError, ConfigError, TrainingError
from label_configs.records import Proposal
from ml_backend.adapters import store_of
from ml_backend.probabilities import probabilities_of
from ml_backend.snapshot import read_examples
from ml_backend.source_config import SourceKind
from ml_backend.versions import learns, source_version
from trainer.evaluation.resampling import Floats
from trainer.evaluation.study import Study
from trainer.fit_plan import EXAMPLES_FILE

_BASE = "base"  # in a version, where no adapter is named


@dataclass(frozen=True)
class Beliefs:
    """What the sources together say of ``documents``: ``probabilities`` [documents, labels] in the codebook's order.

    Exclusive: each row sums to 1. ``sources`` [documents] counts those that were asked, ``weights`` is by source.
    ``notes`` say which sources count on which documents.
    """

    documents: tuple[str, ...]
    probabilities: Floats
    sources: tuple[int, ...]
    weights: Mapping[str, float]
    notes: tuple[str, ...]


def beliefs(
    study: Study, documents: Iterable[str], labels: Mapping[str, Sequence[str]], folder: Path | None
) -> Beliefs:
    """The mean of the sources' probabilities, out of sample, on those of ``documents`` that they proposed for.

    A source weighs by how much less often it is wrong than the most frequent answer, as CROWDLAB weighs a model (Goh,
    Tkachenko and Mueller, 2022, 2210.06812), measured against ``labels``; one that is no better does not count.
    ``folder`` is the project's.
    """
    by_source, notes = _proposals(study, documents, folder)
    matrices = {name: _matrix(list(own.values()), study.codebook) for name, own in by_source.items()}
    weights = {name: _weight(matrices[name], list(own), labels, study.codebook) for name, own in by_source.items()}
    for name in [name for name, weight in weights.items() if weight <= 0]:
        notes.append(f"Source {name} is no better than always giving the most frequent answer, and does not count.")
        del by_source[name], weights[name]
    covered = tuple(sorted({document_id for own in by_source.values() for document_id in own}))
    row = {document_id: number for number, document_id in enumerate(covered)}
    total, weight = np.zeros((len(covered), len(study.codebook.label_keys))), np.zeros(len(covered))
    asked = np.zeros(len(covered), dtype=np.int64)
    for name, own in by_source.items():
        rows = [row[document_id] for document_id in own]
        total[rows] += weights[name] * matrices[name]
        weight[rows] += weights[name]
        asked[rows] += 1
    return Beliefs(covered, total / weight[:, None], tuple(asked.tolist()), weights, tuple(notes))


def _matrix(proposals: Sequence[Proposal], codebook: Codebook) -> Floats:
    """Probabilities [proposals, labels]; exclusive: rows that sum to 1, as a source may leave out what it hardly
    believes. A row of zeros says nothing."""
    matrix = probabilities_of(proposals, codebook)
    if codebook.kind is not Kind.EXCLUSIVE:
        return matrix
    total = matrix.sum(axis=1, keepdims=True)
    return np.where(total > 0, matrix / np.where(total > 0, total, 1), 1 / matrix.shape[1])


def _proposals(
    study: Study, documents: Iterable[str], folder: Path | None
) -> tuple[dict[str, dict[str, Proposal]], list[str]]:
    """source -> document id -> its proposal out of sample, and what to know; versions in force where they are known."""
    wanted, keys = set(documents), set(study.codebook.label_keys)
    latest: dict[str, dict[str, Proposal]] = {}
    for proposal in study.proposals:
        in_force = study.versions.get(proposal.source, proposal.version) == proposal.version
        if in_force and proposal.document_id in wanted and keys.issuperset(one.label for one in proposal.labels):
            latest.setdefault(proposal.source, {})[proposal.document_id] = proposal
    found: dict[str, dict[str, Proposal]] = {}
    notes = []
    for name, own in sorted(latest.items()):
        learned = {version: learned_from(study, name, version, folder) for version in {p.version for p in own.values()}}
        kept = {document_id: one for document_id, one in own.items() if _outside(study, one, learned[one.version])}
        notes.append(_note(study, name, len(kept), len(own), learned.values()))
        if kept:
            found[name] = kept
    return found, notes


def _outside(study: Study, proposal: Proposal, learned: frozenset[str] | None) -> bool:
    if learned is not None:
        return proposal.document_id not in learned
    document = study.documents.get(proposal.document_id)
    return document is not None and document.holdout


def _note(study: Study, name: str, kept: int, proposed: int, learned: Iterable[frozenset[str] | None]) -> str:
    learned = list(learned)
    if all(one is not None and not one for one in learned):
        known = "learned" if name in study.configs else "is taken to have learned, as nothing is known of it,"
        return f"Source {name} {known} from none of the documents; it counts on {kept:,}."
    rule = "the holdout" if any(one is None for one in learned) else "documents that it did not learn from"
    return f"Source {name} learns, and counts on {rule} alone: {kept:,} of {proposed:,}."


def learned_from(study: Study, source: str, version: str, folder: Path | None) -> frozenset[str] | None:
    """Ids of the documents that a source in this version learned from, none where it does not learn.

    None where it learns and its examples are not at hand: then all but the holdout may be among them. So it is of a
    source that the project no longer has. Where nothing is known of any, they are taken to learn nothing. ``folder`` is
    the project's.
    """
    adapter_id = version.rpartition("@")[2] if "@" in version else ""
    if adapter_id not in ("", _BASE):
        return _of_adapter(adapter_id, folder)
    config = study.configs.get(source)
    if config is None:
        return None if study.configs else frozenset()
    if config.kind is SourceKind.ADAPTER:
        return None
    try:
        if not learns(config):
            return frozenset()
        names = {path: source_version(config, None, path.stem) for path in _snapshots(folder)}
    except ConfigError:  # a prompt file that is gone
        return None
    return next((_ids(path) for path, name in names.items() if name == version), None)


def _of_adapter(adapter_id: str, folder: Path | None) -> frozenset[str] | None:
    if folder is None:
        return None
    try:
        return _ids(store_of(folder.parent.parent).described(adapter_id).folder / EXAMPLES_FILE)
    except AdapterError:  # not in this store: trained elsewhere
        return None


def _snapshots(folder: Path | None) -> list[Path]:
    return [] if folder is None else sorted((folder / "snapshots").glob("*.*"))


def _ids(path: Path) -> frozenset[str] | None:
    try:
        return frozenset(example.document_id for example in read_examples(path) if not example.holdout)
    except TrainingError:  # an older adapter has none beside it
        return None


def _weight(matrix: Floats, documents: Sequence[str], labels: Mapping[str, Sequence[str]], codebook: Codebook) -> float:
    """1 - (the source's error / the error of always giving the most frequent answer); 0 where nothing is known of it.

    Exclusive: of the first code. Otherwise label by label, of those at 0.5 or more, or the first where there is none.
    """
    column = {key: number for number, key in enumerate(codebook.label_keys)}
    judged = [row for row, document_id in enumerate(documents) if document_id in labels]
    if not judged:
        return 0.0
    matrix, truth = matrix[judged], np.zeros((len(judged), len(column)), dtype=bool)
    for number, row in enumerate(judged):
        truth[number, [column[label] for label in labels[documents[row]]]] = True
    first = np.arange(len(column)) == matrix.argmax(axis=1)[:, None]
    if codebook.kind is Kind.EXCLUSIVE:
        error = 1 - (truth & first).any(axis=1).mean()
        baseline = 1 - truth.mean(axis=0).max()
    else:
        likely = matrix >= 0.5
        error = (np.where(likely.any(axis=1, keepdims=True), likely, first) != truth).mean()
        baseline = np.minimum(truth.mean(axis=0), 1 - truth.mean(axis=0)).mean()
    return float(1 - error / baseline) if baseline > 0 else float(1 - error)
