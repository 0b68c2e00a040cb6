"""Codebooks: files in, labels and fingerprint out, every mistake told with file and line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.codebook import (
    Code,
    Codebook,
    Kind,
    Label,
    codebook_data,
    dump_codebook,
    load_codebook,
    read_codebook,
    shipped_codebooks,
)
from label_configs.errors import CodebookError

DECISIONS = Path(__file__).parents[4] / "shared" / "data" / "flourishing_decisions.csv"

A, B = Code("a", "Apples", "Fruit", "apples"), Code("b", "Boats", "Ships", "boats")


def write(tmp_path: Path, text: str, name: str = "codes.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path, **arguments: object) -> list[str]:
    with pytest.raises(CodebookError) as caught:
        load_codebook(path, **arguments)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{path.parent}/", "").split("; ")


def codes_yaml(*entries: str, head: str = "") -> str:
    return head + "codes:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries)


GOOD = ("key: a, name: Apples, definition: Fruit", "key: b, name: Boats, definition: Ships")


@pytest.mark.parametrize(
    ("name", "kind", "labels", "limit"),
    [
        ("cap", Kind.EXCLUSIVE, 21, None),
        ("dataverse", Kind.MULTILABEL, 15, 3),
        ("flourishing", Kind.GRADED, 138, None),
        ("reuters8", Kind.EXCLUSIVE, 8, None),
    ],
)
def test_shipped_codebooks(name: str, kind: Kind, labels: int, limit: int | None) -> None:
    codebook = load_codebook(name)
    assert (codebook.name, codebook.kind, len(codebook.labels), codebook.max_codes) == (name, kind, labels, limit)
    assert codebook.instruction.endswith("?")
    first_words = [code.word.split()[0] for code in codebook.codes]
    assert len(set(first_words)) == len(first_words)


def test_every_shipped_codebook_is_tested_above() -> None:
    assert shipped_codebooks() == ("cap", "dataverse", "flourishing", "reuters8")


def test_reuters8_has_the_keys_of_the_data() -> None:
    assert load_codebook("reuters8").label_keys == (
        "acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade",
    )  # fmt: skip


def test_flourishing_has_the_dimensions_of_the_data() -> None:
    if not DECISIONS.exists():
        pytest.skip("the decisions of the flourishing study are not on this machine")
    with DECISIONS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    codebook = load_codebook("flourishing")
    assert {code.name.casefold() for code in codebook.codes} == {row["dimension"] for row in rows}
    assert set(codebook.levels) == {row["value"] for row in rows}


def test_graded_labels_are_codes_at_levels() -> None:
    codebook = Codebook("g", Kind.GRADED, (A, B), levels=("low", "high"))
    assert codebook.label_keys == ("a:low", "a:high", "b:low", "b:high")
    assert codebook.label("b:high") == Label("b:high", "b", "high", "Boats · high", "boats high")
    assert codebook.code("b") is B


def test_labels_that_do_not_exist_are_refused() -> None:
    codebook = Codebook("x", Kind.EXCLUSIVE, (A, B))
    assert codebook.label("a") == Label("a", "a", None, "Apples", "apples")
    with pytest.raises(CodebookError, match="codebook x has no label 'c'; use one of a, b"):
        codebook.label("c")
    with pytest.raises(CodebookError, match="codebook x has no code 'c'; use one of a, b"):
        codebook.code("c")


def test_fingerprint_changes_with_what_is_seen_and_only_then() -> None:
    codebook = Codebook("x", Kind.MULTILABEL, (A, B))
    assert codebook.fingerprint == "7aba9e810353161c"  # adapters are filed under it: it must not change by itself
    assert replace(codebook, name="y").fingerprint == codebook.fingerprint
    changed = [
        replace(codebook, codes=(B, A)),
        replace(codebook, codes=(replace(A, definition="Other"), B)),
        replace(codebook, codes=(replace(A, word="pears"), B)),
        replace(codebook, codes=(replace(A, name="Pears"), B)),
        replace(codebook, instruction="What?"),
        replace(codebook, max_codes=1),
        replace(codebook, kind=Kind.EXCLUSIVE),
        replace(codebook, kind=Kind.GRADED, levels=("low", "high")),
    ]
    assert len({codebook.fingerprint, *(other.fingerprint for other in changed)}) == len(changed) + 1


def test_yaml_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path, codes_yaml("name: 'Café, Bar', definition: ' Two\n    lines '", "key: b.2, definition: Ships")
    )
    assert load_codebook(path) == Codebook(
        "codes",
        Kind.EXCLUSIVE,
        (Code("cafe-bar", "Café, Bar", "Two lines", "café, bar"), Code("b.2", "b.2", "Ships", "b.2")),
    )


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            (*GOOD, "key: A, name: Ants, definition: Six legs"),
            "codes.yaml:4: codes.2.key: duplicate key 'a', already that of codes.0, give each code its own",
        ),
        (
            (*GOOD, "key: c, name: boats, definition: Too, word: c"),
            "codes.yaml:4: codes.2.name: duplicate name 'boats', already that of codes.1, give each code its own",
        ),
        (
            (*GOOD, "key: c, name: Cherries, definition: Too, word: APPLES"),
            "codes.yaml:4: codes.2.word: duplicate label word 'apples', already that of codes.0, "
            "give each code its own",
        ),
        (
            (*GOOD, "key: c, name: Cherries, definition: ' '"),
            "codes.yaml:4: codes.2.definition: is empty (code 'c'), write one",
        ),
        (
            (*GOOD, "key: -c, name: Cherries, definition: Red"),
            "codes.yaml:4: codes.2.key: '-c' cannot be a key, use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit",
        ),
        (
            (*GOOD, "key: c, name: Cherries, defintion: Red, definition: Red"),
            "codes.yaml:4: codes.2.defintion: unknown key, remove or rename it (nearest valid key: 'definition')",
        ),
        (GOOD[:1], "codes.yaml:1: codes: has only one code, a codebook needs at least two"),
        (
            (*GOOD, 'key: c, name: "a\\u0000b", definition: Red, word: c'),
            "codes.yaml:4: codes.2.name: has the unprintable character U+0000, remove it",
        ),
    ],
)
def test_each_problem_of_a_code_is_told_with_its_line(tmp_path: Path, entries: tuple[str, ...], message: str) -> None:
    assert problems(write(tmp_path, codes_yaml(*entries))) == [message]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("kind: graded\n", "codes.yaml:1: levels: a graded codebook needs at least two, such as [low, medium, high]"),
        ("levels: [low, high]\n", "codes.yaml:1: levels: only a graded codebook has levels, this one is exclusive"),
        ("kind: graded\nlevels: [low, low]\n", "codes.yaml:2: levels.1: duplicate level 'low', remove it"),
        (
            "kind: graded\nlevels: [low, 'h:i']\n",
            "codes.yaml:2: levels.1: 'h:i' cannot be a key, use letters and digits",
        ),
        (
            "max_codes: 2\n",
            "codes.yaml:1: max_codes: only a multilabel codebook may have it, this one is exclusive",
        ),
        (
            "kind: multilabel\nmax_codes: 3\n",
            "codes.yaml:2: max_codes: 3 is not between 1 and the 2 codes, change it",
        ),
        ("kind: many\n", "codes.yaml:1: kind: should be 'exclusive', 'multilabel' or 'graded', not \"many\""),
    ],
)
def test_each_problem_of_the_codebook_is_told_with_its_line(tmp_path: Path, head: str, message: str) -> None:
    assert problems(write(tmp_path, codes_yaml(*GOOD, head=head)))[0] == message


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    told = problems(write(tmp_path, codes_yaml("key: a b, definition: x", "key: b, colour: red", head="size: 3\n")))
    assert told == [
        "codes.yaml:4: codes.1.colour: unknown key, remove or rename it (valid keys: definition, key, name, word)",
        "codes.yaml:1: size: unknown key, remove or rename it "
        "(valid keys: codes, name, kind, instruction, levels, max_codes)",
        "codes.yaml:3: codes.0.key: 'a b' cannot be a key, use letters, digits, '.', '_' and '-', "
        "beginning with a letter or digit",
        "codes.yaml:4: codes.1.definition: is empty (code 'b'), write one",
    ]


def test_an_empty_file_has_no_codes(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "")) == ["codes.yaml:1: codes: has no codes, a codebook needs at least two"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(tmp_path: Path, separator: str) -> None:
    rows = [["Key", "name", "definition"], ["a", "Apples", '"Fruit\nof trees"'], [], ["", "Boats", "Ships"]]
    path = write(tmp_path, "﻿" + "\n".join(separator.join(row) for row in rows), "codes.csv")
    assert load_codebook(path) == Codebook(
        "codes",
        Kind.EXCLUSIVE,
        (Code("a", "Apples", "Fruit of trees", "apples"), Code("boats", "Boats", "Ships", "boats")),
    )
    graded = load_codebook(path, Kind.GRADED, ("low", "high"))
    assert graded.label_keys == ("a:low", "a:high", "boats:low", "boats:high")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "codes.csv:1: is empty"),
        (
            "key,nme,definition\na,b,c\nd,e,f",
            "codes.csv:1: nme: unknown column, remove or rename it (nearest valid key: 'name')",
        ),
        ("key,name\na,b\nc,d", "codes.csv:1: definition: column is missing, add it"),
        ("word,definition\na,b\nc,d", "codes.csv:1: key: column is missing, add it (or the column name)"),
        ("key,key,definition\na,b,c\nd,e,f", "codes.csv:1: key: duplicate column, remove one"),
        (
            "key,definition\na,Fruit, sweet\nb,Ships",
            "codes.csv:2: has 3 cells where the header has 2, put quotes around cells with commas",
        ),
        ('key,definition\na,"x\ny"\nb,', "codes.csv:4: codes.1.definition: is empty (code 'b'), write one"),
        ('key,definition\na,x\nb,"y', "codes.csv:3: unexpected end of data"),
        ("key,definition\na,x", "codes.csv:1: codes: has only one code, a codebook needs at least two"),
    ],
)
def test_each_problem_of_a_csv_file_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert problems(write(tmp_path, text, "codes.csv"))[0] == message


def test_a_latin_1_csv_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_bytes("key,definition\na,x\nb,caf\xe9".encode("latin-1"))
    assert problems(path)[0] == "codes.csv:3: byte 0xE9 is not UTF-8"


def test_other_files_are_refused_with_what_is_shipped(tmp_path: Path) -> None:
    with pytest.raises(
        CodebookError, match=r"reuters: not a codebook file, give a \.yaml or \.csv file or one of cap,"
    ):
        load_codebook("reuters")
    with pytest.raises(CodebookError, match=r"absent\.yaml: cannot be read \(No such file"):
        load_codebook(tmp_path / "absent.yaml")


def test_a_codebook_that_cannot_be_is_not_built() -> None:
    with pytest.raises(
        CodebookError, match=r"codebook x: codes\.1\.key: duplicate key 'a'.*; codes\.1\.name: duplicate"
    ):
        Codebook("x", Kind.EXCLUSIVE, (A, A))
    with pytest.raises(CodebookError, match=r"its name or instruction has the unprintable character U\+000A"):
        Codebook("x", Kind.EXCLUSIVE, (A, B), instruction="two\nlines")


@pytest.mark.parametrize("name", ["cap", "dataverse", "flourishing", "reuters8"])
def test_a_dumped_codebook_loads_as_the_same(tmp_path: Path, name: str) -> None:
    codebook = load_codebook(name)
    assert load_codebook(write(tmp_path, dump_codebook(codebook))) == codebook


# Text of one line: what files hold after white space is folded.
LINES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@given(names=st.lists(LINES, min_size=2, max_size=6, unique_by=str.casefold), text=LINES)
def test_any_text_survives_yaml(tmp_path_factory: pytest.TempPathFactory, names: list[str], text: str) -> None:
    codes = tuple(Code(f"k{index}", name, text, f"w{index}") for index, name in enumerate(names))
    codebook = Codebook("any", Kind.EXCLUSIVE, codes, instruction=text)
    path = tmp_path_factory.mktemp("yaml") / "any.yaml"
    path.write_text(dump_codebook(codebook), encoding="utf-8")
    assert load_codebook(path) == codebook


# --- plain data -----------------------------------------------------------------------------------------------------


def test_plain_data_makes_an_equal_codebook() -> None:
    for name in shipped_codebooks():
        codebook = load_codebook(name)
        assert read_codebook(json.loads(json.dumps(codebook_data(codebook)))) == codebook


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "codebook: codes: has no codes"),
        (7, "codebook: file: must have the keys codes, name"),
        ({"codes": [{"key": "a", "definition": "x"}]}, "codebook: codes: has only one code"),
        ({"codez": []}, "codebook: codez: unknown key, remove or rename it (nearest valid key: 'codes')"),
        ({"codes": [{"key": "a"}, {"key": "b", "definition": 3}]}, "codebook: codes.1.definition: should be a valid"),
        ({"kind": "x", "codes": []}, "codebook: kind: should be 'exclusive', 'multilabel' or 'graded', not \"x\""),
        ({"name": "\ud800", "codes": []}, "codebook: file: Invalid JSON"),
    ],
)
def test_plain_data_that_is_wrong_is_told_without_lines(data: object, told: str) -> None:
    with pytest.raises(CodebookError) as caught:
        read_codebook(data)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
