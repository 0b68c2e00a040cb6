"""A codebook: the codes that coders and models choose from, and what each one means.

A code says what a text is about. What is kept or rejected is a *label*: the code itself, or in a graded codebook one
level of it (``happiness:high``). Codebooks come from YAML or CSV files, or from the ones that Winnow ships.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from label_configs.codes import LEVEL_MARK, Code, Kind, Label, key_from, problems, unprintable
from label_configs.errors import CodebookError
from label_configs.strictyaml import YamlFile, build, dump_yaml, load_yaml, nearest, read_text

__all__ = [
    "Code",
    "Codebook",
    "Kind",
    "Label",
    "codebook_data",
    "dump_codebook",
    "load_codebook",
    "read_codebook",
    "shipped_codebooks",
]

_SHIPPED = Path(__file__).parent / "codebooks"
_COLUMNS = ("key", "name", "definition", "word")


@dataclass(frozen=True)
class Codebook:
    """Codes in the order in which they are shown and scored.

    ``instruction`` is the question to coder and model, ``levels`` the levels of a graded codebook from low to high,
    ``max_codes`` the most codes that one document may have in a multilabel one. Raises CodebookError when built with
    something that cannot be, all problems in one message.
    """

    name: str
    kind: Kind
    codes: tuple[Code, ...]
    instruction: str = ""
    levels: tuple[str, ...] = ()
    max_codes: int | None = None

    def __post_init__(self) -> None:
        told = "; ".join(message for _, message in problems(self.kind, self.codes, self.levels, self.max_codes))
        if told:
            raise CodebookError(f"codebook {self.name}: {told}")
        if ugly := unprintable(f"{self.name}{self.instruction}"):
            raise CodebookError(f"codebook {self.name!r}: its name or instruction has {ugly}, remove it")

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """Every label; for a graded codebook each code at each level, codes first."""
        if self.kind is not Kind.GRADED:
            return tuple(Label(code.key, code.key, None, code.name, code.word) for code in self.codes)
        return tuple(
            Label(f"{code.key}{LEVEL_MARK}{level}", code.key, level, f"{code.name} · {level}", f"{code.word} {level}")
            for code in self.codes
            for level in self.levels
        )

    @property
    def label_keys(self) -> tuple[str, ...]:
        """The keys of ``labels``, in the same order."""
        return tuple(self._labels_by_key)

    def label(self, key: str) -> Label:
        """The label with this key; raises CodebookError when there is none."""
        if key not in self._labels_by_key:
            raise CodebookError(f"codebook {self.name} has no label '{key}'; use one of {', '.join(self.label_keys)}")
        return self._labels_by_key[key]

    def code(self, key: str) -> Code:
        """The code with this key; raises CodebookError when there is none."""
        if key not in self._codes_by_key:
            raise CodebookError(f"codebook {self.name} has no code '{key}'; use one of {', '.join(self._codes_by_key)}")
        return self._codes_by_key[key]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with anything that a coder or a model sees: SHA-256 of canonical JSON.

        The codebook's own name is not part of it: nobody codes differently because of a file's name.
        """
        seen = {
            "kind": self.kind.value,
            "instruction": self.instruction,
            "levels": self.levels,
            "max_codes": self.max_codes,
            "codes": [asdict(code) for code in self.codes],
        }
        canonical = json.dumps(seen, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @cached_property
    def _labels_by_key(self) -> dict[str, Label]:
        return {label.key: label for label in self.labels}

    @cached_property
    def _codes_by_key(self) -> dict[str, Code]:
        return {code.key: code for code in self.codes}


@dataclass(frozen=True)
class _CodeEntry:
    """A code as a file has it: one of key and name may be left out, and the word."""

    definition: str = ""
    key: str = ""
    name: str = ""
    word: str = ""

    def code(self) -> Code:
        name = _one_line(self.name) or self.key
        return Code(
            key=self.key or key_from(self.name),
            name=name,
            definition=_one_line(self.definition),
            word=_one_line(self.word) or name.lower(),
        )


@dataclass(frozen=True)
class _CodebookEntry:
    """A codebook as a YAML file has it."""

    codes: tuple[_CodeEntry, ...] = ()
    name: str = ""
    kind: Kind = Kind.EXCLUSIVE
    instruction: str = ""
    levels: tuple[str, ...] = ()
    max_codes: int | None = None


def shipped_codebooks() -> tuple[str, ...]:
    """Names of the codebooks that come with Winnow; ``load_codebook`` takes them in place of a path."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def load_codebook(source: str | Path, kind: Kind | None = None, levels: Sequence[str] = ()) -> Codebook:
    """A codebook from a YAML or CSV file, or a shipped one by its name.

    ``kind`` and ``levels`` take the place of what a YAML file says; a CSV file cannot say them (exclusive by default).
    A CSV file has the columns key, name, definition and word, of which definition and one of key and name are needed;
    comma, semicolon and tab separate. A key left out is made of the name, a word left out is the name in lower case.
    Raises CodebookError with every problem at once, each with file and line.
    """
    if str(source) in shipped_codebooks():
        source = _SHIPPED / f"{source}.yaml"
    path = Path(source)
    if path.suffix.lower() in {".yaml", ".yml"}:
        return _from_yaml(path, kind, tuple(levels))
    if path.suffix.lower() == ".csv":
        return _from_csv(path, kind or Kind.EXCLUSIVE, tuple(levels))
    raise CodebookError(
        f"{path}: not a codebook file, give a .yaml or .csv file or one of {', '.join(shipped_codebooks())}"
    )


def dump_codebook(codebook: Codebook) -> str:
    """The codebook as YAML; ``load_codebook`` makes an equal one of it."""
    return dump_yaml(codebook_data(codebook))


def codebook_data(codebook: Codebook) -> dict[str, object]:
    """The codebook as plain data, fit for JSON; ``read_codebook`` makes an equal one of it."""
    entry: dict[str, object] = {"name": codebook.name, "kind": codebook.kind.value}
    if codebook.instruction:
        entry["instruction"] = codebook.instruction
    if codebook.levels:
        entry["levels"] = list(codebook.levels)
    if codebook.max_codes is not None:
        entry["max_codes"] = codebook.max_codes
    entry["codes"] = [asdict(code) for code in codebook.codes]
    return entry


@dataclass(frozen=True)
class _PlainData(YamlFile):
    """Data that came in no file: messages name what holds it, and no line."""

    def where(self, at: tuple[str | int, ...]) -> str:  # noqa: ARG002 - the fields are in the message
        return str(self.path)


def read_codebook(data: object, *, where: str = "codebook") -> Codebook:
    """A codebook from plain data, such as a request's JSON, with the keys of a YAML file; ``where`` names its place.

    Raises CodebookError with every problem at once.
    """
    return _from_source(_PlainData(Path(where), data, {}), None, ())


def _from_yaml(path: Path, kind: Kind | None, levels: tuple[str, ...]) -> Codebook:
    return _from_source(load_yaml(path, error=CodebookError), kind, levels)


def _from_source(source: YamlFile, kind: Kind | None, levels: tuple[str, ...]) -> Codebook:
    told: list[str] = []
    try:
        entry = build(_CodebookEntry, source.data, source=source, error=CodebookError)
    except CodebookError as problem:
        # What the codes say is checked all the same, so that everything can be mended in one go.
        told.append(str(problem))
        entry = _CodebookEntry(codes=_readable_codes(source.data), kind=kind or Kind.EXCLUSIVE)
    codebook_kind, codebook_levels = kind or entry.kind, levels or entry.levels
    codes = tuple(code.code() for code in entry.codes)
    if not told or codes:
        rules = problems(codebook_kind, codes, codebook_levels, entry.max_codes)
        told += [f"{source.where(at)}: {message}" for at, message in rules if not (told and at[0] != "codes")]
    if told:
        raise CodebookError("; ".join(told))
    return Codebook(
        name=_one_line(entry.name) or source.path.stem,
        kind=codebook_kind,
        codes=codes,
        instruction=_one_line(entry.instruction),
        levels=codebook_levels,
        max_codes=entry.max_codes,
    )


def _readable_codes(data: object) -> tuple[_CodeEntry, ...]:
    """The codes of a file that is wrong somewhere, each with what of it can be read."""
    codes = data.get("codes") if isinstance(data, dict) else None
    if not isinstance(codes, list) or not all(isinstance(code, dict) for code in codes):
        return ()
    return tuple(_CodeEntry(**{key: str(code[key]) for key in _COLUMNS if key in code}) for code in codes)


def _from_csv(path: Path, kind: Kind, levels: tuple[str, ...]) -> Codebook:
    rows = _csv_rows(path)
    header = rows[0][1]
    told = _problems_of_columns(path, rows)
    if "definition" in header and {"key", "name"} & set(header):
        cells = [dict(zip(header, row, strict=False)) for _, row in rows[1:]]
        codes = tuple(_CodeEntry(**{key: row.get(key, "").strip() for key in _COLUMNS}).code() for row in cells)
        told += [f"{path}:{_csv_line(rows, at)}: {message}" for at, message in problems(kind, codes, levels)]
    if told:
        raise CodebookError("; ".join(told))
    return Codebook(path.stem, kind, codes, levels=levels)


def _csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Every row that is not blank with the line on which it begins, the header first and in lower case."""
    text = read_text(path, error=CodebookError)
    header = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=header.count), strict=True)
    rows, begins = [], 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((begins, row))
            begins = reader.line_num + 1
    except csv.Error as problem:
        raise CodebookError(f"{path}:{begins}: {problem}; mend the quotes of this row") from problem
    if not rows:
        raise CodebookError(f"{path}:1: is empty; it needs the columns {', '.join(_COLUMNS)}")
    rows[0] = (rows[0][0], [column.strip().lower() for column in rows[0][1]])
    return rows


def _problems_of_columns(path: Path, rows: list[tuple[int, list[str]]]) -> list[str]:
    line, header = rows[0]
    told = [
        f"{path}:{line}: {column or '(no name)'}: unknown column, remove or rename it {nearest(column, _COLUMNS)}"
        for column in header
        if column not in _COLUMNS
    ]
    told += [
        f"{path}:{line}: {column}: duplicate column, remove one" for column in _COLUMNS if header.count(column) > 1
    ]
    if "definition" not in header:
        told.append(f"{path}:{line}: definition: column is missing, add it")
    if not {"key", "name"} & set(header):
        told.append(f"{path}:{line}: key: column is missing, add it (or the column name)")
    told += [
        f"{path}:{begins}: has {len(row)} cells where the header has {len(header)}, put quotes around cells with commas"
        for begins, row in rows[1:]
        if len(row) != len(header)
    ]
    return told


def _csv_line(rows: list[tuple[int, list[str]]], at: tuple[str | int, ...]) -> int:
    index = at[1] if len(at) > 1 and at[0] == "codes" else None
    return rows[index + 1][0] if isinstance(index, int) else rows[0][0]


def _one_line(text: str) -> str:
    return " ".join(text.split())
