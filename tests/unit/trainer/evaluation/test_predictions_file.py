"""Truths and predictions in a team's own file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from label_configs.codebook import Kind
from label_configs.errors import ConfigError
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.plain import sections_json
from trainer.evaluation.predictions_file import Columns, read_predictions
from trainer.evaluation.predictions_report import file_json, file_sections, study_of_file
from trainer.evaluation.subgroups import subgroup_section

PLAIN = Columns("truth", ("said",))
QUICK = ReportOptions(samples=20)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_one_code_a_row(tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", "truth,said,lang\n 2,2.0,en\n10,2,de\n2,zz,en\n,2,de\n10,,de\n")
    file = read_predictions(path, PLAIN)
    assert (file.codes.kind, file.codes.label_keys) == (Kind.EXCLUSIVE, ("2", "10"))
    (one,) = file.judged
    assert one.truth == (("2",), ("10",), ("2",), ("10",))
    assert one.predicted == (("2",), ("2",), ("zz",), ())
    assert one.strange == ("zz",)
    found = file_json(file, QUICK)
    assert (found["n"], found["accuracy"], found["figures"]["accuracy"]["value"]) == (4, 0.25, 0.25)
    assert found["codes"]["10"]["precision"] == {
        "value": None, "n": 0, "low": None, "high": None, "why": "never predicted",
    }  # fmt: skip
    assert found["confusion"] == {
        "rows": ["2", "10"], "columns": ["2", "10", "(none of the codes)"], "values": [[1, 0, 1], [1, 0, 1]],
    }  # fmt: skip
    assert any("1 rows without a truth are left out" in note for note in found["notes"])
    assert any("1 rows without a prediction count as wrong" in note for note in found["notes"])
    json.dumps([found, sections_json(file_sections(file, QUICK))], allow_nan=False)


def test_several_codes_in_a_cell_or_a_list(tmp_path: Path) -> None:
    cells = written(tmp_path / "p.csv", "truth,said\na|b,b | a\nnone,none\nc,\n")
    rows = [{"truth": ["a", "b"], "said": ["b", "a"]}, {"truth": [], "said": []}, {"truth": ["c"]}]
    lists = written(tmp_path / "p.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for path, columns in ((cells, Columns("truth", ("said",), separator="|")), (lists, PLAIN)):
        file = read_predictions(path, columns)
        assert file.codes.kind is Kind.MULTILABEL
        found = file_json(file, QUICK)
        assert (found["n"], found["accuracy"], found["at_least_one"]) == (3, pytest.approx(2 / 3), 0.5)
        assert any("count as predicting no code" in note for note in found["notes"])


def test_codes_at_levels(tmp_path: Path) -> None:
    path = written(tmp_path / "p.tsv", "truth\tsaid\njoy:low\tjoy:high\njoy:high|awe:low\tjoy:high\njoy\tjoy:low\n")
    file = read_predictions(path, Columns("truth", ("said",), separator="|", levels=("low", "high")))
    assert file.codes.label_keys == ("awe:low", "awe:high", "joy:low", "joy:high")
    found = file_json(file, QUICK)
    assert (found["n"], found["accuracy"], found["presence_accuracy"]) == (2, 0.0, 0.5)
    assert found["level_accuracy"] == 0.5
    assert set(found["presence"]) == {"awe", "joy"}
    assert any("their truth is not code:level" in note for note in found["notes"])
    assert study_of_file(file).codebook.levels == ("low", "high")


def test_several_predictions_are_compared(tmp_path: Path) -> None:
    rows = "".join(f"{'ab'[n % 2]},{'ab'[n % 2]},a\n" for n in range(30))
    file = read_predictions(written(tmp_path / "p.csv", "truth,one,two\n" + rows), Columns("truth", ("one", "two")))
    found = file_json(file, QUICK)
    assert found["accuracy"] == found["predictions"]["one"]["accuracy"] == 1.0
    assert found["predictions"]["two"]["accuracy"] == 0.5
    assert found["comparison"]["blocks"]["comparison"]["rows"][0]["only_first"] == 15


def test_other_columns_are_metadata(tmp_path: Path) -> None:
    rows = [(n, "Foreign Trade" if n % 3 else "Arms & Peace", "en" if n % 2 else "de") for n in [*range(60), 9]]
    text = "".join(f"{n},Foreign Trade,{said},{lang},t\n" for n, said, lang in rows) + "90,Arms & Peace,,en,t\n"
    path = written(tmp_path / "p.csv", "id,truth,said,lang,text\n" + text)
    study = study_of_file(read_predictions(path, Columns("truth", ("said",), text="text")))
    assert study.codebook.label_keys == ("arms-peace", "foreign-trade")
    assert len(study.documents) == 62  # an id that stands twice is two rows
    assert study.documents["3"].metadata == {"lang": "en"}
    section = subgroup_section(study, ReportOptions(samples=20, by=("lang",)))
    assert section.blocks


def test_what_looks_wrong_is_said(tmp_path: Path) -> None:
    file = read_predictions(written(tmp_path / "p.csv", "truth,said\nearn,Earn\nacq,Acq\n"), PLAIN)
    assert file_json(file, QUICK)["accuracy"] == 0.0
    assert any("are codes written alike" in note for note in file.notes)


def test_nothing_to_judge_by_is_undefined_never_zero(tmp_path: Path) -> None:
    for text in ("truth,said\n", "truth,said\n,a\n", "truth,said\na,a\n"):
        file = read_predictions(written(tmp_path / "p.csv", text), PLAIN)
        found = file_json(file, QUICK)
        assert found["kappa"] is None
        assert found["figures"]["kappa"]["why"]
        assert sections_json(file_sections(file, QUICK))["performance"]
        with pytest.raises(ConfigError, match="groups cannot be compared"):
            study_of_file(file)
    assert found["accuracy"] == 1.0


def test_rows_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    file = read_predictions(written(tmp_path / "p.csv", "truth,said\na,a\nb\nb,b\n"), PLAIN)
    assert len(file.judged[0].documents) == 2
    assert any("1 rows cannot be read" in note and "p.csv:3" in note for note in file.notes)


@pytest.mark.parametrize(
    ("name", "text"),
    [("p.csv", "truth,other\na,b\n"), ("p.jsonl", '{"truth": "a", "other": "b"}\n'), ("p.json", '[{"truth": "a"}]')],
)
def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=r"no columns? 'said'; the columns are truth.*--prediction-column"):
        read_predictions(written(tmp_path / name, text), PLAIN)


def test_parquet_with_missing_values(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"truth": [1, 2, 2], "said": [1.0, math.nan, 2.0]})
    parquet.write_table(table, tmp_path / "p.parquet")
    found = file_json(read_predictions(tmp_path / "p.parquet", PLAIN), QUICK)
    assert (found["n"], found["accuracy"]) == (3, pytest.approx(2 / 3))
