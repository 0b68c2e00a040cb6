"""The mirror of a project, held against a Label Studio in memory; what the real one does is the contract test's."""

from __future__ import annotations

import sqlite3
import stat
import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from label_configs import wire
from label_configs.errors import EnvironmentFault, LabelStudioError
from label_configs.wire import JsonObject
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.task_reader import Pulse
from trainer import mirror_refresh
from trainer.mirror import Mirror
from trainer.mirror_file import MIRROR_FILE, MirrorFile

PROJECT = 7
RESULT: list[JsonObject] = [{"from_name": "codes", "to_name": "text", "type": "choices", "value": {"choices": ["a"]}}]
RECORD: list[JsonObject] = [{"from_name": "shown", "to_name": "text", "type": "textarea", "value": {"text": ["{}"]}}]


class Times:
    """Both clocks, one hour apart."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def of_label_studio(self) -> datetime:
        return self.now + timedelta(hours=1)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def fake(times: Times) -> FakeLabelStudio:
    made = FakeLabelStudio(PROJECT, times.of_label_studio)
    made.import_tasks({"text": f"text {n}", "document_id": f"d{n}"} for n in range(20))
    return made


def refresh(folder: Path, fake: FakeLabelStudio, times: Times, *, whole: bool = False) -> int:
    """The requests that it took; afterwards the mirror is what an export says."""
    fake.requests = fake.exported = 0
    with Mirror(folder) as mirror:
        mirror.refresh(fake, PROJECT, whole=whole, now=times.now)
        took, exported = fake.requests, fake.exported
        with mirror.tasks(predictions=whole) as tasks:
            held = list(tasks)
    for task in held:
        task.pop("draft_exists")
    told = [wire.kept_task(task) for task in fake.export(PROJECT)]
    assert held == (told if whole else [{**task, "predictions": []} for task in told])
    fake.exported = exported
    return took


def revision(folder: Path) -> str:
    with Mirror(folder) as mirror:
        return mirror.revision


def test_a_first_reading_is_an_export_and_only_changes_are_read_afterwards(
    tmp_path: Path, fake: FakeLabelStudio, times: Times
) -> None:
    fake.annotate(3, RESULT + RECORD)
    times.pass_by(60)
    assert refresh(tmp_path, fake, times) == 2
    assert fake.exported == 20
    first = revision(tmp_path)
    times.pass_by(60)
    assert refresh(tmp_path, fake, times) > 1, "what was written just before is read again"
    times.pass_by(60)
    assert refresh(tmp_path, fake, times) == 1
    assert refresh(tmp_path, fake, times, whole=True) == 3
    assert revision(tmp_path) == first
    fake.annotate(5, RESULT + RECORD)
    times.pass_by(60)
    assert refresh(tmp_path, fake, times) == 3
    assert fake.exported == 0
    assert revision(tmp_path) != first


def test_snapshots_are_read_for_annotations_without_a_record_once(
    tmp_path: Path, fake: FakeLabelStudio, times: Times
) -> None:
    refresh(tmp_path, fake, times)
    fake.annotate(3, RESULT)
    times.pass_by(60)
    refresh(tmp_path, fake, times)
    assert fake.exported == 1
    fake.annotate(3, RESULT + RECORD, 2)
    times.pass_by(60)
    refresh(tmp_path, fake, times)
    assert fake.exported == 0, "the first annotation's is known"


class SlowToTell(FakeLabelStudio):
    """Takes 15 s to say its pulse, and just before it does a task is annotated."""

    slow = False

    def tell_slowly(self, times: Times) -> None:
        self.times, self.slow = times, True

    def pulse(self, project_id: int) -> Pulse:
        if self.slow:
            self.slow = False
            self.times.pass_by(15)
            self.annotate(3, RESULT + RECORD)
        return super().pulse(project_id)


def test_what_a_slow_answer_tells_is_as_new_as_the_answer(tmp_path: Path, times: Times) -> None:
    slow = SlowToTell(PROJECT, times.of_label_studio)
    slow.import_tasks({"text": f"text {n}", "document_id": f"d{n}"} for n in range(5))
    refresh(tmp_path, slow, times)
    times.pass_by(60)
    refresh(tmp_path, slow, times)
    slow.tell_slowly(times)
    with MirrorFile(tmp_path) as file:
        mirror_refresh.Refresh(file, slow, PROJECT, lambda: times.now).annotations()
    times.pass_by(1)
    refresh(tmp_path, slow, times)
    times.pass_by(-1)  # a server of Label Studio's whose clock is behind: the same moment again
    slow.set_annotation(1, [{**RESULT[0], "value": {"choices": ["b"]}}, *RECORD])
    times.pass_by(61)
    refresh(tmp_path, slow, times)


def test_tasks_that_show_late_and_those_that_are_gone_are_noticed(
    tmp_path: Path, fake: FakeLabelStudio, times: Times
) -> None:
    refresh(tmp_path, fake, times)
    times.pass_by(-300)  # a long import ends: its tasks have the time of its beginning
    fake.import_tasks([{"text": "late", "document_id": "late"}])
    times.pass_by(600)
    refresh(tmp_path, fake, times)
    fake.delete_tasks([2, 9])
    refresh(tmp_path, fake, times)
    assert fake.exported == 0


def test_a_clock_that_was_set_back_is_found_out_within_a_day(
    tmp_path: Path, fake: FakeLabelStudio, times: Times
) -> None:
    made = fake.annotate(3, RESULT + RECORD)
    for _ in range(3):
        times.pass_by(60)
        refresh(tmp_path, fake, times)
    times.pass_by(-7200)
    fake.set_annotation(made, RECORD)
    times.pass_by(7300 + 24 * 3600)
    refresh(tmp_path, fake, times)


def test_a_wrong_count_of_label_studios_is_looked_into_once(
    tmp_path: Path, fake: FakeLabelStudio, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Miscounting(FakeLabelStudio):
        def pulse(self, project_id: int) -> mirror_refresh.Pulse:
            told = super().pulse(project_id)
            return mirror_refresh.Pulse(told.newest, told.tasks, told.annotations + 2)

    wrong = Miscounting(PROJECT, times.of_label_studio)
    wrong.import_tasks({"text": f"text {n}", "document_id": f"d{n}"} for n in range(20))
    refresh(tmp_path, wrong, times)
    asked = []
    for n in range(1, 4):
        wrong.annotate(n, RESULT + RECORD)
        times.pass_by(60)
        asked.append(refresh(tmp_path, wrong, times))
    assert asked[0] > asked[1] == asked[2] == 3


def test_what_was_read_before_a_failure_stays_and_is_told_as_a_change(
    tmp_path: Path, fake: FakeLabelStudio, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(tmp_path, fake, times)
    before = revision(tmp_path)
    for task in range(1, 11):
        fake.annotate(task, RESULT + RECORD)
    times.pass_by(60)
    whole = fake.whole_tasks

    def broken_off(project_id: int, task_ids: Sequence[int]) -> Iterator[JsonObject]:
        for number, task in enumerate(whole(project_id, task_ids)):
            if number == 4:
                raise LabelStudioError("away")
            yield task

    monkeypatch.setattr(mirror_refresh, "PART", 2)
    with monkeypatch.context() as patch:
        patch.setattr(fake, "whole_tasks", broken_off)
        with Mirror(tmp_path) as mirror, pytest.raises(LabelStudioError):
            mirror.refresh(fake, PROJECT, now=times.now)
    with Mirror(tmp_path) as mirror, mirror.tasks(annotated_only=True) as tasks:
        assert [task["id"] for task in tasks] == [1, 2, 3, 4]
    assert revision(tmp_path) != before
    refresh(tmp_path, fake, times)


@pytest.mark.parametrize("content", [b"", b"no database" * 100, None])
def test_a_mirror_that_is_gone_or_damaged_is_made_anew(
    tmp_path: Path, fake: FakeLabelStudio, times: Times, content: bytes | None
) -> None:
    refresh(tmp_path, fake, times)
    for path in tmp_path.glob(f"{MIRROR_FILE}*"):
        path.unlink()
    if content is not None:
        (tmp_path / MIRROR_FILE).write_bytes(content)
    refresh(tmp_path, fake, times)
    assert fake.exported == 20


def test_pages_that_were_overwritten_are_found_when_they_are_read(
    tmp_path: Path, fake: FakeLabelStudio, times: Times
) -> None:
    fake.import_tasks({"text": "x" * 3000, "document_id": f"more{n}"} for n in range(40))
    refresh(tmp_path, fake, times)
    path = tmp_path / MIRROR_FILE
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    fake.annotate(1, RESULT + RECORD)
    times.pass_by(60)
    refresh(tmp_path, fake, times)
    assert fake.exported == 60


def test_a_mirror_of_another_schema_or_label_studio_is_read_anew(
    tmp_path: Path, fake: FakeLabelStudio, times: Times
) -> None:
    refresh(tmp_path, fake, times)
    with sqlite3.connect(tmp_path / MIRROR_FILE) as base:
        base.execute("PRAGMA user_version = 99")
    base.close()
    refresh(tmp_path, fake, times)
    assert fake.exported == 20
    other = FakeLabelStudio(PROJECT, times.of_label_studio)
    other.url = "http://another"
    other.import_tasks([{"text": "one", "document_id": "one"}])
    refresh(tmp_path, other, times)


def test_only_its_owner_reads_the_mirror(tmp_path: Path, fake: FakeLabelStudio, times: Times) -> None:
    with Mirror(tmp_path) as mirror:
        mirror.refresh(fake, PROJECT, now=times.now)
        for path in tmp_path.glob(f"{MIRROR_FILE}*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EnvironmentFault, match=r"file/mirror\.sqlite: cannot be read or written"):
        Mirror(tmp_path / "file")


def test_a_reader_sees_one_state_while_another_writes(tmp_path: Path, fake: FakeLabelStudio, times: Times) -> None:
    refresh(tmp_path, fake, times)
    with Mirror(tmp_path) as mirror, mirror.tasks(annotated_only=True) as tasks:
        fake.annotate(4, RESULT + RECORD)
        times.pass_by(60)
        refresh(tmp_path, fake, times)
        assert list(tasks) == []


def test_iterating_takes_no_more_memory_for_more_tasks(tmp_path: Path) -> None:
    with MirrorFile(tmp_path) as file:
        with file.writing():
            for n in range(1, 2001):
                task = {
                    "id": n,
                    "updated_at": "2030",
                    "data": {"text": "x" * 5000},
                    "annotations": [],
                    "predictions": [],
                }
                file.put(task)
        tracemalloc.start()
        with file.reading():
            assert sum(1 for _ in file.tasks()) == 2000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2_000_000, "the texts alone are 10 MB"


def test_drafts_are_flagged(tmp_path: Path, fake: FakeLabelStudio, times: Times) -> None:
    fake.save_draft(4)
    refresh(tmp_path, fake, times, whole=True)
    with Mirror(tmp_path) as mirror, mirror.tasks() as tasks:
        assert [task["id"] for task in tasks if task["draft_exists"]] == [4]
