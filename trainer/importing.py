"""Documents become tasks in bulk: each once, a file's with all columns of its row; copies are told of.

What is in the project says what is missing, so an import that was killed goes on by itself. One batch is on its way to
Label Studio while the next is read and compared. See ``sending`` for a Label Studio that goes away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any, TypedDict

from rich.console import Console

from label_configs import wire
from label_configs.errors import WinnowError
from label_configs.records import Document
from ml_backend.experiment import Project
from ml_backend.files import FileRecord, no_documents, stream_documents, stream_records
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.row_report import OnError, RowProblem, RowReport, reporting
from trainer.bulk.meter import Meter
from trainer.duplicates import Copies, Likeness, Pair, write_pairs
from trainer.sending import Sender

log = logging.getLogger(__name__)

BATCH_TASKS = 2000  # tasks in one request; with 250 Label Studio takes three times as long for each
FIRST_TASKS = 500  # in the first request, while Label Studio has nothing to do
BATCH_CHARACTERS = 2_000_000  # of the texts in one request


class _How(TypedDict):
    id_column: str
    text_column: str
    encoding: str | None


@dataclass(frozen=True)
class Source:
    """A file of documents and how to read it."""

    path: Path
    id_column: str = "id"
    text_column: str = "text"
    encoding: str | None = None
    on_error: OnError = OnError.STOP

    def documents(self) -> Iterator[Document | RowProblem]:
        """The documents in order, and in their midst what is wrong with rows that are none."""
        return stream_documents(self.path, **self._how)

    def records(self) -> Iterator[FileRecord | RowProblem]:
        """The same, each document with the other columns of its row."""
        return stream_records(self.path, **self._how)

    @property
    def _how(self) -> _How:
        return {"id_column": self.id_column, "text_column": self.text_column, "encoding": self.encoding}


@dataclass(frozen=True)
class Checked:
    """What a file holds: its documents, and the rows that are none, which are listed in ``skipped_path``."""

    documents: int
    skipped: int = 0
    skipped_path: Path | None = None


def check(source: Source, project: Project) -> Checked:
    """Read the whole file once. Raises ConfigError where it has no document, or rows at fault are not to be skipped."""
    table = _table(source, project, "skipped")
    with reporting(source.on_error, table) as report:
        documents = _count(source, report)
    if not report.count:
        table.unlink(missing_ok=True)
    if not documents:
        raise no_documents(source.path)
    return Checked(documents, report.count, table if report.count else None)


@dataclass
class Imported:
    """What an import did: numbers of documents, and the tables that say more where there is more to say."""

    imported: int = 0
    known: int = 0
    left_out: int = 0
    pairs: list[Pair] = field(default_factory=list)
    pairs_path: Path | None = None

    def count(self, likeness: Likeness) -> int:
        """Number of documents that are like another in this way."""
        return sum(pair.likeness is likeness for pair in self.pairs)


class Importer:
    """Imports documents into a project. ``similarity`` of 1 looks for exact copies alone."""

    def __init__(
        self, client: LabelStudioClient, project: Project, *, similarity: float = 0.8, skip_copies: bool = False
    ) -> None:
        self._client = client
        self._project = project
        self._similarity = similarity
        self._skip_copies = skip_copies
        self._text_key = project.experiment.text
        self._own = {*wire.OWN_KEYS, self._text_key}
        self._hidden: set[str] = set()
        self._sender = Sender(client, project.id)

    def run_file(self, source: Source, checked: Checked, console: Console) -> Imported:
        """Import what the project lacks of a file that was checked, and list the copies beside the project's files."""
        records = (record for record in source.records() if not isinstance(record, RowProblem))
        done = self.run(records, checked.documents, console)
        if done.pairs:
            done.pairs_path = _table(source, self._project, "duplicates")
            write_pairs(done.pairs_path, done.pairs)
        return done

    def run(self, records: Iterable[FileRecord], total: int, console: Console) -> Imported:
        """Import what the project lacks of these, ``total`` of them with different ids, and say what was found."""
        done = Imported()
        with console.status("reading what the project has"):
            known, texts = self._in_project()
        copies = Copies(texts, self._similarity)
        with Meter(total, 0, console, doing="importing", did="imported") as meter:
            try:
                self._send(self._batches(records, known, copies, done), meter, done)
                self._sender.settle()
            except (KeyboardInterrupt, WinnowError):
                log.warning("stopped after %d documents; the same command goes on from there", done.imported)
                raise
        for column in sorted(self._hidden):
            log.warning("column %r is not kept: tasks have a key of Winnow's own by that name", column)
        return done

    def _in_project(self) -> tuple[set[str], dict[str, str]]:
        """Ids of the documents in the project, and by the digest of each text the id of one that has it."""
        known: set[str] = set()
        texts: dict[str, str] = {}
        for data in self._sender.there():
            identifier, text = str(data.get("document_id") or ""), data.get(self._text_key)
            known.add(identifier)
            if isinstance(text, str):
                texts.setdefault(Document(identifier, text).digest, identifier)
        return known, texts

    def _batches(
        self, records: Iterable[FileRecord], known: set[str], copies: Copies, done: Imported
    ) -> Iterator[list[wire.JsonObject]]:
        batch: list[wire.JsonObject] = []
        characters, most = 0, FIRST_TASKS
        for record, pair in copies.told(records):
            if pair:
                done.pairs.append(pair)
            if record.document.id in known:
                done.known += 1
            elif self._skip_copies and pair and pair.likeness is Likeness.EXACT:
                done.left_out += 1
            else:
                batch.append(self._data(record))
                characters += len(record.document.text)
            if len(batch) >= most or characters >= BATCH_CHARACTERS:
                yield batch
                batch, characters, most = [], 0, BATCH_TASKS
        if batch:
            yield batch

    def _send(self, batches: Iterator[list[wire.JsonObject]], meter: Meter, done: Imported) -> None:
        """One batch is sent while the next is made."""

        def arrived(sending: Future[int] | None) -> None:
            if sending is not None:
                done.imported += sending.result()
            meter.advance(done.imported + done.known + done.left_out - meter.done)

        with ThreadPoolExecutor(1, "import") as sender:
            sending: Future[int] | None = None
            try:
                for batch in batches:
                    arrived(sending)
                    sending = sender.submit(self._sender.send, batch)
                arrived(sending)
            except BaseException:
                self._client.stop_waiting()  # else the sender's thread would wait on for a Label Studio that is away
                raise

    def _data(self, record: FileRecord) -> wire.JsonObject:
        """The task's data: the document, and the other columns of its row under names that are not Winnow's own."""
        self._hidden |= record.others.keys() & self._own
        kept = {key: _plain(value) for key, value in record.others.items() if key and key not in self._own}
        return {**kept, **wire.task_data(record.document, text_key=self._text_key, form=self._project.form)}


def _table(source: Source, project: Project, what: str) -> Path:
    return project.folder / "imports" / f"{source.path.name}.{what}.csv"


def _count(source: Source, report: RowReport) -> int:
    total = 0
    for found in source.documents():
        if isinstance(found, RowProblem):
            report.add(found)
        else:
            total += 1
    return total


def _plain(value: Any) -> Any:
    """A value as JSON has it: dates as ISO 8601, decimals as text, what is no number as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, str):  # half of a surrogate pair, which JSON can hold, is no character
        return value if value.isascii() else value.encode(errors="replace").decode()
    if value is None or isinstance(value, int):
        return value
    return str(value) if isinstance(value, Decimal) else repr(value)
