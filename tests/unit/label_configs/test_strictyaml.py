"""YAML to frozen dataclasses: every problem with file, line, field and remedy."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest

from label_configs.errors import CodebookError, ConfigError
from label_configs.strictyaml import build, dump_yaml, load_yaml


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Source:
    name: str
    rate: float = 1.0
    steps: int = 1
    on: bool = True

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError("must not be negative, raise it")


@dataclass(frozen=True)
class Plan:
    sources: tuple[Source, ...]
    colour: Colour = Colour.RED
    folder: Path = Path("here")
    mode: Literal["fast", "slow"] = "fast"
    extra: Source | None = None
    named: dict[str, Source] = field(default_factory=dict)


@pytest.fixture
def build_plan(tmp_path: Path):
    def build_it(text: str) -> Plan:
        path = tmp_path / "plan.yaml"
        path.write_text(text, encoding="utf-8")
        source = load_yaml(path)
        return build(Plan, source.data, source=source)

    return build_it


def problem(build_plan, tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build_plan(text)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{tmp_path}/", "")


def test_nested_dataclasses_are_built(build_plan) -> None:
    plan = build_plan(
        "sources:\n  - {name: a, rate: 5e-4}\n  - {name: no, rate: 3, on: false}\n"
        "colour: blue\nfolder: /x/y\nmode: slow\nextra: {name: q}\nnamed: {u: {name: z}}\n"
    )
    assert plan == Plan(
        sources=(Source("a", rate=0.0005), Source("no", rate=3.0, on=False)),
        colour=Colour.BLUE,
        folder=Path("/x/y"),
        mode="slow",
        extra=Source("q"),
        named={"u": Source("z")},
    )


@pytest.mark.parametrize(("text", "value"), [("007", 7), ("5e-4", 0.0005), ("1.5", 1.5), (".5", 0.5), ("off", "off")])
def test_plain_scalars_mean_what_they_look_like(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"a: {text}")
    assert load_yaml(path).data == {"a": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sources:\n  - nam: a\n    name: b",
            "plan.yaml:2: sources.0.nam: unknown key, remove or rename it (nearest valid key: 'name')",
        ),
        (
            "sources: []\nnamed:\n  u:\n    name: a\n    zzzzzz: 1",
            "plan.yaml:5: named.u.zzzzzz: unknown key, remove or rename it (valid keys: name, rate, steps, on)",
        ),
        ("colour: red", "plan.yaml:1: sources: is missing, add it"),
        ("", "plan.yaml:1: sources: is missing, add it"),
        ("- 1", "plan.yaml:1: file: must have the keys sources, colour, folder, mode, extra, named"),
        (
            "sources:\n  - name: 3",
            "plan.yaml:2: sources.0.name: should be a valid string, not 3, put it in quotes",
        ),
        ("sources:\n  - {name: a, steps: '3'}", 'plan.yaml:2: sources.0.steps: should be a valid integer, not "3"'),
        ("sources:\n  - {name: a, on: 1}", "plan.yaml:2: sources.0.on: should be a valid boolean, not 1"),
        ("sources: 3", "plan.yaml:1: sources: should be a valid array, not 3"),
        ("sources: []\n\ncolour: green", "plan.yaml:3: colour: should be 'red' or 'blue', not \"green\""),
        ("sources:\n  - name: a\n    steps: -1", "plan.yaml:2: sources.0: must not be negative, raise it"),
        ("sources: [\n", "plan.yaml:2: expected the node content"),
        ("colour: red\ncolour: blue", "plan.yaml:2: duplicate key 'colour', first on line 1; mend the YAML"),
        ("sources: &s [*s]", "plan.yaml:1: an alias refers to what it stands in"),
        ("? [a]\n: 3", "plan.yaml:1: a key must be plain text"),
        ("a: 1\n---\nb: 2", "plan.yaml:2: but found another document"),
        ("a: !!python/name:os.system", "plan.yaml:1: could not determine a constructor for the tag"),
        ("a: 1\nb: \x07", "plan.yaml:2: special characters are not allowed; remove the character"),
    ],
)
def test_each_problem_is_told_with_its_line(build_plan, tmp_path: Path, text: str, message: str) -> None:
    assert problem(build_plan, tmp_path, text).startswith(message)


def test_all_problems_are_told_at_once(build_plan, tmp_path: Path) -> None:
    told = problem(
        build_plan, tmp_path, "sources:\n  - {name: a, stepps: 1}\n  - {rate: x}\ncolor: red\nextra: {name: q, on: 2}"
    )
    assert told.split("; ") == [
        "plan.yaml:2: sources.0.stepps: unknown key, remove or rename it (nearest valid key: 'steps')",
        "plan.yaml:3: sources.1.name: is missing, add it",
        'plan.yaml:3: sources.1.rate: should be a valid number, not "x"',
        "plan.yaml:5: extra.on: should be a valid boolean, not 2",
        "plan.yaml:4: color: unknown key, remove or rename it (nearest valid key: 'colour')",
    ]


def test_a_part_of_a_file_is_named_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "whole.yaml"
    path.write_text("first: 1\npart:\n  nme: a\n  name: b\n")
    source = load_yaml(path)
    with pytest.raises(CodebookError, match=r"whole\.yaml:3: part\.nme: unknown key"):
        build(Source, source.data["part"], source=source, at=("part",), error=CodebookError)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"absent\.yaml: cannot be read \(No such file or directory\); check the path"
    ):
        load_yaml(tmp_path / "absent.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml:2: byte 0xE9 is not UTF-8; save the file"):
        load_yaml(latin)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load_yaml(path).data == {"a": 1}


def test_dumped_text_stays_text(tmp_path: Path) -> None:
    data = {
        "b": ["0E0", "5e-4", "no", "true", "1_000", "2026-01-02", "null", "", "007", ".5"],
        "a": [1, 2.5, None, True],
    }
    path = tmp_path / "dumped.yaml"
    path.write_text(dump_yaml(data), encoding="utf-8")
    assert load_yaml(path).data == data
    assert list(load_yaml(path).data) == ["b", "a"]
