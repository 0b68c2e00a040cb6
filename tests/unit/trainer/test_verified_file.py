"""Verified documents in a file of a team's own: every way to write a code, and every row that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from label_configs.codebook import Code, Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.errors import ConfigError
from label_configs.records import Document, VerifiedExample
from trainer.verified_file import Spellings, VerifiedFile

CODES = (
    Code("money-fx", "Money, Foreign Exchange", "Currencies.", "money"),
    Code("grain", "Grain", "Wheat and maize.", "grain"),
    Code("trade", "Commerce", "Imports, exports.", "imports"),
    Code("imports", "Customs", "Duties.", "customs"),
)
ONE = Codebook("one", Kind.EXCLUSIVE, CODES)
SEVERAL = Codebook("several", Kind.MULTILABEL, CODES, max_codes=2)
GRADED = Codebook("moods", Kind.GRADED, (Code("joy", "Joy", "Glad.", "joy"), Code("fear", "Fear", "Afraid.", "fear")),
                  levels=("low", "high"))  # fmt: skip


def written(folder: Path, text: str, name: str = "verified.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, book: Codebook = ONE, **fields: str) -> list[VerifiedExample]:
    return VerifiedFile(path, **fields).examples(book, 0.2)


def refusal(path: Path, book: Codebook = ONE, **fields: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path, book, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- codes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("grain", "grain"),
        (" GRAIN ", "grain"),
        ("Money, foreign  exchange", "money-fx"),
        ("money", "money-fx"),
        # It is one code's key and another's label word: a key means its own code.
        ("imports", "imports"),
        ("commerce", "trade"),
    ],
)
def test_a_code_is_written_by_key_name_or_word(cell: str, expected: str) -> None:
    assert Spellings(ONE).labels(cell, "code") == (expected,)


@pytest.mark.parametrize(
    ("book", "cell", "expected"),
    [
        (SEVERAL, "trade|grain", ("grain", "trade")),
        (SEVERAL, " Grain | grain |", ("grain",)),
        (SEVERAL, ["money", "GRAIN"], ("grain", "money-fx")),
        (SEVERAL, "none", ()),
        (GRADED, "joy:low|Fear: HIGH", ("fear:high", "joy:low")),
        (GRADED, "None", ()),
    ],
)
def test_where_several_may_hold(book: Codebook, cell: object, expected: tuple[str, ...]) -> None:
    assert Spellings(book).labels(cell, "code") == expected


@pytest.mark.parametrize(
    ("book", "cell", "problem"),
    [
        (ONE, "", "no code in 'code'"),
        (ONE, None, "no code in 'code'"),
        (ONE, True, "no code in 'code'"),
        (SEVERAL, " | ", "no code in 'code'; write none where no code holds"),
        (ONE, "none", "code 'none' is not in codebook one (nearest: 'money-fx')"),
        (ONE, "grian", "code 'grian' is not in codebook one (nearest: 'grain')"),
        (ONE, "Comerce", "code 'Comerce' is not in codebook one (nearest: 'trade')"),
        (ONE, "grain|trade", "2 codes, in codebook one exactly one holds (kind: exclusive)"),
        (ONE, ["grain", "trade"], "2 codes, in codebook one exactly one holds (kind: exclusive)"),
        (ONE, 7, "code '7' is not in codebook one (codes are money-fx, grain, trade, imports)"),
        (SEVERAL, "grain|wheat", "code 'wheat' is not in codebook several (codes are money-fx, grain, trade, imports)"),
        (SEVERAL, "grain|trade|money", "3 codes, codebook several allows 2 (max_codes)"),
        (GRADED, "joy", "code 'joy' is not in codebook moods (nearest: 'joy:low')"),
        (GRADED, "joy:lov", "code 'joy:lov' is not in codebook moods (nearest: 'joy:low')"),
        (GRADED, "joy:low|joy:high", "code 'joy' at more than one level; keep one"),
    ],
)
def test_what_is_no_code_is_told(book: Codebook, cell: object, problem: str) -> None:
    assert Spellings(book).labels(cell, "code") == problem


def test_a_code_that_is_called_none_is_a_code() -> None:
    book = Codebook("b", Kind.MULTILABEL, (*CODES, Code("none", "None", "Nothing of these.", "none")))
    assert Spellings(book).labels("none", "code") == ("none",)


def test_a_long_list_of_codes_is_cut() -> None:
    book = Codebook("b", Kind.EXCLUSIVE, tuple(Code(f"k{i}", f"n{i}", "d", f"w{i}") for i in range(30)))
    told = Spellings(book).labels("something else", "code")
    assert str(told).endswith("k8, k9 and 20 more)")


# --- documents -------------------------------------------------------------------------------------------------------


def test_without_an_id_the_texts_digest_is_one(tmp_path: Path) -> None:
    found = read(written(tmp_path, 'text,code\n"Wheat\nrose",grain\nFrancs fell,money\n'))
    assert [e.text for e in found] == ["Wheat\nrose", "Francs fell"]
    assert [e.document_id for e in found] == [Document("", e.text).digest for e in found]
    assert [e.holdout for e in found] == [is_holdout(e.document_id, 0.2) for e in found]
    assert found[0].labels == ("grain",)


def test_the_column_id_is_taken_where_there_is_one(tmp_path: Path) -> None:
    path = written(tmp_path, "id,story,body,topic\na,1,Wheat rose,grain\nb,2,Wheat rose,grain\n")
    columns = {"text_column": "body", "code_column": "topic"}
    assert [e.document_id for e in read(path, **columns)] == ["a", "b"]
    assert [e.document_id for e in read(path, id_column="story", **columns)] == ["1", "2"]


def test_json_and_parquet_say_the_same(tmp_path: Path) -> None:
    rows = [{"id": 7, "text": "Wheat rose", "code": ["grain", "trade"], "more": 1.5},
            {"id": 8, "text": "Francs fell", "code": ["money"], "more": 2.5}]  # fmt: skip
    lines = written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "verified.jsonl")
    table = tmp_path / "verified.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    assert read(lines, SEVERAL) == read(table, SEVERAL)
    assert [e.document_id for e in read(table, SEVERAL)] == ["7", "8"]
    bare = tmp_path / "bare.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows).drop_columns(["id"]), bare)
    assert read(bare, SEVERAL)[0].document_id == Document("", "Wheat rose").digest


def test_a_row_that_says_the_same_twice_counts_once(tmp_path: Path) -> None:
    path = written(tmp_path, "text,code\nWheat rose,grain\nFrancs fell,money\nWheat rose,Grain\n")
    assert [e.labels for e in read(path)] == [("grain",), ("money-fx",)]


def test_a_row_that_contradicts_another_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "text,code\nWheat rose,grain\nFrancs fell,money\nWheat rose,trade\n")
    assert refusal(path) == (
        f"{path}:4: other codes for the text that stands already at {path}:2; mend these rows and train again"
    )


def test_an_id_that_stands_twice_is_told_whatever_the_row_says(tmp_path: Path) -> None:
    path = written(tmp_path, "id,text,code\na,Wheat rose,grain\na,Wheat rose,grain\n")
    assert f"{path}:3: id 'a' stands already at {path}:2" in refusal(path)


def test_the_first_problems_are_told_with_their_lines_and_the_others_counted(tmp_path: Path) -> None:
    rows = ["Wheat rose,wheat", ",grain", '"Two\nlines",', "Francs fell,francs", "Maize fell,grain,x"]
    path = written(tmp_path, "text,code\n" + "\n".join(rows) + "\n")
    told = refusal(path)
    assert f"{path}:2: code 'wheat' is not in codebook one" in told
    assert f"{path}:3: no text in 'text'" in told
    assert f"{path}:4: no code in 'code'" in told
    assert told.endswith("; and 2 more; mend these rows and train again")


@pytest.mark.parametrize("text", ["text,code\n", '{"text": "a"'])
def test_an_empty_file_and_one_that_is_none(tmp_path: Path, text: str) -> None:
    if text.startswith("{"):
        assert "no JSON" in refusal(written(tmp_path, text, "verified.json"))
    else:
        path = written(tmp_path, text)
        assert refusal(path) == f"{path}: no documents; the file is empty"


@pytest.mark.parametrize(
    ("fields", "option"),
    [({"text_column": "body"}, "--text-column"), ({"code_column": "topic"}, "--code-column"),
     ({"id_column": "story"}, "--id-column")],
)  # fmt: skip
def test_a_missing_column_names_the_option(tmp_path: Path, fields: dict[str, str], option: str) -> None:
    path = written(tmp_path, "text,code\nWheat rose,grain\n")
    told = refusal(path, **fields)
    assert told.startswith(f"{path}:1: no columns {next(iter(fields.values()))!r}; the columns are text, code")
    assert told.endswith(option)


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    path = written(tmp_path, '{"text": "\\ud83d", "code": "grain"}\n', "verified.jsonl")
    assert "half of a surrogate pair" in refusal(path)
