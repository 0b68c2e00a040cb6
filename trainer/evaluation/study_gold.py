"""A team's own truth: a file with a document's id and the labels that hold for it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from label_configs.codebook import Codebook
from label_configs.codes import printable
from label_configs.errors import ConfigError
from label_configs.records import VerifiedExample
from ml_backend.experiment import Consensus
from ml_backend.row_report import RowProblem, RowReport
from ml_backend.rows import Row, place, read_rows
from trainer.verified_file import Spellings

log = logging.getLogger(__name__)

ID_COLUMN, LABELS_COLUMN = "id", "labels"


def truth_of(
    examples: Iterable[VerifiedExample],
    rule: Consensus,
    codebook: Codebook,
    documents: Collection[str],
    gold: Path | None,
) -> tuple[dict[str, tuple[str, ...]], str]:
    """What documents are judged against, and what that is in words. Raises ConfigError, see ``read_gold``."""
    if gold is not None:
        return read_gold(gold, codebook, documents), f"the gold file {gold.name}"
    return {one.document_id: one.labels for one in examples}, f"what the coders agree on ({rule.value})"


def read_gold(path: Path, codebook: Codebook, documents: Collection[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Labels by document id, from columns ``id`` and ``labels`` of a CSV, TSV, JSON, JSONL or Parquet file.

    Labels are written as in a file of verified documents: keys, names or label words of the codebook, ``|`` between
    several, or a list; ``none`` where several may hold and none does; of a graded codebook ``code:level``. With
    ``documents``, only those of them are told, and the number of others is logged. Raises ConfigError naming file,
    line and column, or where no document is among ``documents``.
    """
    report, spellings = RowReport(), Spellings(codebook)
    found: dict[str, tuple[str, ...]] = {}
    first: dict[str, str] = {}
    for row in read_rows(path, {}, optional=(ID_COLUMN, LABELS_COLUMN)):
        if isinstance(row, RowProblem):
            report.add(row)
            continue
        where = place(path, row.number)
        _check(path, row, empty=not first and not report.count)
        identifier = row.values.get(ID_COLUMN)
        if not isinstance(identifier, str | int) or isinstance(identifier, bool) or not str(identifier).strip():
            report.add(RowProblem(where, f"no value in {ID_COLUMN!r}"))
            continue
        name = str(identifier).strip()
        labels = spellings.labels(row.values.get(LABELS_COLUMN), LABELS_COLUMN)
        if isinstance(labels, str):
            report.add(RowProblem(where, labels))
        elif name in first:
            report.add(RowProblem(where, f"id {name!r:.80} stands already at {first[name]}"))
        else:
            first[name], found[name] = where, labels
    report.refuse("mend these rows of the gold file")
    return found if documents is None else _known(path, found, documents)


def _check(path: Path, row: Row, *, empty: bool) -> None:
    """Raise ConfigError where the first row lacks a column, as then all do."""
    lacking = [column for column in (ID_COLUMN, LABELS_COLUMN) if column not in row.values]
    if empty and lacking:
        there = ", ".join(printable(str(column)) for column in row.values) or "none"
        raise ConfigError(
            f"{path}: no column {lacking[0]!r}; the columns are {there}: name them {ID_COLUMN} and {LABELS_COLUMN}"
        )


def _known(path: Path, found: dict[str, tuple[str, ...]], documents: Collection[str]) -> dict[str, tuple[str, ...]]:
    known = {name: labels for name, labels in found.items() if name in documents}
    if not known:
        what = f"none of its {len(found)} ids is a document of the project" if found else "no rows, the file is empty"
        raise ConfigError(f"{path}: {what}; give the ids that the documents were imported with, in column {ID_COLUMN}")
    if len(known) < len(found):
        log.warning("%s: %d of %d ids are no documents of the project", path, len(found) - len(known), len(found))
    return known
