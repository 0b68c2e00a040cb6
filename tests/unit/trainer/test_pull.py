"""Pulling a project into Parquet: complete, only what changed, and whole at every moment."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from label_configs.errors import ConfigError, EnvironmentFault, LabelStudioError
from label_configs.records import Arm
from label_configs.wire import JsonObject
from ml_backend.registered_projects import load_project, register
from tests.unit.trainer.pulling import PROJECT, Coded, experiment, manifest, of_block, parts, quiet, result
from trainer import pulled_folder
from trainer.evaluation.study import Study
from trainer.evaluation.study_pulled import read_pulled
from trainer.evaluation.study_reading import mirrored_study
from trainer.pull import LOCK_FILE, Pull
from trainer.pulled_tables import COLUMNS, TABLES


@pytest.fixture
def coded(tmp_path: Path) -> Coded:
    return Coded(tmp_path / "home")


def same(coded: Coded, folder: Path | None = None) -> Study:
    """The study of the files, which is that of the mirror."""
    online, offline = mirrored_study(coded.project), read_pulled(folder or coded.folder)
    for name in Study.__dataclass_fields__:
        assert getattr(offline, name) == getattr(online, name), name
    return offline


def test_what_is_read_back_is_what_a_study_of_label_studio_has(coded: Coded) -> None:
    done = coded.pull()
    study = same(coded)
    assert done.counts == {
        "documents": 14, "annotations": 12, "decisions": 12, "predictions": 36, "proposals": 24, "drafts": 1, "skips": 1
    }  # fmt: skip
    assert len(study.documents) == 12
    assert study.documents["d3"].metadata == {"lang": "de", "year": "2020", "share": "0.25", "yes": "true"}
    assert {one.holdout for one in study.documents.values()} == {True, False}
    assert [one.skipped for one in study.decisions].count(True) == 1
    assert {one.arm for one in study.decisions} == {Arm.REVIEW, Arm.CHOOSE}
    assert all(one.shown for one in study.decisions if one.coder == "3"), "from the snapshot"
    assert [one.repeat for one in study.decisions].count(1) == 1
    assert study.truth
    assert study.truth == {one.document_id: one.labels for one in study.examples}
    assert study.versions == {"words": "words/fake@base", "again": "again/fake@base"}
    assert study.title == "Project 7"
    assert study.pulled_at == coded.now


def test_every_table_has_its_columns_and_is_read_by_its_folder(coded: Coded) -> None:
    coded.pull()
    for table in TABLES:
        found = pq.read_table(coded.folder / table)
        assert found.column_names == list(COLUMNS[table])
    rows = pq.read_table(coded.folder / "annotations").to_pylist()
    told = {one["id"]: one for task in coded.fake.export(PROJECT) for one in task["annotations"]}
    assert {row["annotation_id"] for row in rows} == told.keys()
    assert all(json.loads(row["result"]) == told[row["annotation_id"]]["result"] for row in rows)
    raw = {one["id"]: one for task in coded.fake.export(PROJECT) for one in task["predictions"]}
    rows = pq.read_table(coded.folder / "predictions").to_pylist()
    assert all(json.loads(row["result"]) == raw[row["prediction_id"]]["result"] for row in rows)
    assert {row["prediction_id"] for row in rows} == raw.keys()
    (odd,) = [row for row in pq.read_table(coded.folder / "documents").to_pylist() if row["problem"]]
    assert "data.text is not a text" in odd["problem"]


def test_only_their_owner_reads_the_files(coded: Coded) -> None:
    coded.pull()
    for path in [coded.folder / "manifest.json", *coded.folder.glob("*/*.parquet")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert not (coded.folder / ".new").exists()


def test_only_blocks_with_changed_tasks_are_written_anew(coded: Coded) -> None:
    coded.spread(3)
    assert coded.pull().written == 4
    before = parts(coded.folder)
    coded.pull()
    done = coded.pull()
    assert (done.written, done.blocks) == (0, 4)
    assert parts(coded.folder) == before
    coded.fake.requests = coded.fake.exported = 0
    coded.fake.annotate(coded.ids[300], result(300))
    done = coded.pull()
    after = parts(coded.folder)
    assert done.written == 1
    changed = [name for name in after if after[name] != before.get(name)]
    assert changed == of_block(list(after), 1)
    assert coded.fake.exported == 0
    assert coded.fake.requests < 12
    same(coded)


@pytest.mark.parametrize("event", ["annotation", "deleted", "prediction", "version gone", "draft", "data"])
def test_whatever_changed_is_pulled(coded: Coded, event: str) -> None:
    coded.pull()
    before = same(coded)
    match event:
        case "annotation":
            coded.fake.set_annotation(coded.annotations[0], result(0, 1))
        case "deleted":
            coded.fake.delete_tasks([coded.ids[1]])
        case "prediction":
            coded.fake.import_predictions([{"task": 1, "result": [], "score": 0.5, "model_version": "new"}])
        case "version gone":
            coded.fake.delete_predictions(coded.ids)
        case "draft":
            coded.fake.save_draft(coded.ids[5])
        case "data":
            coded.fake.set_task_data(coded.ids[0], {"text": "another", "document_id": "d0", "lang": "fr"})
    done = coded.pull()
    assert done.written == 1
    after = same(coded)
    assert (replace(after, pulled_at=None) != replace(before, pulled_at=None)) is (event not in ("draft", "prediction"))
    assert done.counts["drafts"] == 1 + (event == "draft")
    assert manifest(coded.folder)["counts"] == done.counts


def test_a_block_that_lost_all_its_tasks_is_gone(coded: Coded) -> None:
    coded.spread(1)
    assert coded.pull().blocks == 2
    coded.fake.delete_tasks([one for one in coded.ids if one >= 256])
    assert coded.pull().blocks == 1
    assert not of_block(list(parts(coded.folder)), 1)
    same(coded)


def test_other_rules_have_all_blocks_written_anew_without_reading_again(coded: Coded) -> None:
    coded.pull()
    register(coded.home, PROJECT, replace(experiment(), training=None), coded.project.codebook)
    coded.project = load_project(coded.home, PROJECT)
    coded.pull()
    coded.fake.requests = 0
    assert coded.pull().written == 0
    assert coded.fake.requests == 4, "one look, versions, drafts, title"
    same(coded)


class KilledError(Exception):
    """In the place of a kill: nothing after it is done."""


@pytest.mark.parametrize("nth", [3, 12, 19, 20, 21, 24, 33, 40])  # of what is synced, renamed or removed
def test_a_kill_leaves_the_earlier_or_the_newer_state(coded: Coded, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    coded.spread(1)
    coded.pull()
    before = read_pulled(coded.folder)
    coded.fake.set_annotation(coded.annotations[0], result(0, 1))
    coded.fake.annotate(coded.ids[260], result(260))
    steps = 0

    def stepping(do: object, *arguments: object, **more: object) -> object:
        nonlocal steps
        steps += 1
        if steps == nth:
            raise KilledError
        return do(*arguments, **more)  # type: ignore[operator]

    with monkeypatch.context() as patch:
        for name in ("replace", "fsync"):
            real = getattr(os, name)
            patch.setattr(os, name, lambda *a, real=real, **m: stepping(real, *a, **m))
        real_unlink = Path.unlink
        patch.setattr(Path, "unlink", lambda *a, **m: stepping(real_unlink, *a, **m))
        killed = True
        try:
            coded.pull()
            killed = False
        except KilledError:
            pass
    now = read_pulled(coded.folder)
    states = [replace(one, pulled_at=None) for one in (before, mirrored_study(coded.project))]
    assert replace(now, pulled_at=None) in states
    assert killed or now.decisions == states[1].decisions
    coded.pull()
    same(coded)
    assert sorted(parts(coded.folder)) == _named(coded.folder)
    assert not (coded.folder / ".new").exists()


def _named(folder: Path) -> list[str]:
    blocks = manifest(folder)["blocks"]
    return sorted(
        f"{table}/{int(number):08d}-{block['state']}.parquet"
        for number, block in blocks.items()
        for table in block["parts"]
    )


def test_a_reading_that_broke_off_goes_on_where_it_was(coded: Coded, monkeypatch: pytest.MonkeyPatch) -> None:
    coded.spread(4)
    coded.now += timedelta(minutes=1)
    coded.fake.set_task_data(coded.ids[-1], {"text": "the newest", "document_id": "newest"})
    real, asked = coded.fake.export, 0

    def broken(project_id: int, task_ids: Sequence[int] | None = None) -> list[JsonObject]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise LabelStudioError("away")
        return real(project_id, task_ids)

    with monkeypatch.context() as patch:
        patch.setattr(coded.fake, "export", broken)
        with pytest.raises(LabelStudioError):
            coded.pull()
    with pytest.raises(ConfigError, match=r"pulled: has no manifest\.json; run `winnow pull"):
        read_pulled(coded.folder)
    coded.code([coded.ids[6]])
    coded.fake.set_task_data(coded.ids[1], {"text": "another", "document_id": "d1"})
    coded.fake.delete_tasks([coded.ids[2]])
    coded.fake.exported = 0
    done = coded.pull()
    tasks = 14 - 1 + 4 * 256
    assert coded.fake.exported == tasks - (500 - 1), (
        "what was read before, of which one was deleted, is not exported again"
    )
    assert done.counts["documents"] == tasks
    same(coded)


def test_ctrl_c_says_what_is_kept(
    coded: Coded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    coded.pull()

    def interrupted(_: object, __: object) -> Iterator[JsonObject]:
        raise KeyboardInterrupt

    coded.fake.annotate(coded.ids[7], result(7))
    monkeypatch.setattr(coded.fake, "whole_tasks", interrupted)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        coded.pull()
    assert "the earlier pull is whole" in caplog.text


def test_an_absent_or_damaged_file_is_named_and_the_next_pull_mends_it(coded: Coded) -> None:
    coded.pull()
    coded.pull()
    path = next((coded.folder / "decisions").glob("*.parquet"))
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(ConfigError, match=rf"{path.name}: is not as it was pulled; delete it and pull again"):
        read_pulled(coded.folder)
    path.unlink()
    with pytest.raises(ConfigError, match=rf"{path.name}: is gone, though manifest\.json names it; pull again"):
        read_pulled(coded.folder)
    assert coded.pull().written == 1
    same(coded)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"some": "thing"}', "is no manifest of `winnow pull`; name another folder"),
        ("[1]", "is no manifest of `winnow pull`; name another folder"),
        ("{", "damaged"),
        ('{"format": "winnow-pulled", "schema": 99}', "schema: 99, this Winnow reads 1"),
        ('{"format": "winnow-pulled", "schema": 1}', "damaged"),
        ('{"format": "winnow-pulled", "schema": 1, "blocks": {}}', "of another version of Winnow or damaged"),
    ],
)
def test_a_manifest_that_is_none_is_refused(coded: Coded, content: str, told: str) -> None:
    coded.pull()
    (coded.folder / "manifest.json").write_text(content)
    with pytest.raises(ConfigError) as problem:
        read_pulled(coded.folder)
    assert told in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_folder_of_another_project_is_refused(coded: Coded, tmp_path: Path) -> None:
    coded.pull(tmp_path / "out")
    other = Coded(tmp_path / "other")
    other.fake.url = "http://another"
    with pytest.raises(ConfigError, match=r"out: holds project 7 of http://fake; name another folder with --out"):
        other.pull(tmp_path / "out")
    same(coded, tmp_path / "out")


def test_one_pull_at_a_time(coded: Coded) -> None:
    import fcntl

    coded.pull()
    with (coded.folder / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentFault, match="another pull is at work there"):
            coded.pull()


def test_names_of_coders_are_there_only_where_they_may_be_shown(tmp_path: Path) -> None:
    hidden, open_ = Coded(tmp_path / "a"), Coded(tmp_path / "b", review={"show_coder_names": True})
    hidden.pull()
    open_.pull()
    assert "Name of" not in (hidden.folder / "manifest.json").read_text()
    assert same(open_).coder_name("2") == "Name of 2"
    assert same(hidden).coder_name("2") == "Coder 2"


def test_an_empty_project_is_a_study_without_documents(tmp_path: Path) -> None:
    coded = Coded(tmp_path / "home")
    coded.fake.delete_tasks(list(range(1, 15)))
    done = coded.pull()
    assert done.blocks == 0
    assert not same(coded).documents


def test_pulling_takes_no_more_memory_for_more_tasks(tmp_path: Path) -> None:
    import tracemalloc

    peaks = []
    for blocks in (2, 6):
        coded = Coded(tmp_path / str(blocks))
        coded.spread(blocks)
        pull = Pull(coded.project, coded.folder, quiet())
        tracemalloc.start()
        pull.run(coded.fake, coded.now)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_half_a_surrogate_pair_is_kept_as_it_is(coded: Coded) -> None:
    coded.fake.set_task_data(coded.ids[5], {"text": "whole", "document_id": "d5", "odd": "half \ud800"})
    coded.pull()
    assert same(coded).documents["d5"].metadata["odd"] == "half ?"


def test_blocks_written_by_a_pull_that_was_stopped_are_not_written_again(
    coded: Coded, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded.spread(2)

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(pulled_folder.PulledFolder, "commit", killed)
        with pytest.raises(KilledError):
            coded.pull()
    with monkeypatch.context() as patch:
        patch.setattr(pulled_folder.PulledFolder, "stage", killed)
        coded.now = coded.now.replace(hour=3)
        Pull(coded.project, coded.folder, quiet()).run(coded.fake, coded.now)
    same(coded)
