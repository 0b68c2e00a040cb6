"""How good coders are: how often others agree with them, and CROWDLAB's quality, which sources have a say in too.

Raw agreement makes a coder look bad whose partners are; CROWDLAB (Goh, Tkachenko and Mueller, 2022, 2210.06812, as
cleanlab computes it) weighs coders and sources by how trustworthy each is, and counts documents of one coder too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from label_configs.codebook import Codebook, Kind
from label_configs.records import Decision
from trainer.consensus import in_order
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.out_of_sample import Beliefs, beliefs
from trainer.evaluation.resampling import SAMPLES, SEED, Floats, figure, patterns
from trainer.evaluation.study import Study

Votes = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Document id -> coder -> the labels that hold, sorted."""

ENOUGH = 10  # documents with a code, where several may hold: of fewer a code says nothing of the coders


@dataclass(frozen=True)
class Quality:
    """CROWDLAB's quality by coder; ``why`` says why there is none, ``notes`` what it rests on."""

    figures: Mapping[str, Figure]
    why: str = ""
    notes: tuple[str, ...] = ()

    def of(self, coder: str) -> Figure:
        """One coder's."""
        return self.figures.get(coder) or undefined(self.why or "no document that a source proposed for")


def votes_of(study: Study) -> Votes:
    """Each coder's last verified decision on each document; no ground truth, nothing on documents shown again."""
    keys, single = set(study.codebook.label_keys), study.codebook.kind is Kind.EXCLUSIVE
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for one in in_order(study.decisions):
        if _votes(one) and keys.issuperset(one.labels) and (not single or len(one.labels) == 1):
            found.setdefault(one.document_id, {})[one.coder] = tuple(sorted(one.labels))
    return found


def _votes(decision: Decision) -> bool:
    return decision.verified and not (decision.repeat or decision.ground_truth)


def raw_agreement(votes: Votes, coder: str, *, samples: int = SAMPLES, seed: int = SEED) -> Figure:
    """The share of other coders' decisions on the coder's documents that are the same, all labels alike.

    ``n`` counts the documents that another coder coded as well; the bootstrap draws documents.
    """
    table = []
    for own in votes.values():
        if coder in own and len(own) > 1:
            same = sum(labels == own[coder] for name, labels in own.items() if name != coder)
            table.append((same, len(own) - 1))
    if not table:
        return undefined("no document in common with another coder")
    found = patterns(table)
    same, pairs = found.rows.T
    return figure(found.counts, lambda counts: np.asarray(counts @ same / (counts @ pairs)), samples=samples, seed=seed)


def crowdlab(study: Study, votes: Votes, folder: Path | None) -> Quality:
    """Each coder's CROWDLAB quality on the documents that a source proposed for out of sample (``out_of_sample``).

    Exclusive: of the code. Otherwise the mean over codes, each as a question of yes or no, of those that at least 10
    documents have by some coder. No interval: the method gives none.
    """
    labels = {one.document_id: one.labels for one in study.examples if not one.silver}
    keys = set(study.codebook.label_keys)
    known = {name: own for name, own in labels.items() if keys.issuperset(own)}
    found = beliefs(study, votes, known, folder)
    if why := _lacking(votes, found):
        return Quality({}, why)
    coders = sorted({coder for document_id in found.documents for coder in votes[document_id]})
    if study.codebook.kind is Kind.EXCLUSIVE:
        given = _table(votes, found, coders, {key: float(i) for i, key in enumerate(study.codebook.label_keys)})
        return Quality(_figures(_quality(given, found.probabilities), given, coders), notes=found.notes)
    return _by_code(votes, found, coders, study.codebook)


def _lacking(votes: Votes, found: Beliefs) -> str:
    """Why there is no quality; empty where there is."""
    if len({coder for own in votes.values() for coder in own}) < 2:
        return "one coder alone"
    if not found.documents:
        return "no source proposed, out of sample, for what was coded"
    if not any(len(votes[document_id]) > 1 for document_id in found.documents):
        return "no document that two coders coded and a source proposed for"
    return ""


def _by_code(votes: Votes, found: Beliefs, coders: Sequence[str], codebook: Codebook) -> Quality:
    tables = []
    for number, key in enumerate(codebook.label_keys):
        given = _table(votes, found, coders, key)
        if (given == 1).any(axis=1).sum() >= ENOUGH:
            yes = found.probabilities[:, number]
            tables.append((given, _quality(given, np.column_stack([1 - yes, yes]))))
    if not tables:
        return Quality({}, f"no code is on {ENOUGH} documents")
    mean = np.mean([quality for _, quality in tables], axis=0)
    note = f"CROWDLAB's quality is the mean over {len(tables)} of {len(codebook.label_keys)} codes, each by itself."
    return Quality(_figures(mean, tables[0][0], coders), notes=(note, *found.notes))


def _table(votes: Votes, found: Beliefs, coders: Sequence[str], code: str | Mapping[str, float]) -> Floats:
    """[documents, coders]: the number of each one's label, or whether it has this one; NaN where they did not code."""
    column = {coder: number for number, coder in enumerate(coders)}
    table = np.full((len(found.documents), len(coders)), np.nan)
    for row, document_id in enumerate(found.documents):
        for coder, labels in votes[document_id].items():
            table[row, column[coder]] = float(code in labels) if isinstance(code, str) else code[labels[0]]
    return table


def _quality(given: Floats, probabilities: Floats) -> Floats:
    """cleanlab's quality of each column of ``given``."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # coders who agree on nothing are told by their figures
        found = get_label_quality_multiannotator(given, probabilities, return_detailed_quality=False, verbose=False)
    stats = found["annotator_stats"]["annotator_quality"].sort_index()
    return np.asarray(stats, dtype=np.float64)


def _figures(quality: Floats, given: Floats, coders: Sequence[str]) -> dict[str, Figure]:
    counts = (~np.isnan(given)).sum(axis=0)
    return {coder: Figure(float(quality[i]), int(counts[i])) for i, coder in enumerate(coders)}
