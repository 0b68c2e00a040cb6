"""YAML files to frozen dataclasses, strictly: every problem at once, each with file, line, field and remedy.

Two habits of YAML 1.1 that hurt configuration files are mended: ``no``, ``off`` and ``yes`` are text (only ``true`` and
``false`` are booleans), and ``5e-4`` is a number. Keys are always text.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from label_configs.errors import ConfigError

T = TypeVar("T")
Location = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class YamlFile:
    """A parsed YAML file: plain data, and the line (from 1) on which each location stands."""

    path: Path
    data: Any
    lines: Mapping[Location, int]

    def line(self, at: Location) -> int:
        """The line of ``at``, or of the nearest location around it that the file has."""
        known: Location = ()
        for step in at:
            # A validator adds steps of its own (a union's member): skip what the file does not have.
            if (*known, step) in self.lines:
                known = (*known, step)
        return self.lines.get(known, 1)

    def where(self, at: Location) -> str:
        """``path:line``, the beginning of every message about ``at``."""
        return f"{self.path}:{self.line(at)}"


class _Loader(yaml.SafeLoader):
    """SafeLoader with the plain scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own name


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes what only ``_Loader`` would take for a number, such as ``0E0``."""


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("float", r"^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$", list("-+.")),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _construct_decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # YAML 1.1 would read 010 as eight


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_decimal)


def read_text(path: Path, *, error: type[ConfigError] = ConfigError) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; raises ``error`` when it is absent or not UTF-8."""
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); check the path and its permissions") from problem
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        byte = raw[problem.start]
        raise error(
            f"{path}:{line}: byte 0x{byte:02X} is not UTF-8; save the file with the encoding UTF-8"
        ) from problem


def load_yaml(path: str | Path, *, error: type[ConfigError] = ConfigError) -> YamlFile:
    """Parse a YAML file; raises ``error`` for unreadable files, syntax errors, duplicate keys and unknown tags."""
    path = Path(path)
    text = read_text(path, error=error)
    lines: dict[Location, int] = {}
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        data = None if node is None else _plain(loader, node, (), lines, ())
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = mark.line + 1 if mark else 1
        raise error(f"{path}:{line}: {problem.problem or 'not YAML'}; mend the YAML at this line") from problem
    except yaml.reader.ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        raise error(f"{path}:{line}: {problem.reason}; remove the character") from problem
    finally:
        if loader is not None:
            loader.dispose()
    return YamlFile(path, data, lines)


def dump_yaml(data: object) -> str:
    """Plain data as YAML that ``load_yaml`` and any other reader give back as it was; keys keep their order."""
    return yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)


def _plain(
    loader: _Loader, node: yaml.Node, at: Location, lines: dict[Location, int], around: tuple[yaml.Node, ...]
) -> Any:
    """The plain value of a node, noting each location's line; refuses duplicate keys and aliases of a parent."""
    lines.setdefault(at, node.start_mark.line + 1)
    if any(node is parent for parent in around):
        raise yaml.MarkedYAMLError(problem="an alias refers to what it stands in", problem_mark=node.start_mark)
    around = (*around, node)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*at, index), lines, around) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        try:
            return loader.construct_object(node)
        except ValueError as problem:
            raise yaml.MarkedYAMLError(problem=str(problem), problem_mark=node.start_mark) from problem
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be plain text", problem_mark=key_node.start_mark)
        key = str(key_node.value)
        if key in mapping:
            first = lines[(*at, key)]
            raise yaml.MarkedYAMLError(
                problem=f"duplicate key '{key}', first on line {first}", problem_mark=key_node.start_mark
            )
        lines[(*at, key)] = key_node.start_mark.line + 1
        mapping[key] = _plain(loader, value_node, (*at, key), lines, around)
    return mapping


def build(
    cls: type[T], data: object, *, source: YamlFile, at: Location = (), error: type[ConfigError] = ConfigError
) -> T:
    """``data`` (a part of ``source`` at ``at``) as a frozen dataclass, its fields checked strictly.

    Nested dataclasses, tuples, enums and paths are built too. Unknown keys are refused with the nearest valid one, "3"
    is not an integer and 1 is not a boolean. A ValueError from ``__post_init__`` is reported where that value stands.
    Raises ``error`` with all problems at once, joined by "; ", each as ``path:line: field: what is wrong, remedy``.
    """
    try:
        # Strict validation of JSON (not of Python values) takes lists for tuples and text for enums and paths.
        text = json.dumps({} if data is None else data)
        return TypeAdapter(cls).validate_json(text, strict=True, extra="forbid")
    except ValidationError as problem:
        told = [_sentence(cls, detail, source, at) for detail in problem.errors(include_url=False)]
        raise error("; ".join(dict.fromkeys(told))) from problem


def nearest(word: str, valid: Iterable[str]) -> str:
    """A parenthesis that helps to mend a misspelt word: the nearest valid one, else all of them."""
    known = list(valid)
    by_folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.5)
    if found:
        return f"(nearest valid key: '{by_folded[found[0]]}')"
    return f"(valid keys: {', '.join(known)})"


def _sentence(cls: type[Any], detail: ErrorDetails, source: YamlFile, at: Location) -> str:
    """One of pydantic's errors as ``path:line: field: what is wrong, remedy``."""
    steps = detail["loc"]
    where = source.where((*at, *steps))
    field = ".".join(str(step) for step in (*at, *steps)) or "file"
    if detail["type"] == "unexpected_keyword_argument":
        return f"{where}: {field}: unknown key, remove or rename it {nearest(str(steps[-1]), _keys(cls, steps[:-1]))}"
    if detail["type"] in {"missing", "missing_argument"}:
        return f"{where}: {field}: is missing, add it"
    if detail["type"] in {"dataclass_type", "dataclass_exact_type"}:
        return f"{where}: {field}: must have the keys {', '.join(_keys(cls, steps))}"
    if detail["type"] in {"value_error", "assertion_error"}:
        return f"{where}: {field}: {detail['ctx']['error']}"
    message = detail["msg"].removeprefix("Input ").rstrip(".")
    given = json.dumps(detail["input"], ensure_ascii=False, default=str)
    given = given if len(given) <= 40 else f"{given[:37]}..."
    remedy = ", put it in quotes" if detail["type"] == "string_type" and not isinstance(detail["input"], list) else ""
    return f"{where}: {field}: {message}, not {given}{remedy}"


def _keys(cls: type[Any], steps: Sequence[str | int]) -> list[str]:
    """The field names that are valid below ``steps`` in a tree of dataclasses."""
    here = _dataclasses_in(cls)
    for step in steps:
        below = [kind for parent in here for kind in _dataclasses_in(get_type_hints(parent).get(str(step)))]
        here = below or here
    return [field.name for kind in here for field in dataclasses.fields(kind)]


def _dataclasses_in(annotation: Any) -> list[type[Any]]:
    """The dataclasses that an annotation such as ``tuple[Source, ...] | None`` mentions."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _dataclasses_in(part)]
