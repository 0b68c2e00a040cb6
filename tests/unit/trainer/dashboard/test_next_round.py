"""The way to the next round is the shortest that ``rounds.due`` agrees to."""

from __future__ import annotations

from pathlib import Path

import pytest

from label_configs.codebook import load_codebook
from ml_backend.experiment import Experiment, Project
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.dashboard.next_round import counted, documents_to, next_round
from trainer.mirror_file import MirrorFile
from trainer.rounds import Counts, due_by


@pytest.mark.parametrize("every", [None, 1, 7, 30])
@pytest.mark.parametrize("thresholds", [(), (10,), (20, 50), (5, 6, 40)])
def test_it_is_what_counting_on_by_one_finds(thresholds: tuple[int, ...], every: int | None) -> None:
    for verified in range(0, 60, 3):
        for seen in range(0, 60, 5):
            for both in {0, min(verified, seen) // 2, min(verified, seen)}:
                counts = Counts(verified, seen, both)
                steps = (
                    more
                    for more in range(130)
                    if due_by(Counts(verified + more, seen, both), thresholds=thresholds, every=every) is not None
                )
                assert documents_to(counts, thresholds, every) == next(steps, None), counts


def test_a_mirror_is_read_without_being_made(tmp_path: Path) -> None:
    assert counted(tmp_path) is None
    assert not list(tmp_path.iterdir())
    with MirrorFile(tmp_path) as file, file.writing():
        file.set_facts({"born": "x", "revision": "9"})
        file.query("UPDATE totals SET tasks = 5, submitted = 4, verified = 3, seen = 2, both = 1")
    found = counted(tmp_path)
    assert found is not None
    assert (found.revision, found.tasks, found.submitted, found.counts) == ("x-9", 5, 4, None)
    with MirrorFile(tmp_path) as file, file.writing():
        file.set_facts({"counted_by": "rules"})
        now = counted(tmp_path)  # while another process writes
    assert now is not None
    assert now.counts is None
    after = counted(tmp_path)
    assert after is not None
    assert after.counts == Counts(3, 2, 1)


def test_a_project_may_train_nothing(tmp_path: Path) -> None:
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),))
    project = Project(7, experiment, load_codebook("reuters8"), tmp_path)
    with MirrorFile(tmp_path) as file, file.writing():
        file.set_facts({"counted_by": "rules"})
        file.query("UPDATE totals SET tasks = 5, verified = 3")
    found = next_round(project, counted(tmp_path))
    assert (found.trains, found.verified, found.goal, found.to_next) == (False, 3, None, None)
    assert Training("x").thresholds
