"""What is wrong with the rows of a file: each with its place, none left out in silence."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from label_configs.errors import ConfigError
from ml_backend.atomic import replacing

TOLD = 3  # problems told in one message


class OnError(StrEnum):
    """What to do about a row that is no document."""

    STOP = "stop"  # say what is wrong with the file, and do nothing
    SKIP = "skip"  # leave the row out and report it


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row is no document. ``where`` is ``file:line``, or where a file has no lines ``file: row 7``."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class RowReport:
    """Counts the problems of a file and keeps the first few; writes every one to ``table``, where one is given."""

    def __init__(self, table: TextIO | None = None) -> None:
        self.count = 0
        self._first: list[RowProblem] = []
        self._writer = csv.writer(table, lineterminator="\n") if table else None
        if self._writer:
            self._writer.writerow(("where", "problem"))

    def add(self, problem: RowProblem) -> None:
        """Note one problem."""
        self.count += 1
        if len(self._first) < TOLD:
            self._first.append(problem)
        if self._writer:
            self._writer.writerow((problem.where, problem.what))

    def refuse(self, remedy: str) -> None:
        """Raise ConfigError with the first problems, the number of the others and ``remedy``, if there are any."""
        if self.count:
            more = f"; and {self.count - TOLD} more" if self.count > TOLD else ""
            raise ConfigError("; ".join(map(str, self._first)) + f"{more}; {remedy}")


@contextmanager
def reporting(on_error: OnError, table: Path) -> Iterator[RowReport]:
    """A report to be filled in the block: STOP refuses the file at its end, SKIP lists all problems in ``table``.

    Raises ConfigError with the first problems, EnvironmentFault where ``table`` cannot be written.
    """
    if on_error is OnError.STOP:
        report = RowReport()
        yield report
        report.refuse("mend these rows, or leave them out with --on-error skip")
        return
    with replacing(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield RowReport(file)
