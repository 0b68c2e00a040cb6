"""The verified documents as kept beside the mirror: the same as by reading all, at the cost of what changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.wire import JsonObject
from ml_backend.experiment import Consensus, Experiment, Project, Review
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.mirror_file import MirrorFile
from trainer.rounds import Counts, RoundRecord, RoundState, rounds_folder, save_round, save_seen
from trainer.tally import Tally
from trainer.verified import Look

PROJECT = 7
SOURCES = (SourceConfig("words", SourceKind.FAKE),)


class Desk:
    """A project of ``tasks`` documents, the first half of them coded."""

    def __init__(self, home: Path, tasks: int = 20) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.fake = FakeLabelStudio(PROJECT, lambda: self.now)
        self.fake.import_tasks({"text": f"text {n}", "document_id": f"d{n}"} for n in range(tasks))
        for task in range(1, tasks // 2 + 1):
            self.code(task)
        experiment = Experiment("reuters8", SOURCES, review=Review(ReviewForm.WHOLE), training=Training("no-model"))
        self.project = Project(PROJECT, experiment, load_codebook("reuters8"), home / "projects" / str(PROJECT))
        self.rounds = rounds_folder(self.project.home, PROJECT)
        self.steps = 0

    def code(self, task: int, code: str = "earn", coder: int = 1) -> int:
        result: list[JsonObject] = [
            {"from_name": "codes", "to_name": "text", "type": "choices", "value": {"choices": [code]}}
        ]
        return self.fake.annotate(task, result, coder)

    def look(self) -> set[str]:
        """The ids that are verified, which are those of a reading of all; ``steps`` of SQLite's that counting took."""
        self.now += timedelta(minutes=1)
        at, self.steps = Look(self.fake, self.project, self.now), 0
        assert at.revision

        def step() -> int:
            self.steps += 1
            return 0

        with MirrorFile(self.project.folder) as file:
            file._base.set_progress_handler(step, 1)
            counts = Tally(file, self.project).counts(self.rounds)
            file._base.set_progress_handler(None, 1)
            found = Tally(file, self.project).verified()
        assert found == {example.document_id for example in at.reading.examples}
        assert counts.verified == len(found)
        return found


def numbered(*numbers: int) -> set[str]:
    return {f"d{n}" for n in numbers}


def test_one_more_costs_the_same_in_a_large_project(tmp_path: Path) -> None:
    steps = []
    for tasks in (40, 800):
        desk = Desk(tmp_path / str(tasks), tasks)
        desk.look()
        first = desk.steps
        assert desk.look()
        desk.code(tasks)
        assert f"d{tasks - 1}" in desk.look()
        assert desk.steps < first
        steps.append(desk.steps)
    assert steps[1] < 1.2 * steps[0]


def test_a_document_is_counted_by_all_its_tasks(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.look() == numbered(*range(10))
    desk.fake.set_task_data(2, {"text": "text 1", "document_id": "d0"})
    desk.fake.set_annotation(2, [])
    assert desk.look() == numbered(0, *range(2, 10)), "d1 is another name of d0 now"
    desk.fake.set_task_data(1, {"text": "text 0", "document_id": "other"})
    assert desk.look() == {"other", *numbered(*range(2, 10))}
    desk.fake.delete_tasks([1, 3])
    assert desk.look() == numbered(*range(3, 10))
    desk.fake.set_task_data(4, {"document_id": "d3"})
    assert desk.look() == numbered(*range(4, 10)), "without a text there is no document"


def test_another_rule_or_codebook_counts_all_anew(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for coder, code in ((2, "earn"), (3, "acq")):
        desk.code(1, code, coder)
    assert desk.look() == numbered(*range(10))
    project = desk.project
    review = replace(project.experiment.review, consensus=Consensus.UNANIMITY)
    desk.project = replace(project, experiment=replace(project.experiment, review=review))
    assert desk.look() == numbered(*range(1, 10))
    without = replace(project.codebook, codes=tuple(code for code in project.codebook.codes if code.key != "earn"))
    desk.project = replace(project, codebook=without)
    assert desk.look() == numbered(0)
    desk.project = project
    assert desk.look() == numbered(*range(10))


def test_what_the_last_round_has_seen(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.look()

    def counts() -> Counts:
        with MirrorFile(desk.project.folder) as file:
            return Tally(file, desk.project).counts(desk.rounds)

    assert counts() == Counts(10, 0, 0)
    save_seen(desk.rounds, "a" * 16, ["d1", "d2", "gone"])
    assert counts() == Counts(10, 0, 0), "the round is not recorded"
    save_round(desk.rounds, RoundRecord("a" * 16, PROJECT, RoundState.KEPT, 3, 3, 0, started_at=desk.now))
    assert counts() == Counts(10, 3, 2)
    desk.fake.delete_tasks([2])
    desk.look()
    assert counts() == Counts(9, 3, 1)
    (desk.rounds / "seen.json").unlink()
    assert counts() == Counts(9, 0, 0)


def test_what_was_not_counted_is_counted_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)
    desk.look()
    desk.code(15)
    monkeypatch.setattr("trainer.tally.reading_of", lambda *_: pytest.fail("not now"))
    with pytest.raises(pytest.fail.Exception):
        desk.look()
    monkeypatch.undo()
    assert desk.look() == numbered(*range(10), 14)
