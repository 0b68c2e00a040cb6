"""A team's own truth from a file, and what is wrong with one that cannot be."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import ConfigError
from trainer.evaluation.study_gold import read_gold

ONE = Codebook("one", Kind.EXCLUSIVE, (Code("s", "Ships", "About ships.", "ship"), Code("g", "Corn", "Corn.", "corn")))
SEVERAL = Codebook("several", Kind.MULTILABEL, ONE.codes)
GRADED = Codebook("graded", Kind.GRADED, ONE.codes, levels=("low", "high"))


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_same_truth_from_every_kind_of_file(tmp_path: Path) -> None:
    rows = [{"id": "a", "labels": "s|g"}, {"id": "b", "labels": "none"}, {"id": "7", "labels": "Corn"}]
    told = {"a": ("g", "s"), "b": (), "7": ("g",)}
    csv = "labels,other,id\ns|g,x,a\nnone,y,b\nCorn,z,7\n"
    assert read_gold(written(tmp_path, "gold.csv", csv), SEVERAL) == told
    assert read_gold(written(tmp_path, "gold.jsonl", "\n".join(map(json.dumps, rows))), SEVERAL) == told
    assert read_gold(written(tmp_path, "gold.json", json.dumps([{"id": 7, "labels": ["g"]}])), SEVERAL) == {"7": ("g",)}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "gold.parquet")
    assert read_gold(tmp_path / "gold.parquet", SEVERAL) == told


def test_labels_of_a_graded_codebook_have_a_level(tmp_path: Path) -> None:
    assert read_gold(written(tmp_path, "g.csv", "id,labels\na,s:low|g:high\n"), GRADED) == {"a": ("g:high", "s:low")}
    with pytest.raises(ConfigError, match=r"g\.csv:2: code 's' is not in codebook graded"):
        read_gold(written(tmp_path, "g.csv", "id,labels\na,s\n"), GRADED)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,label\na,s\n", "gold.csv: no column 'labels'; the columns are id, label: name them id and labels"),
        ("name,labels\na,s\n", "gold.csv: no column 'id'; the columns are name, labels: name them id and labels"),
        ("id,labels\na,s\nb,\n", "gold.csv:3: no code in 'labels'; mend these rows of the gold file"),
        ("id,labels\n ,s\n", "gold.csv:2: no value in 'id'; mend these rows of the gold file"),
        ("id,labels\na,wheat\n", "gold.csv:2: code 'wheat' is not in codebook one"),
        ("id,labels\na,s|g\n", "gold.csv:2: 2 codes, in codebook one exactly one holds"),
        ("id,labels\na,s\na,g\n", "gold.csv:3: id 'a' stands already at"),
        ("id,labels\n", "gold.csv: no rows, the file is empty"),
        ("id,labels\nx,s\n", "gold.csv: none of its 1 ids is a document of the project"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_column(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as problem:
        read_gold(written(tmp_path, "gold.csv", text), ONE, {"a", "b"})
    assert told in str(problem.value)
    assert "\n" not in str(problem.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gold\.csv: cannot be read"):
        read_gold(tmp_path / "gold.csv", ONE)


def test_ids_that_the_project_has_not_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, "gold.csv", "id,labels\na,s\nx,g\ny,g\n")
    with caplog.at_level(logging.WARNING):
        assert read_gold(path, ONE, {"a", "b"}) == {"a": ("s",)}
    assert "2 of 3 ids are no documents of the project" in caplog.text
