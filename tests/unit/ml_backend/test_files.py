"""A team's file: every document or a reason, with the line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.errors import ConfigError
from label_configs.records import Document
from ml_backend.files import read_documents, stream_documents
from ml_backend.row_report import RowProblem

TWO = [Document("1", "Wheat rose."), Document("2", "Ships, and ports.")]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,text\n1,Wheat rose.\n2,"Ships, and ports."\n'),
        ("a.CSV", '\ufeffid,text,other\r\n1,Wheat rose.,x\r\n\r\n2,"Ships, and ports.",y\r\n'),
        ("a.tsv", "text\tid\nWheat rose.\t1\nShips, and ports.\t2"),
        ("a.json", '[{"id": 1, "text": "Wheat rose."}, {"id": "2", "text": "Ships, and ports.", "x": null}]'),
        ("a.jsonl", '{"id": 1, "text": "Wheat rose."}\r\n\n{"id": "2", "text": "Ships, and ports."}'),
        ("a.ndjson", '{"id": 1, "text": "Wheat rose."}\n{"id": " 2 ", "text": "Ships, and ports."}\n'),
    ],
)
def test_every_kind_of_file_is_read(tmp_path: Path, name: str, content: str) -> None:
    assert read_documents(write(tmp_path, name, content)) == TWO


def test_other_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "nr,body\n1,Wheat rose.\n")
    assert read_documents(path, id_column="nr", text_column="body") == TWO[:1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "nr,text\n1,x\n", ":1: no columns 'id'; the columns are nr, text: name yours with --id-column"),
        ("a.csv", "id,text,text\n1,x,y\n", ":1: 2 columns 'text'"),
        ("a.csv", "", ":1: no columns 'id', 'text'; the columns are none"),
        ("a.csv", "id,text\n1,Ships, and ports\n", ":2: 3 fields where the header has 2; put texts with commas"),
        ("a.tsv", "id\ttext\n1\tx\ty\n", ":2: 3 fields where the header has 2; put texts with tabs"),
        ("a.csv", "id,text\n1\n", ":2: 1 fields where the header has 2"),
        ("a.csv", 'id,text\n1,"two\nlines"\n2,\n', ":4: no text in 'text'"),
        ("a.csv", 'id,text\n1,x\n2,"never closed\n', ":3: malformed (unexpected end of data); mend the quotes"),
        ("a.csv", 'id,text\n1,x\n2,"closed" late\n', ":3: malformed"),
        ("a.csv", "id,text\n1,x\n1,y\n", ":3: id '1' stands already at"),
        ("a.csv", "id,text\n ,x\n", ":2: no value in 'id'"),
        ("a.csv", "id,text\n", ": no documents; the file is empty"),
        ("a.csv", b"id,text\n1,x\n2,caf\xe9\n", ":3: byte 0xE9 is not UTF-8"),
        ("a.jsonl", '{"id": 1, "text": "x"}\n{"id": 2,\n', ":2: no JSON"),
        ("a.jsonl", '{"id": 1, "text": "x"}\n[1]\n', ":2: no JSON object"),
        ("a.jsonl", '{"id": 1, "text": "x"}\n\n{"id": 1, "text": "y"}\n', ":3: id '1' stands already at"),
        ("a.jsonl", '{"id": true, "text": "x"}\n', ":1: no value in 'id'"),
        ("a.jsonl", '{"id": 1.5, "text": "x"}\n', ":1: no value in 'id'"),
        ("a.jsonl", '{"id": 1, "text": ["x"]}\n', ":1: no text in 'text'"),
        ("a.jsonl", '{"id": 1, "text": "\\ud800"}\n', ":1: holds half of a surrogate pair"),
        ("a.jsonl", "[" * 100_000, ":1: no JSON"),
        ("a.json", '{"id": 1, "text": "x"}', ": must hold a list of objects"),
        ("a.json", "[1]", ": document 1: no JSON object"),
        ("a.json", '[{"id": 1, "text": "x"}, {"id": 2}]', ": document 2: no text in 'text'"),
        ("a.json", "[", ": no JSON"),
        ("a.docx", "x", ": unknown kind of file; use .csv, .tsv, .json, .jsonl or .parquet"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(ConfigError) as caught:
        read_documents(path)
    assert f"{path}{message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_mistakes_are_counted_not_listed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,text\n" + ",x\n" * 50)
    with pytest.raises(ConfigError, match=r":2: .*:3: .*:4: .*; and 47 more; mend these rows and import again$"):
        read_documents(path)


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.csv: cannot be read .*; check the path"):
        read_documents(tmp_path / "absent.csv")


def test_a_text_may_be_long(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    text = "wheat " * 50_000
    path = write(tmp_path, "a.csv", f"id,text\n1,{text}\n")
    assert read_documents(path)[0].text == text
    assert csv.field_size_limit() == limit


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(st.lists(texts, min_size=1, max_size=8))
def test_any_text_survives_csv_and_jsonl(tmp_path_factory: pytest.TempPathFactory, written: list[str]) -> None:
    folder = tmp_path_factory.mktemp("files")
    expected = [Document(f"d{n}", text) for n, text in enumerate(written)]
    with (folder / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["id", "text"], *[[d.id, d.text] for d in expected]])
    lines = [json.dumps({"id": d.id, "text": d.text}, ensure_ascii=False) for d in expected]
    write(folder, "a.jsonl", "\n".join(lines))
    assert read_documents(folder / "a.csv") == expected
    assert read_documents(folder / "a.jsonl") == expected


def test_an_id_that_stands_twice_is_found_in_a_long_file(tmp_path: Path) -> None:
    ids = [f"d{n}" for n in range(5000)] + ["d17", "d4999"]
    path = write(tmp_path, "a.csv", "id,text\n" + "".join(f"{one},x\n" for one in ids))
    found = list(stream_documents(path))
    assert [row for row in found if isinstance(row, Document)] == [Document(one, "x") for one in ids[:5000]]
    assert [str(row) for row in found if isinstance(row, RowProblem)] == [
        f"{path}:5002: id 'd17' stands already at {path}:19",
        f"{path}:5003: id 'd4999' stands already at {path}:5001",
    ]
