"""Snapshots: what was written is read, the holdout never enters, and which one is in force where."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from label_configs.errors import LabelStudioError, TrainingError
from label_configs.records import VerifiedExample
from ml_backend import snapshot as snapshots
from ml_backend.example_file import MAGIC, ROW_GROUP
from ml_backend.snapshot import (
    ENOUGH_EXAMPLES,
    examples_digest,
    is_published,
    latest_snapshot,
    publish_snapshot,
    pushed_snapshot,
    read_examples,
    taking_over,
    write_examples,
)


def example(document_id: str, text: str, *labels: str, holdout: bool = False) -> VerifiedExample:
    return VerifiedExample(document_id, text, labels or ("earn",), ("ann",), holdout)


def examples(number: int, labels: int = 2) -> list[VerifiedExample]:
    return [example(f"d{i}", f"text {i}", f"code-{i % labels}") for i in range(number)]


def test_the_digest_is_of_what_is_learned() -> None:
    base = [example("a", "one", "x", "y"), example("b", "two", "x", holdout=True)]
    digest = examples_digest(base)
    assert len(digest) == 16
    assert examples_digest(reversed(base)) == digest
    assert examples_digest([example("a", "one", "y", "x"), base[1]]) == digest
    changed = [
        [example("c", "one", "x", "y"), base[1]],
        [example("a", "One", "x", "y"), base[1]],
        [example("a", "one", "x"), base[1]],
        [example("a", "one", "x", "y", holdout=True), base[1]],
        base[:1],
    ]
    assert len({digest, *map(examples_digest, changed)}) == 6


texts = st.text(st.characters(exclude_categories=["Cs"]))
tuples = st.lists(texts).map(tuple)
anyone = st.builds(
    VerifiedExample, texts, texts, tuples, tuples, st.booleans(),
    st.none() | st.integers(0, 2**63 - 1), tuples, st.floats(0, 1), st.booleans(),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(anyone))
def test_a_snapshot_reads_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, examples: list[VerifiedExample]
) -> None:
    path = tmp_path_factory.mktemp("snapshot") / "deep" / "examples.parquet"
    write_examples(path, examples, codebook="1234")
    assert read_examples(path) == examples
    assert [file.name for file in path.parent.iterdir()] == ["examples.parquet"]


def test_a_snapshot_of_several_row_groups_says_what_it_is(tmp_path: Path) -> None:
    path, many = tmp_path / "examples.parquet", examples(2 * ROW_GROUP + 1)
    write_examples(path, many, codebook="1234")
    assert read_examples(path) == many
    found = parquet.ParquetFile(path)
    assert found.num_row_groups == 3
    assert found.schema_arrow.metadata[b"winnow.codebook"] == b"1234"
    assert found.schema_arrow.metadata[b"winnow.examples"].decode() == examples_digest(many)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("text", "another"),
        ("labels", ["acq"]),
        ("coders", ["bob"]),
        ("task_id", 9),
        ("weight", 0.5),
        ("rejected", ["ship"]),
        ("holdout", True),
        ("silver", True),
    ],
)
def test_a_changed_snapshot_is_refused(tmp_path: Path, column: str, value: object) -> None:
    path = tmp_path / "examples.parquet"
    write_examples(path, examples(3))
    table = parquet.read_table(path)
    rows = table.to_pylist()
    rows[1][column] = value
    parquet.write_table(pyarrow.Table.from_pylist(rows, table.schema), path)
    with pytest.raises(TrainingError, match=r"examples\.parquet: changed since it was written"):
        read_examples(path)


def test_a_snapshot_with_another_codebook_or_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    for key in ("winnow.codebook", "winnow.examples", "winnow.format"):
        write_examples(path, examples(3), codebook="1234")
        table = parquet.read_table(path)
        parquet.write_table(table.replace_schema_metadata({**table.schema.metadata, key.encode(): b"other"}), path)
        with pytest.raises(TrainingError, match="changed since it was written"):
            read_examples(path)


def test_a_damaged_snapshot_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    write_examples(path, examples(50))
    whole = path.read_bytes()
    for place in range(len(MAGIC), len(whole), 29):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        told = ""
        try:
            found = read_examples(path)
        except TrainingError as error:
            told = str(error)
        assert told.startswith(f"{path}: ") or found == examples(50), f"damage at byte {place} is not seen"
        assert "\n" not in told
    for length in (len(MAGIC), len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(TrainingError, match=r"examples\.parquet: no snapshot of examples, or a damaged one"):
            read_examples(path)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    parquet.write_table(pyarrow.table({"text": ["a"]}), path)
    with pytest.raises(TrainingError, match="no snapshot of examples"):
        read_examples(path)


def test_json_lines_of_older_installations_are_read(tmp_path: Path) -> None:
    path = tmp_path / "0123.jsonl"
    path.write_text(f"{GOOD}\n{GOOD.replace('null', '7')}\n")
    assert read_examples(path) == [
        VerifiedExample("a", "t", ("x",), (), False, task_id) for task_id in (None, 7)
    ]  # fmt: skip


GOOD = '{"document_id": "a", "text": "t", "labels": ["x"], "coders": [], "holdout": false, "task_id": null}'


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ("", "not JSON"),
        (GOOD.replace('"task_id": null', '"extra": 1'), "must be an object with document_id"),
        (GOOD.replace('["x"]', '"x"'), "labels is 'x', of a wrong type"),
        (GOOD.replace("false", "0"), "holdout is 0"),
    ],
)
def test_damaged_json_lines_are_refused_with_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    with pytest.raises(TrainingError, match=rf"examples\.jsonl:2: {complaint}") as caught:
        read_examples(path)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        read_examples(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(TrainingError, match="not UTF-8"):
        read_examples(tmp_path / "binary.jsonl")


# Publishing


@settings(deadline=None)
@given(st.lists(anyone))
def test_nothing_of_the_holdout_enters(tmp_path_factory: pytest.TempPathFactory, every: list[VerifiedExample]) -> None:
    path = publish_snapshot(tmp_path_factory.mktemp("project"), every)
    assert read_examples(path) == [one for one in every if not one.holdout]


def test_the_holdout_does_not_change_the_snapshot(tmp_path: Path) -> None:
    training = examples(ENOUGH_EXAMPLES)
    path = publish_snapshot(tmp_path, training)
    held = [example("h1", "held out", "code-0", holdout=True), example("h2", "held out too", "other", holdout=True)]
    assert publish_snapshot(tmp_path, [*held, *training]) == path
    assert latest_snapshot(tmp_path) == path


@pytest.mark.parametrize(
    ("number", "labels", "enough"), [(19, 2, False), (20, 1, False), (20, 2, True)], ids=["few", "one label", "enough"]
)
def test_sources_wait_for_enough_examples(tmp_path: Path, number: int, labels: int, enough: bool) -> None:
    assert not is_published(tmp_path)
    path = publish_snapshot(tmp_path, examples(number, labels))
    assert is_published(tmp_path)
    assert latest_snapshot(tmp_path) == (path if enough else None)


def test_what_was_pushed_lags_behind_until_it_is_taken_over(tmp_path: Path) -> None:
    assert latest_snapshot(tmp_path) is None
    assert pushed_snapshot(tmp_path) is None
    with taking_over(tmp_path):  # nothing to take over
        pass
    first = publish_snapshot(tmp_path, examples(20))
    assert pushed_snapshot(tmp_path) is None
    with taking_over(tmp_path):
        assert pushed_snapshot(tmp_path) == first
    second = publish_snapshot(tmp_path, examples(30))
    assert (latest_snapshot(tmp_path), pushed_snapshot(tmp_path)) == (second, first)
    with pytest.raises(LabelStudioError), taking_over(tmp_path):
        raise LabelStudioError("away")
    assert pushed_snapshot(tmp_path) == first, "what failed is undone"
    publish_snapshot(tmp_path, examples(3))
    with taking_over(tmp_path):
        pass
    assert pushed_snapshot(tmp_path) is None, "documents were uncoded, and too few are left"


def test_a_first_take_over_that_fails_leaves_none(tmp_path: Path) -> None:
    publish_snapshot(tmp_path, examples(20))
    with pytest.raises(LabelStudioError), taking_over(tmp_path):
        raise LabelStudioError("away")
    assert pushed_snapshot(tmp_path) is None


def test_old_snapshots_are_dropped_but_not_those_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_KEPT", 2)
    first = publish_snapshot(tmp_path, examples(20))
    with taking_over(tmp_path):
        pass
    paths = []
    old = first.with_name("0123.jsonl")
    old.write_text("")
    os.utime(old, ns=(20, 20))
    for number in range(21, 27):
        paths.append(publish_snapshot(tmp_path, examples(number)))
        os.utime(paths[-1], ns=(number, number))
    assert {path for path in [first, old, *paths] if path.exists()} == {first, *paths[-3:]}


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"snapshot": 3, "examples": 20, "labels": 2}'])
def test_a_damaged_record_is_told_and_mended_by_publishing(tmp_path: Path, content: str) -> None:
    publish_snapshot(tmp_path, examples(20))
    record = tmp_path / "snapshots" / "latest.json"
    record.write_text(content)
    with pytest.raises(TrainingError, match=r"latest\.json: damaged; delete it"):
        latest_snapshot(tmp_path)
    assert publish_snapshot(tmp_path, examples(20)) == latest_snapshot(tmp_path)


def test_a_record_never_points_out_of_its_folder(tmp_path: Path) -> None:
    publish_snapshot(tmp_path, examples(20))
    record = tmp_path / "snapshots" / "latest.json"
    record.write_text(json.dumps({"snapshot": "../../secret.jsonl", "examples": 20, "labels": 2}))
    assert latest_snapshot(tmp_path) == tmp_path / "snapshots" / "secret.jsonl"
