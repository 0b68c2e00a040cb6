from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from label_configs.codes import Kind
from label_configs.errors import ConfigError
from label_configs.records import Document, Proposal, ScoredLabel
from trainer.bulk.results import COLUMNS, GROUP_ROWS, Result, check_output, open_results

LABELS = (ScoredLabel("joy:high", 0.75), ScoredLabel("awe:low", 0.5), ScoredLabel("joy:low", 0.125))
PROPOSAL = Proposal("elsewhere", "words", "m/p@base", LABELS, tokens=7, seconds=0.25, output_tokens=3, truncated=2)
RESULTS = [
    Result.of(Document('d"1,', "x"), PROPOSAL, kind=Kind.GRADED, top=2),
    Result.of(Document("d2", "x"), PROPOSAL, kind=Kind.EXCLUSIVE, top=9),
]
LISTED = [
    {
        "id": 'd"1,', "code": ["joy:high", "awe:low"], "probability": [0.75, 0.5], "source": "words",
        "version": "m/p@base", "top": [{"label": one.label, "probability": one.probability} for one in LABELS[:2]],
        "tokens": 7, "truncated": 2, "seconds": 0.25,
    },
    {
        "id": "d2", "code": ["joy:high"], "probability": [0.75], "source": "words", "version": "m/p@base",
        "top": [{"label": one.label, "probability": one.probability} for one in LABELS],
        "tokens": 7, "truncated": 2, "seconds": 0.25,
    },
]  # fmt: skip


def written(folder: Path, suffix: str, parts: list[list[Result]]) -> Path:
    path = folder / f"out{suffix}"
    with open_results(path, suffix) as write:
        for part in parts:
            write(part)
    return path


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".TSV", "\t")])
def test_tables_join_what_is_several(tmp_path: Path, suffix: str, delimiter: str) -> None:
    path = written(tmp_path, suffix, [RESULTS[:1], RESULTS[1:]])
    head, first, second = csv.reader(path.open(encoding="utf-8", newline=""), delimiter=delimiter)
    assert tuple(head) == COLUMNS
    top = "joy:high:0.75|awe:low:0.5"
    assert first == ['d"1,', "joy:high|awe:low", "0.75|0.5", "words", "m/p@base", top, "7", "2", "0.25"]
    assert second == ["d2", "joy:high", "0.75", "words", "m/p@base", f"{top}|joy:low:0.125", "7", "2", "0.25"]


def test_json_has_lists(tmp_path: Path) -> None:
    assert json.loads(written(tmp_path, ".json", [RESULTS[:1], [], RESULTS[1:]]).read_text()) == LISTED
    assert json.loads(written(tmp_path, ".json", []).read_text()) == []
    lines = written(tmp_path, ".jsonl", [RESULTS]).read_text().splitlines()
    assert [json.loads(line) for line in lines] == LISTED


def test_parquet_has_lists_and_few_row_groups(tmp_path: Path) -> None:
    path = written(tmp_path, ".parquet", [RESULTS] * (GROUP_ROWS // 2) + [RESULTS[:1]])
    table = parquet.ParquetFile(path)
    assert table.metadata.num_rows == GROUP_ROWS + 1
    assert table.num_row_groups == 2
    assert table.read().slice(0, 2).to_pylist() == LISTED


def test_a_form_that_is_not_written(tmp_path: Path) -> None:
    check_output(tmp_path / "out.NDJSON")
    with pytest.raises(
        ConfigError, match=r"out\.xlsx: unknown kind of file; use .csv, .tsv, .json, .jsonl or .parquet"
    ):
        check_output(tmp_path / "out.xlsx")
