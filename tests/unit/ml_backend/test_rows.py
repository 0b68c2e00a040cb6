"""Every kind of file in every usual encoding: each row, or what is wrong with it and on which line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from label_configs.errors import ConfigError
from label_configs.records import Document
from ml_backend.files import read_documents, stream_documents
from ml_backend.row_report import RowProblem
from ml_backend.rows import LONGEST_FIELD, Row, read_rows

OPTIONS = {"--id-column": "id", "--text-column": "text"}
CAFE = "id,text\n1,Weizen\n2,Café über Öl\n"
UTF16 = "id,text\n1,Weizen\n2,€ und ß\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, encoding: str | None = None) -> list[str]:
    """One line for each row: ``id=text``, or the problem with its line."""
    found = []
    for row in stream_documents(path, encoding=encoding):
        found.append(str(row).removeprefix(str(path)) if isinstance(row, RowProblem) else f"{row.id}={row.text}")
    return found


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (CAFE.encode(), None),
        (CAFE.encode("utf-8-sig"), None),
        (CAFE.encode("utf-8-sig"), "utf-8"),
        (CAFE.encode("utf-16"), None),
        (b"\xfe\xff" + CAFE.encode("utf-16-be"), None),
        (CAFE.encode("utf-16"), "utf-16"),
        (CAFE.encode("utf-16-le"), "utf-16-le"),
        (CAFE.encode("utf-32"), None),
        (CAFE.encode("latin-1"), "latin-1"),
        (CAFE.encode("cp1252"), "CP1252"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json"])
def test_every_encoding_in_every_text_format(tmp_path: Path, content: bytes, encoding: str | None, suffix: str) -> None:
    text = CAFE
    if suffix == ".tsv":
        text = CAFE.replace(",", "\t")
    elif suffix != ".csv":
        rows = ['{"id": "1", "text": "Weizen"}', '{"id": "2", "text": "Café über Öl"}']
        text = "\n".join(rows) if suffix == ".jsonl" else f"[{','.join(rows)}]"
    codec = next(
        codec
        for codec in ("utf-8-sig", "utf-8", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "latin-1")
        if CAFE.encode(codec) == content.removeprefix(b"\xfe\xff")
    )
    mark = b"\xfe\xff" if content.startswith(b"\xfe\xff") else b""
    assert read(write(tmp_path, f"a{suffix}", mark + text.encode(codec)), encoding) == ["1=Weizen", "2=Café über Öl"]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.csv", "id,text\n1,x\n2,caf\xe9\n3,y\n", 3),
        ("a.tsv", "id\ttext\n1\tx\n2\tcaf\xe9\n3\ty\n", 3),
        ("a.csv", 'id,text\n1,x\n2,"two\nlines, caf\xe9"\n3,y\n', 4),
        ("a.jsonl", '{"id": 1, "text": "x"}\n\n{"id": 2, "text": "caf\xe9"}\n{"id": 3, "text": "y"}\n', 3),
    ],
)
def test_a_byte_of_another_encoding_costs_its_row_alone(tmp_path: Path, name: str, content: str, line: int) -> None:
    path = write(tmp_path, name, content.encode("latin-1"))
    remedy = "save the file as UTF-8, or name the encoding that it has, as in --encoding latin-1"
    assert read(path) == ["1=x", f":{line}: byte 0xE9 is not UTF-8; {remedy}", "3=y"]


def test_a_byte_of_another_encoding_in_a_json_list_or_a_header_stops(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", b'[{"id": 1,\n "text": "caf\xe9"}]')
    with pytest.raises(ConfigError, match=r"a\.json:2: byte 0xE9 is not UTF-8; .*--encoding latin-1"):
        read(path)
    path = write(tmp_path, "a.csv", b"id,text,caf\xe9\n1,x,y\n")
    with pytest.raises(ConfigError, match=r"a\.csv:1: byte 0xE9 is not UTF-8"):
        read(path)


def test_a_byte_that_the_named_encoding_lacks(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"id,text\n1,x\x81\n2,y\x80\n")
    assert read(path, "cp1252") == [f":2: byte 0x81 is not CP1252; {REMEDY}", "2=y€"]


REMEDY = "save the file as UTF-8, or name the encoding that it has, as in --encoding latin-1"


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"id,text\n1,x\n", "klingon", r"--encoding klingon: no such encoding; use utf-8"),
        (b"id,text\n1,x\n", "base64", r"--encoding base64: no such encoding"),
        (CAFE.encode("utf-8-sig"), "latin-1", r"a\.csv:1: begins with the mark of UTF-8; leave --encoding latin-1 out"),
        (CAFE.encode("utf-16"), "utf-8", r"a\.csv:1: begins with the mark of UTF-16; leave --encoding utf-8 out"),
        (CAFE.encode("utf-16-le"), None, r"a\.csv:1: looks like UTF-16 without its mark; try --encoding utf-16-le"),
        (CAFE.encode("utf-16-be"), None, r"try --encoding utf-16-be"),
        (UTF16.encode("utf-16")[:-1], None, r"a\.csv:\d: not UTF-16 \(truncated data\); save the file as UTF-8"),
    ],
)
def test_an_encoding_that_cannot_be(tmp_path: Path, content: bytes, encoding: str | None, message: str) -> None:
    path = write(tmp_path, "a.csv", content)
    with pytest.raises(ConfigError, match=message):
        read(path, encoding)


def test_half_of_a_pair_in_utf_16_costs_its_row_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,text\n1,\udc80\n2,x\n".encode("utf-16", "surrogatepass"))
    assert read(path) == [":2: holds half of a surrogate pair, which is no text", "2=x"]


FIELDS = "put texts with commas or line breaks in double quotes"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1,x\n2\n3,y\n", ["1=x", f":3: 1 fields where the header has 2; {FIELDS}", "3=y"]),
        ("1,x\n2,a,b\n3,y\n", ["1=x", f":3: 3 fields where the header has 2; {FIELDS}", "3=y"]),
        ("1,x\n\n2,\n3,y\n", ["1=x", ":4: no text in 'text'", "3=y"]),
        ("1,x\n ,z\n3,y\n", ["1=x", ":3: no value in 'id'", "3=y"]),
        ("1,x\n1,z\n3,y\n", ["1=x", ":3: id '1' stands already at {path}:2", "3=y"]),
        # The line with the fault is told, and reading goes on with the next one.
        ('1,x\n2,"closed" late\n3,y\n', ["1=x", ":3: malformed (',' expected after '\"'); MEND", "3=y"]),
        ('1,x\n2,"never closed\n3,y\n4,z\n', ["1=x", ":3: malformed (unexpected end of data); MEND", "3=y", "4=z"]),
        ('1,x\n2,"open\n3,"y"\n4,z\n', ["1=x", ":3: malformed (',' expected after '\"'); MEND", "3=y", "4=z"]),
        ('1,"a\nb"\n2,"open\n', ["1=a\nb", ":4: malformed (unexpected end of data); MEND"]),
        ('1,"a\r\nb"\r\n2,\r\n3,y\r\n', ["1=a\r\nb", ":4: no text in 'text'", "3=y"]),
    ],
)
def test_a_malformed_row_of_a_table(tmp_path: Path, content: str, expected: list[str]) -> None:
    path = write(tmp_path, "a.csv", f"id,text\n{content}")
    expected = [one.replace("{path}", str(path)).replace("MEND", "mend the quotes of this row") for one in expected]
    assert read(path) == expected
    if "\r" not in content:
        path = write(tmp_path, "a.tsv", f"id,text\n{content}".replace(",", "\t"))
        assert [one[:4] for one in read(path)] == [one[:4] for one in expected]


def test_a_malformed_line_of_json(tmp_path: Path) -> None:
    lines = ['{"id": 1, "text": "x"}', '{"id": 2,', "[2]", '{"id": 1, "text": "z"}', '{"text": "z"}', '{"id": 7}', "",
             '{"id": 3, "text": "y"}']  # fmt: skip
    path = write(tmp_path, "a.jsonl", "\n".join(lines))
    first, broken, no_object, twice, no_id, no_text, last = read(path)
    assert (first, last) == ("1=x", "3=y")
    assert broken.startswith(":2: no JSON (Expecting property name")
    assert no_object == ':3: no JSON object; each document is one, as {"id": ..., "text": ...}'
    assert twice == f":4: id '1' stands already at {path}:1"
    assert (no_id, no_text) == (":5: no value in 'id'", ":6: no text in 'text'")


def test_a_malformed_member_of_a_json_list(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", '[{"id": 1, "text": "x"}, 7, {"id": 1, "text": "x"}, {"id": 3, "text": "y"}]')
    first, no_object, twice, last = read(path)
    assert (first, last) == ("1=x", "3=y")
    assert no_object.startswith(": document 2: no JSON object")
    assert twice == f": document 3: id '1' stands already at {path}: document 1"


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns: dict[str, list[Any]] = {
        "id": [1, None, 3, 1, 5], "other": [[0]] * 5, "text": ["x", "x", None, "z", "y"],
    }  # fmt: skip
    parquet.write_table(pa.table(columns), path)
    no_id, no_text = ": row 2: no value in 'id'", ": row 3: no text in 'text'"
    assert read(path) == ["1=x", no_id, no_text, f": row 4: id '1' stands already at {path}: row 1", "5=y"]
    assert [row.values for row in read_rows(path, {"--id-column": "id"}) if isinstance(row, Row)][4] == {"id": 5}


def test_parquet_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.PARQUET"
    parquet.write_table(pa.table({"id": [f"d{n}" for n in range(1000)], "text": ["x"] * 1000}), path)
    assert read_documents(path) == [Document(f"d{n}", "x") for n in range(1000)]


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.parquet: no Parquet file, or a damaged one \(.*\); write it anew"):
        read(write(tmp_path, "a.parquet", "id,text\n"))
    with pytest.raises(ConfigError, match=r"absent\.parquet: cannot be read \(No such file.*\); check the path"):
        read(tmp_path / "absent.parquet")
    path = tmp_path / "b.parquet"
    parquet.write_table(pa.table({"nr": [1], "text": ["x"]}), path)
    with pytest.raises(
        ConfigError, match=r"b\.parquet: no columns 'id'; the columns are nr, text: name yours with --id"
    ):
        read(path)


@pytest.mark.parametrize(("name", "content"), [("a.csv", "nr,body\n1,x\n"), ("a.tsv", "nr\tbody\n1\tx\n")])
def test_a_missing_column_is_told_with_the_option_that_names_it(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(read_rows(write(tmp_path, name, content), OPTIONS))
    assert str(caught.value).endswith(
        ":1: no columns 'id', 'text'; the columns are nr, body: name yours with --id-column, --text-column"
    )
    with pytest.raises(ConfigError, match=r"no columns 'code'; .* name yours with --code-column$"):
        list(read_rows(tmp_path / name, {"--code-column": "code", "--text-column": "body"}))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_text_may_be_very_long_but_not_endless(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    texts = ["x", "w" * LONGEST_FIELD, "w" * (LONGEST_FIELD + 1), "y"]
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["id", "text"], *enumerate(texts)])
    elif suffix == ".jsonl":
        write(tmp_path, path.name, "\n".join(json.dumps({"id": n, "text": text}) for n, text in enumerate(texts)))
    else:
        parquet.write_table(pa.table({"id": range(4), "text": texts}), path)
    found = list(stream_documents(path))
    assert [row.id for row in found if isinstance(row, Document)] == ["0", "1", "3"]
    problem = found[2]
    assert isinstance(problem, RowProblem)
    assert problem.where == {".csv": f"{path}:4", ".jsonl": f"{path}:3", ".parquet": f"{path}: row 3"}[suffix]
    assert str(LONGEST_FIELD) in problem.what


def test_the_csv_modules_own_limit_stands_between_two_rows(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    rows = read_rows(write(tmp_path, "a.csv", "id,text\n1,x\n2,y\n"), OPTIONS)
    next(rows)
    assert csv.field_size_limit() == limit


BROKEN = ['"b","a "quote" too many"', '"b","never closed', '"b"', '"b","two","three"', '"b","caf\udce9"']


@given(st.integers(0, 6), st.integers(0, 6), st.sampled_from(BROKEN))
def test_no_row_is_lost_and_none_made_up_around_a_broken_one(
    tmp_path_factory: pytest.TempPathFactory, before: int, after: int, broken: str
) -> None:
    rows = [Document(f"{n}", f"x, {n}") for n in range(before + after)]
    lines = ["id,text", *(f'"{row.id}","{row.text}"' for row in rows)]
    lines.insert(before + 1, broken)
    content = "\n".join(lines).encode("utf-8", "surrogateescape")
    found = list(stream_documents(write(tmp_path_factory.mktemp("rows"), "a.csv", content)))
    assert [row for row in found if isinstance(row, Document)] == rows
    assert [row.where.rpartition(":")[2] for row in found if isinstance(row, RowProblem)] == [str(before + 2)]
