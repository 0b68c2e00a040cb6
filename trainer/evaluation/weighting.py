"""Estimates for the whole corpus where sources' doubt, not chance, chose what was coded.

Documents that sources doubt are coded first (``ml_backend.ordering``), so they are too many among the coded ones, and
sources look worse on these than they are. Two ways lead to the corpus:

- the random share: documents whose place was drawn by their id alone are a simple random sample of the corpus, so
  figures on them need no weights (Cochran, Sampling Techniques, 1977);
- inverse-probability weights over all that is coded: the corpus is cut into strata of equal doubt, and a coded document
  stands for (documents of its stratum) / (coded documents of its stratum) (Horvitz and Thompson, JASA 1952; strata by
  an estimated probability: Rosenbaum and Rubin, JASA 1984). More documents, so narrower intervals, but right only where
  within a stratum nothing else chose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from label_configs.codebook import Kind
from ml_backend.probabilities import probabilities_of
from trainer.evaluation.blocks import Cell, Column, Finding, Section, Table, Tone
from trainer.evaluation.definitions import EXCLUSIVE, SEVERAL, columns
from trainer.evaluation.figure import undefined
from trainer.evaluation.judged import Judged, basis_of, judged_sources, learned, measure
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Floats, Ints
from trainer.evaluation.study import Study

STRATA = 10
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "micro_f1")
ALL, RANDOM, INVERSE = "all coded, unweighted", "random share", "inverse-probability weights"
HOLDOUT = "holdout"
TRAINED = "trained or fitted on coded documents: only holdout is fair"


def corpus_section(study: Study, options: ReportOptions) -> Section | None:
    """Each source's figures for the corpus, by either way, beside those of all that is coded.

    None where all that has a truth came in random order, or nothing has: then no weighting is needed.
    """
    coded = {name for name in study.truth if name in study.documents}
    drawn = frozenset(name for name in coded if study.documents[name].random)
    if len(drawn) == len(coded):
        return None
    weights = inverse_probabilities(study, coded)
    whole = {one.key: one for one in judged_sources(study, _fitting(study, coded))}
    rows: list[tuple[Cell, ...]] = []
    for one in judged_sources(study, _fitting(study, drawn)):
        if learned(study, one):
            # Of the random documents, it was trained on those that are not holdout.
            unseen = one.of({name for name in one.documents if study.documents[name].holdout})
            rows.append((one.label, HOLDOUT, *_figures(unseen, study, options)))
            rows.append((one.label, INVERSE, 0, *(undefined(TRAINED) for _ in FIGURES)))
            continue
        every = whole[one.key]
        rows.append((one.label, RANDOM, *_figures(one, study, options)))
        rows.append((one.label, INVERSE, *_weighted(every, study, options, weights)))
        rows.append((one.label, ALL, *_figures(every, study, options)))
    heads = (Column("source", "source"), Column("basis", "estimated by"), Column("documents", "documents"))
    definitions = EXCLUSIVE if study.codebook.kind is Kind.EXCLUSIVE else SEVERAL
    table = Table("corpus", "Estimates for the whole corpus", (*heads, *columns(definitions, FIGURES)), tuple(rows))
    return Section("corpus", "Estimates for the corpus", _findings(drawn, coded), (table,), _notes(weights, study))


def inverse_probabilities(study: Study, coded: Collection[str]) -> dict[str, float]:
    """Coded document -> how many documents of the corpus it stands for, their mean being 1; empty where unknown.

    Strata are tenths of all documents by the entropy of what the sources in force that learn nothing say of them, on
    average (those that learn say nothing of documents coded before); neighbours are joined until each holds a coded
    document. A document without a proposal of theirs has no weight.
    """
    doubt = _doubt(study)
    known = [name for name in coded if name in doubt]
    if not known:
        return {}
    names = list(doubt)
    values = np.array([doubt[name] for name in names])
    # Ranks, not values: many documents may have the same doubt, and a stratum must not be empty for it.
    stratum: Ints = np.empty(len(names), dtype=np.int64)
    stratum[np.argsort(values, kind="stable")] = np.arange(len(names)) * STRATA // len(names)
    is_coded = np.isin(names, known)
    stratum = _joined(stratum, is_coded)
    of_all = np.bincount(stratum)
    of_coded = np.bincount(stratum[is_coded], minlength=len(of_all))
    scale = len(known) / len(names)
    return {
        name: float(of_all[own] / of_coded[own] * scale)
        for name, own, has in zip(names, stratum.tolist(), is_coded.tolist(), strict=True)
        if has
    }


def _joined(stratum: Ints, is_coded: npt.NDArray[np.bool_]) -> Ints:
    """Strata numbered anew, each without a coded document joined to the one below it, the first to the one above."""
    coded = np.bincount(stratum[is_coded], minlength=int(stratum.max()) + 1) > 0
    number = np.maximum(np.cumsum(coded) - 1, 0)
    found: Ints = number[stratum]
    return found


def _doubt(study: Study) -> dict[str, float]:
    """Document -> mean over sources of the entropy of its labels' probabilities, in [0, 1]."""
    found: dict[str, list[float]] = {}
    teachable = {one.key.partition("@")[0] for one in judged_sources(study, ()) if learned(study, one)}
    for source, version in study.versions.items():
        if source in teachable:
            continue
        own = {
            one.document_id: one
            for one in study.proposals
            if (one.source, one.version) == (source, version) and one.document_id in study.documents
        }
        known = set(study.codebook.label_keys)
        usable = [one for one in own.values() if known.issuperset(scored.label for scored in one.labels)]
        for one, value in zip(usable, _entropy(probabilities_of(usable, study.codebook), study), strict=True):
            found.setdefault(one.document_id, []).append(float(value))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _entropy(probabilities: Floats, study: Study) -> Floats:
    """[documents]: of which label holds, or on average of whether each does, divided by its highest possible value."""
    exclusive = study.codebook.kind is Kind.EXCLUSIVE
    answers = probabilities[:, None] if exclusive else np.stack([probabilities, 1 - probabilities], axis=2)
    shares = answers / np.maximum(answers.sum(axis=2, keepdims=True), 1e-12)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    found: Floats = (-(shares * logs).sum(axis=2) / np.log(shares.shape[2])).mean(axis=1)
    return found


