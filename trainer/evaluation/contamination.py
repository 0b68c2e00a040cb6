"""Documents that are judged on and were trained on as well, or nearly: what is learned must not be judged on.

Copies are found as rounds find leaks (``trainer.leaks``): exact but for case and white space, or with a Jaccard
coefficient of their shingles of .8 or more (Broder, 1997). Documents are named by ids, never by their texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from label_configs.errors import WinnowError
from label_configs.records import VerifiedExample
from ml_backend import adapters, promotions
from ml_backend.snapshot import latest_snapshot, read_examples
from trainer.duplicates import Likeness
from trainer.evaluation.blocks import Cell, Column, Finding, Format, Link, Section, Table, Tone
from trainer.evaluation.figure import Figure, undefined
from trainer.evaluation.in_force import InForce, in_force
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.resampling import Ints, figure
from trainer.evaluation.study import Study
from trainer.fit_plan import EXAMPLES_FILE
from trainer.leaks import SIMILARITY, Leak, copies_of

NOW = "verified now"
SNAPSHOT = "shown to sources"
MOST = 500  # rows of the table


@dataclass(frozen=True)
class TrainedOn:
    """A set of documents that was trained on: ``name`` says by what. ``harmless``: rounds leave such copies out."""

    name: str
    documents: tuple[tuple[str, str], ...]  # ids and texts
    harmless: bool = False


@dataclass(frozen=True)
class Copy:
    """A document that is judged on, and the one trained on that it is like; the same document has the same id."""

    where: str
    leak: Leak
    harmless: bool


def contamination_section(study: Study, options: ReportOptions) -> Section:
    """Documents judged on that are like documents trained on, and accuracy with and without them.

    What was trained on is this study's verified examples, the examples beside each adapter that was promoted in
    ``options.folder``, and those that sources there learn from.
    """
    found = in_force(study)
    held = [(id_, study.documents[id_].text) for id_ in found.documents if study.documents[id_].text]
    sets, notes = _trained_on(study, set(found.documents), options.folder)
    copies = [copy for one in sets for copy in _copies(one, held)]
    notes = [
        *found.notes, *notes,
        f"Compared with: {'; '.join(f'{one.name}, {len(one.documents)} documents' for one in sets) or 'nothing'}.",
        "A copy is exact but for case and white space, or shares four fifths of its sequences of three words (Broder, "
        f"On the resemblance and containment of documents, 1997): similarity {SIMILARITY:g} or more.",
    ]  # fmt: skip
    if lost := len(found.documents) - len(held):
        notes.append(f"{lost} documents have no text here and are not compared.")
    title = "Documents in training and evaluation"
    findings = _findings(copies, sets, len(held))
    blocks: tuple[Table, ...] = ()
    if copies:
        blocks = (_copy_table(study, copies), _accuracy_table(found, copies, options))
    return Section("contamination", title, findings, blocks, tuple(notes))


def _trained_on(study: Study, judged_on: set[str], folder: Path | None) -> tuple[list[TrainedOn], list[str]]:
    """The sets that there are, and notes on those that cannot be read."""
    notes: list[str] = []
    own = [(e.document_id, e.text) for e in study.examples if not e.holdout and e.document_id not in judged_on]
    found = [TrainedOn(NOW, tuple(own), harmless=True)] if own else []
    if folder is not None:
        found += [one for one in _of_project(folder, notes) if one.documents]
    return found, notes


def _of_project(folder: Path, notes: list[str]) -> Iterator[TrainedOn]:
    """What the project's adapters were trained on, and what its sources learn from."""
    store = adapters.store_of(folder.parent.parent)
    for adapter_id in _promoted(folder, notes):
        name = f"adapter {adapter_id}"
        try:
            path = store.described(adapter_id).folder / EXAMPLES_FILE
            if not path.exists():
                notes.append(f"{name}: what it was trained on does not lie here, so it is not compared.")
                continue
            yield TrainedOn(name, _training(read_examples(path)))
        except WinnowError as error:
            notes.append(f"{name} is not compared: {error}")
    try:
        snapshot = latest_snapshot(folder)
        if snapshot is not None:
            yield TrainedOn(SNAPSHOT, _training(read_examples(snapshot)))
    except WinnowError as error:
        notes.append(f"What sources learn from is not compared: {error}")


def _promoted(folder: Path, notes: list[str]) -> list[str]:
    try:
        return list(dict.fromkeys(promotions.history(folder)))
    except WinnowError as error:
        notes.append(f"Adapters are not compared: {error}")
        return []


