"""Agreement of the coders of a plain file: what counts, what JSON says, and what is wrong with a file."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pyarrow
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet
from sklearn.metrics import cohen_kappa_score

from label_configs.errors import ConfigError
from trainer.agreement_command import agreement
from trainer.evaluation.agreement_file import file_agreement
from trainer.evaluation.decisions_file import Columns, read_decisions

SHARED = Path(__file__).parents[5] / "shared" / "data" / "flourishing_decisions.csv"
SMALL = """id,coder,value,source
1,10,Y,gpt
1,2,Y,llama
2,10,N,gpt
2,2,Y,gpt
3,10,N,gpt
3,2,N,gpt
4,10,Y,gpt
4,2,N,gpt
4,2,Y,gpt
5,2,,gpt
6,3,Y,gpt
"""


def run(*options: str) -> Result:
    return CliRunner().invoke(agreement, options, catch_exceptions=False)


def asked(path: Path, *options: str) -> dict[str, Any]:
    result = run("--decisions", str(path), "--json", *options)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def small(folder: Path, name: str = "small.csv", content: str = SMALL) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_real_decisions_against_plain_loops() -> None:
    if not SHARED.exists():
        pytest.skip("no ../shared/data: the decisions of the flourishing study are not here")
    last: dict[tuple[str, str, str], dict[str, tuple[str, str]]] = {}
    with SHARED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            unit = (row["id"], row["dimension"], row["value"])
            last.setdefault(unit, {})[row["coder"]] = (row["accepted"], row["llm"])
    found = asked(SHARED, "--unit", "id,dimension,value", "--coder", "coder", "--value", "accepted")

    double = [own for own in last.values() if len(own) >= 2]
    assert (found["units"], found["double_coded"]) == (len(last), len(double)) == (9183, 411)
    first, second = [], []
    of_pair: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for own in double:
        for one, two in itertools.combinations(sorted(own, key=int), 2):
            first.append(own[one][0])
            second.append(own[two][0])
            ones, twos = of_pair.setdefault((one, two), ([], []))
            ones.append(own[one][0])
            twos.append(own[two][0])
    same = sum(one == two for one, two in zip(first, second, strict=True))
    assert found["percent"] == pytest.approx(same / len(first), abs=1e-9)
    assert found["kappa_pooled"] == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)
    coders = sorted({coder for own in last.values() for coder in own}, key=int)
    data = [
        [{"Y": 1.0, "N": 0.0}[own[coder][0]] if coder in own else np.nan for own in last.values()] for coder in coders
    ]
    expected = krippendorff.alpha(np.array(data), level_of_measurement="nominal")
    assert found["alpha_nominal"] == pytest.approx(expected, abs=1e-9)

    assert [pair["coders"] for pair in found["pairs"]] == [list(pair) for pair in itertools.combinations(coders, 2)]
    for pair in found["pairs"]:
        ones, twos = of_pair.get(tuple(pair["coders"]), ([], []))
        assert pair["n"] == len(ones)
        if ones:
            assert pair["percent"] == pytest.approx(np.mean(np.array(ones) == np.array(twos)), abs=1e-9)
            assert pair["kappa"] == pytest.approx(cohen_kappa_score(ones, twos), abs=1e-9)
        else:
            assert (pair["kappa"], pair["why"]) == (None, "no unit in common")
    for source in ("GPT4", "LLAMA2"):
        values = [value for own in last.values() for value, llm in own.values() if llm == source]
        assert found["kept_by_source"][source] == pytest.approx(values.count("Y") / len(values), abs=1e-9)
    assert found["source_column"] == "llm"
    low, high = found["intervals"]["alpha_nominal"]
    assert low < found["alpha_nominal"] < high


def test_the_last_decision_counts_and_coders_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    found = asked(small(tmp_path))
    assert found["coders"] == ["2", "3", "10"]
    assert (found["units"], found["double_coded"]) == (5, 4)
    assert found["percent"] == pytest.approx(3 / 4)
    pairs = {tuple(pair["coders"]): pair for pair in found["pairs"]}
    assert pairs["2", "10"]["kappa"] == pytest.approx(cohen_kappa_score(["Y", "Y", "N", "Y"], ["Y", "N", "N", "Y"]))
    assert (pairs["2", "3"]["kappa"], pairs["2", "3"]["why"]) == (None, "no unit in common")
    assert found["kept_by_source"] == {"gpt": pytest.approx(5 / 8), "llama": 1.0}
    told = " ".join(found["notes"])
    assert "1 decisions were replaced by a later one" in told
    assert "1 rows have no value in 'value'" in told
    assert "'source' was taken for the source" in told


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl", "a.parquet"])
def test_every_kind_of_file_says_the_same(tmp_path: Path, name: str) -> None:
    header, *lines = [line.split(",") for line in SMALL.splitlines()]
    if name == "a.parquet":
        rows = [
            dict(zip(header, [int(line[0]), float(line[1]), line[2] or None, line[3]], strict=True)) for line in lines
        ]
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
        path = tmp_path / name
    elif name == "a.jsonl":
        values = {"Y": True, "N": False, "": None}
        rows = [dict(zip(header, [int(line[0]), line[1], values[line[2]], line[3]], strict=True)) for line in lines]
        path = small(tmp_path, name, "\n".join(map(json.dumps, rows)))
    else:
        path = small(tmp_path, name, SMALL.replace(",", "\t"))
    found, expected = asked(path), asked(small(tmp_path))
    for key in ("units", "double_coded", "percent", "kappa_pooled", "alpha_nominal", "pairs", "kept_by_source"):
        assert found[key] == expected[key], key


def test_what_cannot_be_computed_is_null_with_a_reason(tmp_path: Path) -> None:
    found = asked(small(tmp_path, content="id,coder,value\n1,a,x\n1,b,x\n2,a,x\n2,b,x\n3,c,x\n3,a,x\n"))
    assert (found["percent"], found["kappa_pooled"], found["alpha_nominal"]) == (1.0, None, None)
    assert found["why"]["kappa_pooled"] == "all ratings are of one category"
    pairs = {tuple(pair["coders"]): pair for pair in found["pairs"]}
    assert (pairs["a", "b"]["kappa"], pairs["a", "b"]["why"]) == (None, "all ratings are of one category")
    assert (pairs["a", "c"]["percent"], pairs["a", "c"]["kappa"]) == (1.0, None)
    assert pairs["a", "c"]["why"] == "one unit in common"
    assert found["kept_by_source"] == {}
    assert "--source" in found["why"]["kept_by_source"]
    alone = asked(small(tmp_path, content="id,coder,value\n1,a,Y\n2,a,N\n"))
    assert (alone["percent"], alone["pairs"], alone["double_coded"]) == (None, [], 0)
    assert alone["why"]["percent"] == "no unit in common"


def test_codes_instead_of_keeping_need_to_be_told_what_kept_is(tmp_path: Path) -> None:
    path = small(tmp_path, content="id,coder,value,llm\n1,a,tax,m\n1,b,tax,m\n2,a,war,m\n2,b,tax,m\n")
    found = asked(path)
    assert (found["kept_by_source"], found["percent"]) == ({}, 0.5)
    assert found["why"]["kept_by_source"] == "the values are tax, war; say with --kept which one means kept"
    assert asked(path, "--kept", "tax")["kept_by_source"] == {"m": 0.75}
    assert "no decision has the value 'x'" in asked(path, "--kept", "x")["why"]["kept_by_source"]


def test_nothing_kept_is_a_share_of_zero(tmp_path: Path) -> None:
    found = asked(small(tmp_path, content="id,coder,value,model\n1,a,N,m\n1,b,N,m\n"))
    assert found["kept_by_source"] == {"m": 0.0}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("nr,who,value\n1,a,Y\n", "small.csv:1: no columns 'id', 'coder'; the columns are nr, who, value: name yours "
         "with --unit, --coder"),
        ("id,coder,value\n1,,Y\n", "small.csv:2: no value in 'coder'; mend these rows and run it again"),
        ("id,coder,value\n1,a,Y\n2,b\n", "small.csv:3: 2 fields where the header has 3"),
        ("id,coder,value\n", "no decisions"),
        ("id,coder,value\n1,a,\n", "no decisions; the file has no row with a value in 'value'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_line_column_and_remedy(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_decisions(small(tmp_path, content=content), Columns(("id",), "coder", "value"))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_json_row_without_a_column_says_what_it_has(tmp_path: Path) -> None:
    path = small(tmp_path, "a.jsonl", '{"id": 1, "coder": "a", "value": "Y"}\n{"id": 1, "who": "b", "value": "Y"}\n')
    with pytest.raises(ConfigError, match=r"a\.jsonl:2: no 'coder'; this row has id, who, value"):
        read_decisions(path, Columns(("id",), "coder", "value"))


def test_units_of_one_document_are_drawn_together(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["id,code,coder,value"]
    for document in range(60):
        agrees = random.random() < 0.7
        for code in range(8):
            answer = "Y" if random.random() < 0.5 else "N"
            lines += [
                f"{document},{code},a,{answer}",
                f"{document},{code},b,{answer if agrees else 'NY'[answer == 'N']}",
            ]
    path = small(tmp_path, content="\n".join(lines))

    def width(name: str, document: str | None) -> float:
        columns = Columns((name, "code"), "coder", "value", document=document)
        percent = file_agreement(read_decisions(path, columns)).overall["percent"]
        assert percent.low is not None
        assert percent.high is not None
        return percent.high - percent.low

    assert width("id", "id") == width("id", None)  # found among the units by its name
    path.write_text(path.read_text(encoding="utf-8").replace("id,code", "text,code"), encoding="utf-8")
    assert width("text", "text") > 2 * width("text", None)


def test_tables_for_people_and_csv_files(tmp_path: Path) -> None:
    result = run("--decisions", str(small(tmp_path)), "--csv", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    for told in ("Krippendorff's alpha", "Kept by source", "Coder 2", "Landis and Koch", "no unit in common"):
        assert told in " ".join(result.output.split()), told
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"agreement-pairs.csv", "agreement-overall.csv"}


def test_a_high_prevalence_is_warned_of(tmp_path: Path) -> None:
    lines = [f"{unit},{coder},{'N' if unit == ord(coder) else 'Y'}" for unit in range(100) for coder in "ab"]
    result = run("--decisions", str(small(tmp_path, content="id,coder,value\n" + "\n".join(lines))))
    told = " ".join(result.output.split())
    assert "99 % of all ratings are 'Y' (prevalence index .98)" in told
    assert "Feinstein and Cicchetti 1990" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "give --project or --decisions"),
        (("--project", "1", "--decisions", "a.csv"), "give --project or --decisions"),
        (("--project", "1", "--unit", "id"), "--unit goes with --decisions only"),
        (("--decisions", "a.csv", "--offline"), "--offline goes with --project only"),
        (("--decisions", "a.csv", "--unit", ","), "--unit names no column"),
    ],
)
def test_options_that_do_not_go_together(options: tuple[str, ...], told: str) -> None:
    result = run(*options)
    assert result.exit_code == 2
    assert told in result.output