def _weighted(one: Judged, study: Study, options: ReportOptions, weights: Mapping[str, float]) -> tuple[Cell, ...]:
    if not weights:
        why = "no source that learns nothing proposed for the corpus, so nobody knows how it was chosen"
        return 0, *(undefined(why) for _ in FIGURES)
    own = one.of(weights.keys())
    by = np.array([weights[name] for name in own.documents])
    return _figures(own, study, options, by)


def _figures(one: Judged, study: Study, options: ReportOptions, weights: Floats | None = None) -> tuple[Cell, ...]:
    measured = measure(one, study.codebook, weights=weights, samples=options.samples, seed=options.seed)
    return measured.n, *(measured.overall[name] for name in FIGURES)


def _fitting(study: Study, documents: Collection[str]) -> frozenset[str]:
    return frozenset(documents) & basis_of(study).usable


def _findings(drawn: Collection[str], coded: Collection[str]) -> tuple[Finding, ...]:
    chosen = len(coded) - len(drawn)
    if not drawn:
        text = "No coded document came in random order: set review.random_share, nothing else is sure for the corpus."
        return (Finding(text, Tone.WARNING),)
    text = (
        f"Of {len(coded):,} coded documents {chosen:,} were chosen by sources' doubt. For the corpus take the figures "
        f"of the random share ({len(drawn):,} documents)."
    )
    return (Finding(text),)


def _notes(weights: Mapping[str, float], study: Study) -> tuple[str, ...]:
    if not weights:
        return ()
    size = sum(weights.values()) ** 2 / sum(value**2 for value in weights.values())
    return (
        f"Weights: {STRATA} strata of {len(study.documents):,} documents by the entropy of what sources that learn "
        f"nothing say, from {min(weights.values()):.2f} to {max(weights.values()):.2f}; {len(weights):,} documents "
        f"count as much as {size:,.0f} (Kish 1965). They hold where within a stratum nothing else chose.",
    )
