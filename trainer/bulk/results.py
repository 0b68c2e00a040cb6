"""What is written of one document and source, and the files that it is written to: CSV, TSV, JSON, JSONL, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from label_configs.codes import Kind
from label_configs.errors import ConfigError
from label_configs.records import Document, Proposal, chosen_labels
from ml_backend.rows import DELIMITERS, JSON_LINES, SUFFIXES

COLUMNS = ("id", "code", "probability", "source", "version", "top", "tokens", "truncated", "seconds")
BETWEEN = "|"  # between the codes of one document in CSV and TSV; no key of a code may hold it
GROUP_ROWS = 16_384  # rows of a Parquet file's row group

Write = Callable[[Sequence["Result"]], None]


@dataclass(frozen=True, slots=True)
class Result:
    """One row: what one source says of one document.

    ``code`` are the labels that hold and ``probability`` theirs, ``top`` the most probable labels with theirs;
    ``tokens``, ``truncated``, ``seconds``, ``output_tokens`` and ``price`` are the proposal's.
    """

    id: str
    code: tuple[str, ...]
    probability: tuple[float, ...]
    source: str
    version: str
    top: tuple[tuple[str, float], ...]
    tokens: int
    truncated: int
    seconds: float
    output_tokens: int = 0
    price: float | None = None

    @classmethod
    def of(cls, document: Document, proposal: Proposal, *, kind: Kind, top: int) -> Result:
        """What is written of a proposal for this document, with the ``top`` most probable labels."""
        probability = {scored.label: scored.probability for scored in proposal.labels}
        code = chosen_labels(proposal, kind=kind)
        return cls(
            id=document.id,
            code=code,
            probability=tuple(probability[label] for label in code),
            source=proposal.source,
            version=proposal.version,
            top=tuple((scored.label, scored.probability) for scored in proposal.labels[:top]),
            tokens=proposal.tokens,
            truncated=proposal.truncated,
            seconds=round(proposal.seconds, 6),
            output_tokens=proposal.output_tokens,
            price=proposal.price,
        )

    def listed(self) -> dict[str, Any]:
        """The columns for JSON and Parquet: ``code`` and ``probability`` are lists, ``top`` is one of objects."""
        row: dict[str, Any] = {column: getattr(self, column) for column in COLUMNS}
        return row | {"top": [{"label": label, "probability": p} for label, p in self.top]}

    def joined(self) -> list[str | int | float]:
        """The cells for CSV and TSV: several codes are joined by ``|``, ``top`` is ``label:probability|...``."""
        row = {column: getattr(self, column) for column in COLUMNS} | {
            "code": BETWEEN.join(self.code),
            "probability": BETWEEN.join(map(str, self.probability)),
            "top": BETWEEN.join(f"{label}:{p}" for label, p in self.top),
        }
        return list(row.values())


def check_output(path: Path) -> None:
    """Raises ConfigError where the suffix is none that is written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {path}: unknown kind of file; use .csv, .tsv, .json, .jsonl or .parquet")


@contextmanager
def open_results(path: Path, suffix: str) -> Iterator[Write]:
    """A function that writes results to ``path`` in the form that ``suffix`` says; the file is whole after it."""
    suffix = suffix.lower()
    if suffix == ".parquet":
        with _parquet(path) as write:
            yield write
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix in DELIMITERS:
            table = csv.writer(file, delimiter=DELIMITERS[suffix], lineterminator="\n")
            table.writerow(COLUMNS)
            yield lambda results: table.writerows(result.joined() for result in results)
        elif suffix in JSON_LINES:
            yield lambda results: file.writelines(f"{_json(result.listed())}\n" for result in results)
        else:
            between = _commas()
            yield lambda results: file.writelines(f"{next(between)}{_json(result.listed())}" for result in results)
            file.write("\n]\n" if next(between) == ",\n" else "[]\n")


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _commas() -> Iterator[str]:
    yield "[\n"
    while True:
        yield ",\n"


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    top = pa.struct([("label", pa.string()), ("probability", pa.float64())])
    kinds = {
        "id": pa.string(),
        "code": pa.list_(pa.string()),
        "probability": pa.list_(pa.float64()),
        "source": pa.string(),
        "version": pa.string(),
        "top": pa.list_(top),
        "tokens": pa.int64(),
        "truncated": pa.int64(),
        "seconds": pa.float64(),
    }
    schema = pa.schema([(column, kinds[column]) for column in COLUMNS])
    waiting: list[dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema) as writer:

        def write(results: Iterable[Result]) -> None:
            waiting.extend(result.listed() for result in results)
            if len(waiting) >= GROUP_ROWS:
                flush()

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
            waiting.clear()

        yield write
        if waiting:
            flush()
