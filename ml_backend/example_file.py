"""Verified examples as a Parquet file, and as the JSON lines of older installations.

A Parquet file carries its own digest, of every field of every row in order, and is refused where that does not fit: an
adapter's examples are those that it was trained on, or nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from label_configs.errors import TrainingError, reason
from label_configs.records import VerifiedExample
from ml_backend.atomic import replacing

ROW_GROUP = 2048  # examples that are held as a table at once
MAGIC = b"PAR1"  # a Parquet file begins with it
FORMAT = "1"
_KEYS = ("format", "rows", "examples", "codebook")  # of the schema's metadata, each after "winnow."
_TUPLES = ("labels", "coders", "rejected")

_FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    "document_id": str,
    "text": str,
    "labels": list,
    "coders": list,
    "holdout": bool,
    "task_id": (int, type(None)),
}
_LATER_FIELD_TYPES: dict[str, type | tuple[type, ...]] = {"rejected": list, "weight": (int, float), "silver": bool}


def write_parquet(path: Path, examples: Sequence[VerifiedExample], *, digest: str, codebook: str) -> None:
    """Write the examples, atomically. ``digest`` names them, ``codebook`` is its fingerprint, empty where unknown.

    Both are kept as metadata, with the digest of the rows. Raises EnvironmentFault when it cannot be written.
    """
    import pyarrow as arrow
    from pyarrow import parquet

    words = arrow.list_(arrow.string())
    schema = arrow.schema(
        {"document_id": arrow.string(), "text": arrow.string(), "labels": words, "coders": words,
         "holdout": arrow.bool_(), "task_id": arrow.int64(), "rejected": words, "weight": arrow.float64(),
         "silver": arrow.bool_()},
        {"winnow.format": FORMAT, "winnow.rows": _rows_digest(examples, digest, codebook), "winnow.examples": digest,
         "winnow.codebook": codebook},
    )  # fmt: skip
    with (
        replacing(path) as temporary,
        parquet.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for start in range(0, len(examples), ROW_GROUP):
            rows = [asdict(example) for example in examples[start : start + ROW_GROUP]]
            writer.write_table(arrow.Table.from_pylist(rows, schema))


def read_examples_file(path: Path) -> list[VerifiedExample]:
    """The examples of a file, whichever of the two kinds it is.

    Raises TrainingError naming the file, and in JSON lines the line, where it is missing, damaged or was changed.
    """
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(MAGIC)) == MAGIC
        return _parquet(path) if is_parquet else _json_lines(path)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); start the round again") from error


def _parquet(path: Path) -> list[VerifiedExample]:
    import pyarrow
    from pyarrow import parquet

    try:
        with path.open("rb") as handle, parquet.ParquetFile(handle, page_checksum_verification=True) as file:
            told = _metadata(file.schema_arrow.metadata)
            rows = [row for batch in file.iter_batches(ROW_GROUP) for row in batch.to_pylist()]
            examples = [VerifiedExample(**row | {name: tuple(row[name]) for name in _TUPLES}) for row in rows]
    except (pyarrow.ArrowException, OSError, TypeError, KeyError, ValueError) as error:
        # Arrow raises OSError for damaged pages, without an errno; the others are for a table of other columns.
        what = getattr(error, "strerror", None) or reason(error)
        raise TrainingError(
            f"{path}: no snapshot of examples, or a damaged one ({what}); delete it, it is made anew"
        ) from error
    if told["format"] != FORMAT or told["rows"] != _rows_digest(examples, told["examples"], told["codebook"]):
        raise TrainingError(
            f"{path}: changed since it was written, its digest does not fit; delete it, it is made anew"
        )
    return examples


def _metadata(found: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Raises KeyError where one of the keys is not there."""
    return {key: (found or {})[f"winnow.{key}".encode()].decode("utf-8", "replace") for key in _KEYS}


def _rows_digest(examples: Sequence[VerifiedExample], digest: str, codebook: str) -> str:
    """64 hexadecimal digits: all of the file but the way in which it is packed."""
    found = hashlib.sha256(json.dumps([digest, codebook]).encode())
    for e in examples:
        row = [e.document_id, e.text, e.labels, e.coders, e.holdout, e.task_id, e.rejected, e.weight, e.silver]
        found.update(json.dumps(row).encode())
    return found.hexdigest()


def _json_lines(path: Path) -> list[VerifiedExample]:
    try:
        # Not splitlines(): texts may hold U+2028 and its like, which JSON leaves as they are.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path}: not UTF-8 at byte {error.start}; start the round again") from error
    return list(_examples(path, lines))


def _examples(path: Path, lines: Sequence[str]) -> Iterator[VerifiedExample]:
    for number, line in enumerate(lines, start=1):
        if line or number > 1:
            yield _example(f"{path}:{number}", line)


def _example(where: str, line: str) -> VerifiedExample:
    try:
        data: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise TrainingError(f"{where}: not JSON ({error}); start the round again") from error
    if not isinstance(data, dict) or set(data) - set(_LATER_FIELD_TYPES) != set(_FIELD_TYPES):
        raise TrainingError(f"{where}: must be an object with {', '.join(_FIELD_TYPES)}; start the round again")
    for name, expected in (_FIELD_TYPES | _LATER_FIELD_TYPES).items():
        if name in data and not isinstance(data[name], expected):
            raise TrainingError(f"{where}: {name} is {data[name]!r:.40}, of a wrong type; start the round again")
    return VerifiedExample(**data | {name: tuple(data[name]) for name in _TUPLES if name in data})