def _training(examples: Iterable[VerifiedExample]) -> tuple[tuple[str, str], ...]:
    return tuple((e.document_id, e.text) for e in examples if not e.holdout)


def _copies(one: TrainedOn, held: Sequence[tuple[str, str]]) -> list[Copy]:
    """Each document of ``held`` that was trained on, with the one that it is most like; the same document first."""
    same = {id_ for id_, _ in one.documents} & {id_ for id_, _ in held}
    rest = [(id_, text) for id_, text in held if id_ not in same]
    leaks = {leak.training_id: leak for leak in copies_of(rest, one.documents)}  # of each held one the most like
    found = []
    for id_, _ in held:
        if id_ in same:
            found.append(Copy(one.name, Leak(id_, id_), harmless=False))
        elif (leak := leaks.get(id_)) is not None:
            turned = Leak(leak.holdout_id, id_, leak.likeness, leak.similarity)
            found.append(Copy(one.name, turned, one.harmless))
    return found


def _findings(copies: Sequence[Copy], sets: Sequence[TrainedOn], held: int) -> tuple[Finding, ...]:
    if not held:
        return (Finding("No document with a truth and a text: nothing to compare.", Tone.WARNING),)
    if not sets:
        return (Finding("Nothing is known of what was trained on: nothing to compare with.", Tone.WARNING),)
    findings = []
    for one in sets:
        own = [copy for copy in copies if copy.where == one.name]
        harmful = {copy.leak.holdout_id for copy in own if not copy.harmless}
        if harmful:
            text = (
                f"{len(harmful)} of {held} documents judged on are among those of {one.name}, or nearly: "
                "its figures are too good; see accuracy without them."
            )
            findings.append(Finding(text, Tone.BAD))
        elif own:
            text = (
                f"{len(own)} of {held} documents judged on are like some {one.name} on the training side; rounds leave "
                "those out of training."
            )
            findings.append(Finding(text, Tone.WARNING))
    return tuple(findings) or (Finding(f"None of {held} documents judged on was trained on.", Tone.GOOD),)


def _copy_table(study: Study, copies: Sequence[Copy]) -> Table:
    order = sorted(copies, key=lambda copy: (copy.harmless, -copy.leak.similarity, copy.leak.holdout_id, copy.where))
    columns = (
        Column("judged", "Judged on"), Column("trained", "Trained on"), Column("by", "By"),
        Column("likeness", "Likeness"), Column("similarity", "Similarity", Format.SHARE),
    )  # fmt: skip
    rows = tuple(
        (
            _link(study, copy.leak.holdout_id), _link(study, copy.leak.training_id), copy.where,
            _words(copy.leak), copy.leak.similarity,
        )
        for copy in order[:MOST]
    )  # fmt: skip
    note = f"The first {MOST} of {len(order)}." if len(order) > MOST else ""
    return Table("contaminated_documents", "Documents trained and judged on", columns, rows, note)


def _words(leak: Leak) -> str:
    if leak.training_id == leak.holdout_id:
        return "same document"
    return "exact copy" if leak.likeness is Likeness.EXACT else "near copy"


def _link(study: Study, document_id: str) -> Link:
    document = study.documents.get(document_id)
    return Link(document_id, study.task_url(document.task_id) if document else "")


def _accuracy_table(found: InForce, copies: Sequence[Copy], options: ReportOptions) -> Table:
    """Accuracy of each source on all documents, and without those that are like any that was trained on."""
    contaminated = {copy.leak.holdout_id for copy in copies}
    columns = (
        Column("source", "Source"), Column("all", "Accuracy", Format.PERCENT),
        Column("without", "Without them", Format.PERCENT), Column("only", "On them alone", Format.PERCENT),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in found.sources:
        pairs = zip(one.truth, one.predicted, strict=True)
        right = {id_: set(truth) == set(own) for id_, (truth, own) in zip(one.documents, pairs, strict=True)}
        rows.append(
            (
                one.label,
                _accuracy(right, options),
                _accuracy({id_: ok for id_, ok in right.items() if id_ not in contaminated}, options),
                _accuracy({id_: ok for id_, ok in right.items() if id_ in contaminated}, options),
            )
        )
    return Table("contamination_accuracy", "Accuracy with and without them", columns, tuple(rows))


def _accuracy(right: Mapping[str, bool], options: ReportOptions) -> Figure:
    if not right:
        return undefined("no document")
    hits = sum(right.values())
    counts: Ints = np.array([len(right) - hits, hits], dtype=np.int64)
    return figure(counts, lambda drawn: drawn[:, 1] / drawn.sum(axis=1), samples=options.samples, seed=options.seed)
