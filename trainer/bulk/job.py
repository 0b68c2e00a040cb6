"""One file to classify, by which sources, into which file; its first pass, in which every row is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from label_configs.errors import ConfigError
from label_configs.records import Document
from ml_backend.classifying import ClassifySpec
from ml_backend.files import no_documents, stream_documents
from ml_backend.row_report import OnError, RowProblem, reporting
from trainer.bulk.results import check_output


@dataclass(frozen=True)
class BulkJob:
    """What `winnow classify` was asked to do. ``top`` labels of each source are written with their probabilities."""

    source: Path
    out: Path
    spec: ClassifySpec
    id_column: str = "id"
    text_column: str = "text"
    encoding: str | None = None
    on_error: OnError = OnError.STOP
    top: int = 3

    def __post_init__(self) -> None:
        check_output(self.out)
        if self.out.resolve() == self.source.resolve():
            raise ConfigError(f"--out {self.out}: is the file to classify; choose another")

    @property
    def manifest_path(self) -> Path:
        """The record of what was done, beside the output."""
        return self.out.with_name(f"{self.out.name}.manifest.json")

    @property
    def progress_path(self) -> Path:
        """The folder of what is done so far."""
        return self.out.with_name(f"{self.out.name}.progress")

    @property
    def skipped_path(self) -> Path:
        """The table of the rows that were left out."""
        return self.out.with_name(f"{self.out.name}.skipped.csv")

    @cached_property
    def input_digest(self) -> str:
        """SHA-256 of the input, read once."""
        return file_digest(self.source)

    @property
    def identity(self) -> dict[str, Any]:
        """All that the output depends on, by names that a person knows."""
        return {
            "input": self.input_digest,
            "columns": [self.id_column, self.text_column],
            "encoding": self.encoding,
            "on-error": self.on_error.value,
            "codebook": self.spec.codebook.fingerprint,
            "sources": [list(one) for one in self.spec.names],
            "top": self.top,
        }

    def documents(self) -> Iterator[Document]:
        """The documents in order, without the rows that are none."""
        return (row for row in self._rows() if isinstance(row, Document))

    def check(self) -> tuple[int, int]:
        """Read the whole input: the number of documents, and of rows left out, which are listed in ``skipped_path``.

        Raises ConfigError with the first problems, unless they are to be skipped, and where no document is left.
        """
        documents = 0
        with reporting(self.on_error, self.skipped_path) as report:
            for row in self._rows():
                if isinstance(row, RowProblem):
                    report.add(row)
                else:
                    documents += 1
        if not documents and report.count:
            raise ConfigError(
                f"{self.source}: no documents, all {report.count} rows are at fault; see {self.skipped_path}"
            )
        if not documents:
            raise no_documents(self.source)
        return documents, report.count

    def _rows(self) -> Iterator[Document | RowProblem]:
        return stream_documents(
            self.source, id_column=self.id_column, text_column=self.text_column, encoding=self.encoding
        )


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits. Raises ConfigError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
