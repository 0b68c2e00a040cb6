"""Documents whose codes are likely wrong, by what sources say that did not learn from them.

Confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 70, 2021), as cleanlab
computes it: it estimates how many documents of each code are another's, and ranks them by the probability of the code
that the coders gave. Where several codes may hold, each code is asked about by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from label_configs.codebook import Codebook, Kind
from label_configs.records import VerifiedExample
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Link, Section, Table, Tone
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.out_of_sample import Beliefs, beliefs
from trainer.evaluation.study import Study

SHOWN = 50
ENOUGH = 20  # documents; of fewer nothing can be estimated
_TITLE = "Likely label errors"
_BY = "self_confidence"
_METHOD = (
    "Confident learning (Northcutt, Jiang and Chuang 2021) by cleanlab, on the mean of the sources' probabilities, "
    "each weighted by how much better it is than the most frequent answer. Quality is the probability of what the "
    "coders gave. An error that coders share with the sources, as when they left a wrong candidate standing, is not "
    "found; one in a code that few documents have may not be."
)


@dataclass(frozen=True, slots=True)
class LabelError:
    """A document that is likely coded wrongly; ``quality`` in [0, 1], the lowest first.

    ``doubted`` is the label that sources contradict most: where it is among those that the coders gave, ``instead`` is
    the one that they believe in, exclusive codebooks, or empty: it should go. Where it is not, it is missing.
    ``probability`` is what the ``sources`` asked give to ``instead``, else to ``doubted``.
    """

    document_id: str
    quality: float
    doubted: str
    instead: str
    probability: float
    sources: int


def label_error_section(study: Study, options: ReportOptions) -> Section:
    """The verified documents whose codes are likely wrong, the first 50 with links to their tasks."""
    examples = {one.document_id: one for one in study.examples if _usable(one, study.codebook)}
    labels = {document_id: one.labels for document_id, one in examples.items()}
    found = beliefs(study, labels, labels, options.folder)
    if why := _lacking(study, examples, found):
        return Section(
            "label_errors", _TITLE, (Finding(f"Label errors cannot be looked for: {why}."),), (), found.notes
        )
    errors = label_errors(found, labels, study.codebook)
    rows = tuple(_row(study, examples[one.document_id], one) for one in errors[:SHOWN])
    columns = (
        Column("task", "task"),
        Column("document", "document"),
        Column("coders", "coded by"),
        Column("labels", "coded as"),
        Column("sources_say", "sources say"),
        Column("probability", "probability", Format.SHARE),
        Column("quality", "quality", Format.SHARE),
        Column("sources", "sources"),
    )
    table = Table("ranked", "The least likely first", columns, rows)
    notes = (_METHOD, *found.notes)
    return Section("label_errors", _TITLE, tuple(_findings(errors, found)), (table,) if rows else (), notes)


def label_errors(found: Beliefs, labels: Mapping[str, Sequence[str]], codebook: Codebook) -> list[LabelError]:
    """The likely errors among ``found.documents``, the most likely first. ``labels`` is by document id."""
    given = [labels[document_id] for document_id in found.documents]
    single = codebook.kind is Kind.EXCLUSIVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of codes on a few documents only, in which errors may be missed
        errors = list((_single_errors if single else _several_errors)(found, given, codebook.label_keys))
    return sorted(errors, key=lambda one: (one.quality, one.document_id))


def _single_errors(found: Beliefs, labels: Sequence[Sequence[str]], keys: Sequence[str]) -> Iterator[LabelError]:
    from cleanlab.filter import find_label_issues

    column = {key: number for number, key in enumerate(keys)}
    given = np.array([column[one] for [one] in labels])
    ranked = find_label_issues(given, found.probabilities, return_indices_ranked_by=_BY, n_jobs=1)
    for row in ranked.tolist():
        own = found.probabilities[row]
        best = int(own.argmax())
        yield LabelError(
            found.documents[row], float(own[given[row]]), keys[given[row]], keys[best], float(own[best]),
            found.sources[row],
        )  # fmt: skip


def _several_errors(found: Beliefs, labels: Sequence[Sequence[str]], keys: Sequence[str]) -> Iterator[LabelError]:
    from cleanlab.multilabel_classification.filter import find_label_issues
    from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

    column = {key: number for number, key in enumerate(keys)}
    given = [sorted(column[label] for label in own) for own in labels]
    quality = get_label_quality_scores_per_class(given, found.probabilities)
    ranked = find_label_issues(given, found.probabilities, return_indices_ranked_by=_BY, n_jobs=1)
    for row in ranked.tolist():
        worst = int(quality[row].argmin())
        yield LabelError(
            found.documents[row], float(quality[row, worst]), keys[worst], "", float(found.probabilities[row, worst]),
            found.sources[row],
        )  # fmt: skip


def _usable(example: VerifiedExample, codebook: Codebook) -> bool:
    """Whether coders gave the labels, and the codebook still has them."""
    single = codebook.kind is not Kind.EXCLUSIVE or len(example.labels) == 1
    return single and not example.silver and set(example.labels).issubset(codebook.label_keys)


def _lacking(study: Study, examples: Mapping[str, VerifiedExample], found: Beliefs) -> str:
    """Why nothing can be estimated; empty where it can."""
    if not examples:
        return "no document is verified yet"
    if not study.proposals:
        return "no source has proposed anything"
    if len(found.documents) < ENOUGH:
        return f"{len(found.documents)} documents have both a code and a source to doubt it, {ENOUGH} are needed"
    if len({examples[document_id].labels for document_id in found.documents}) < 2:
        return "all documents have the same code"
    return ""


def _findings(errors: Sequence[LabelError], found: Beliefs) -> Iterator[Finding]:
    documents = len(found.documents)
    if not errors:
        yield Finding(f"None of {documents:,} documents looks as if it were coded wrongly.", Tone.GOOD)
        return
    listed = "all are listed" if len(errors) <= SHOWN else f"the {SHOWN} least likely ones are listed"
    yield Finding(
        f"{len(errors):,} of {documents:,} documents ({100 * len(errors) / documents:.1f} %) are likely coded wrongly; "
        f"{listed}."
    )
    yield Finding(
        "Look at the first of the likely label errors, and have an adjudicator settle what is wrong.", Tone.NEXT
    )


def _row(study: Study, example: VerifiedExample, error: LabelError) -> tuple[Cell, ...]:
    name = study.codebook.label
    task = f"task {example.task_id}" if example.task_id is not None else example.document_id
    coded = ", ".join(name(label).name for label in example.labels) or "no code"
    if error.instead:
        says = name(error.instead).name
    else:
        says = f"{'not' if error.doubted in example.labels else 'also'} {name(error.doubted).name}"
    coders = ", ".join(study.coder_name(one) for one in example.coders if one in study.coders)
    link = Link(task, study.task_url(example.task_id))
    return link, error.document_id, coders, coded, says, error.probability, error.quality, error.sources
