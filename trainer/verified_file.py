"""Verified documents from a team's file: every row a document with the codes that hold for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook, Kind
from label_configs.codes import LEVEL_MARK
from label_configs.drawing import is_holdout
from label_configs.records import VerifiedExample
from ml_backend.files import document_in, no_documents
from ml_backend.row_report import RowProblem, RowReport
from ml_backend.rows import Row, place, read_rows

CODE_MARK = "|"  # between the codes of one document
NO_CODE = "none"  # in place of codes, where several may hold and none does
DEFAULT_ID = "id"  # column


@dataclass(frozen=True)
class VerifiedFile:
    """A file of verified documents and the names of its columns.

    Without ``id_column``, it is ``id`` where the file has one; else a document's id is its text's digest.
    """

    path: Path
    text_column: str = "text"
    code_column: str = "code"
    id_column: str | None = None
    encoding: str | None = None

    def examples(self, codebook: Codebook, holdout_share: float) -> list[VerifiedExample]:
        """One example for each document, the holdout drawn by ``is_holdout``; in the file's order.

        Codes are keys, names or label words of the codebook, in upper or lower case; where several may hold, ``|``
        stands between them and ``none`` for no code; of a graded codebook each is ``code:level``. A row that repeats
        another in text and codes, where the text's digest is the id, counts once. Raises ConfigError naming the first
        lines at fault: nothing is left out in silence.
        """
        report, spellings = RowReport(), Spellings(codebook)
        rows = self._rows(report)
        kept: dict[str, tuple[str, VerifiedExample]] = {}
        if (first := next(rows, None)) is not None:
            id_column = self.id_column or (DEFAULT_ID if DEFAULT_ID in first.values else None)
            for row in chain([first], rows):
                where = place(self.path, row.number)
                found = self._example(row, id_column, spellings, holdout_share)
                if isinstance(found, str):
                    report.add(RowProblem(where, found))
                    continue
                before, known = kept.setdefault(found.document_id, (where, found))
                if known is found or (id_column is None and known == found):
                    continue
                what = f"id {found.document_id!r:.80} stands" if id_column else "other codes for the text that stands"
                report.add(RowProblem(where, f"{what} already at {before}"))
        report.refuse("mend these rows and train again")
        if not kept:
            raise no_documents(self.path)
        return [example for _, example in kept.values()]

    def _rows(self, report: RowReport) -> Iterator[Row]:
        """The rows that can be read; of the others the report hears."""
        columns = {"--text-column": self.text_column, "--code-column": self.code_column}
        if self.id_column is not None:
            columns["--id-column"] = self.id_column
        for row in read_rows(self.path, columns, optional=[DEFAULT_ID], encoding=self.encoding):
            if isinstance(row, RowProblem):
                report.add(row)
            else:
                yield row

    def _example(self, row: Row, id_column: str | None, spellings: Spellings, share: float) -> VerifiedExample | str:
        """The row's document with its labels, or what is wrong with it."""
        document = document_in(row, id_column=id_column, text_column=self.text_column)
        if isinstance(document, str):
            return document
        labels = spellings.labels(row.values.get(self.code_column), self.code_column)
        if isinstance(labels, str):
            return labels
        return VerifiedExample(document.id, document.text, labels, (), is_holdout(document.id, share))


class Spellings:
    """A codebook's labels by all that a team may write for them."""

    def __init__(self, codebook: Codebook) -> None:
        self._codebook = codebook
        self._several = codebook.kind is not Kind.EXCLUSIVE
        codes: dict[str, str] = {}
        for field in ("key", "name", "word"):  # a key means its own code, whatever another's name is
            for code in codebook.codes:
                codes.setdefault(_folded(getattr(code, field)), code.key)
        self._keys = codes
        if codebook.kind is Kind.GRADED:
            self._keys = {
                f"{spelling}{LEVEL_MARK}{_folded(level)}": f"{key}{LEVEL_MARK}{level}"
                for spelling, key in codes.items()
                for level in codebook.levels
            }

    def labels(self, value: Any, column: str) -> tuple[str, ...] | str:
        """The keys of the labels that a cell names, sorted; or what is wrong with it."""
        written = [part for part in _parts(value, split=self._several) if part]
        if not written:
            return f"no code in {column!r}" + (f"; write {NO_CODE} where no code holds" if self._several else "")
        if self._several and [_folded(part) for part in written] == [NO_CODE] and NO_CODE not in self._keys:
            return ()
        keys = []
        for part in written:
            key = self._key(part)
            if key is None:
                return self._unknown(part)
            keys.append(key)
        return self._together(list(dict.fromkeys(keys)))

    def _key(self, written: str) -> str | None:
        code, mark, level = written.rpartition(LEVEL_MARK)
        if mark and self._codebook.kind is Kind.GRADED:
            return self._keys.get(f"{_folded(code)}{LEVEL_MARK}{_folded(level)}")
        return self._keys.get(_folded(written))

    def _together(self, keys: list[str]) -> tuple[str, ...] | str:
        """The labels of one document, or why they cannot be so together."""
        codebook = self._codebook
        codes = [codebook.label(key).code for key in keys]
        if not self._several and len(codes) > 1:
            return f"{len(codes)} codes, in codebook {codebook.name} exactly one holds (kind: {codebook.kind})"
        if twice := next((code for code in codes if codes.count(code) > 1), None):
            return f"code {twice!r} at more than one level; keep one"
        if codebook.max_codes is not None and len(codes) > codebook.max_codes:
            return f"{len(codes)} codes, codebook {codebook.name} allows {codebook.max_codes} (max_codes)"
        return tuple(sorted(keys))

    def _unknown(self, written: str) -> str:
        parts = [self._key(part.strip()) for part in written.split(CODE_MARK)]
        if not self._several and None not in parts:
            return str(self._together([part for part in parts if part]))
        found = difflib.get_close_matches(_folded(written), self._keys, n=1, cutoff=0.5)
        near = f"nearest: {self._keys[found[0]]!r}" if found else f"codes are {_some(self._codebook.label_keys)}"
        return f"code {written!r:.80} is not in codebook {self._codebook.name} ({near})"


def _parts(value: Any, *, split: bool) -> list[str]:
    """The codes that a cell holds: text, a number, or in JSON and Parquet a list of such."""
    if isinstance(value, list | tuple):
        return [part for one in value for part in _parts(one, split=False)]
    if not isinstance(value, str | int) or isinstance(value, bool):
        return []
    return [part.strip() for part in str(value).split(CODE_MARK)] if split else [str(value).strip()]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _some(keys: tuple[str, ...], most: int = 10) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
