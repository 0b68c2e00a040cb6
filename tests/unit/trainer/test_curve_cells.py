"""Cells of a learning curve up to the training itself, their jobs in Redis, and the command's options."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from redis import Redis
from rich.console import Console

from label_configs.errors import QueueError, TrainingError
from label_configs.records import VerifiedExample
from ml_backend.adapters import AdapterStore
from ml_backend.experiment import Experiment, Priority, Project
from ml_backend.heartbeat import WorkerKind, beat
from ml_backend.queue import TRAIN, fetch_job, queue
from ml_backend.registered_projects import register
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from tests.unit.trainer.fitting import BOOK, QUICK, examples
from trainer.cli import main
from trainer.curve_cells import CurvePlan, cell_folder, subset, train_cell, tuning_of
from trainer.curve_queue import cell_at_hand, enqueue_cell, go_on, job_id, stop_asked, take_back
from trainer.curve_run import QueuedCurve, Wanted
from trainer.evaluation.curve_file import Cell, read_curves
from trainer.supervision import Watch
from trainer.tuning import FineTuning

EXAMPLES = [*examples(40), *examples(10, holdout=True)]


def plan(folder: Path, own: list[VerifiedExample] = EXAMPLES) -> CurvePlan:
    return CurvePlan(FineTuning("no-model", QUICK, BOOK, own, 0.2, threads=1), folder)


def test_smaller_shares_are_parts_of_larger_ones_and_the_holdout_is_whole() -> None:
    parts = [{one.document_id for one in subset(EXAMPLES, share, 0)} for share in (1, 5, 25, 50, 100)]
    assert [len(part) for part in parts] == [1, 2, 10, 20, 40]
    assert all(smaller < larger for smaller, larger in pairwise(parts))
    assert {one.document_id for one in subset(EXAMPLES, 25, 1)} != parts[2], "another seed draws others"
    assert subset(list(reversed(EXAMPLES)), 25, 0) == subset(EXAMPLES, 25, 0), "whatever their order"
    own = tuning_of(replace(plan(Path()).tuning, current="a" * 16), 25, 3)
    assert (own.training_examples, len(own.truth), own.recipe.seed, own.current) == (10, 10, QUICK.seed + 3, None)


def test_a_curve_is_named_by_what_goes_into_it(tmp_path: Path) -> None:
    one = plan(tmp_path)
    other = CurvePlan(replace(one.tuning, recipe=replace(QUICK, epochs=5)), tmp_path)
    assert one.id != other.id
    store = AdapterStore(tmp_path / "adapters")
    one.begin(store, "accuracy", 0.01)
    other.begin(store, "macro_f1", 0.005)
    assert CurvePlan.read(tmp_path, one.id).tuning == one.tuning
    curves = read_curves(tmp_path)
    assert (curves[one.id].metric, curves[one.id].training, curves[one.id].holdout) == ("accuracy", 40, 10)


def test_what_cannot_be_learned_is_kept_and_tried_again(tmp_path: Path) -> None:
    store, one = AdapterStore(tmp_path / "adapters"), plan(tmp_path)
    one.begin(store, "macro_f1", 0.005)
    with pytest.raises(TrainingError, match="the training documents hold 1 of the codebook's labels"):
        train_cell(one, 1, 0, store, Watch(lambda _: None))
    assert not one.done(1, 0)
    assert [cell.name for cell in one.curve.failed] == ["1-0"]
    one.keep(Cell(50, 0, 20))
    one.begin(store, "macro_f1", 0.005)
    assert list(one.curve.cells) == ["50-0"], "failures are forgotten, results are not"
    assert not (tmp_path / "adapters").exists()


def test_a_result_left_by_the_process_becomes_a_cell_without_an_adapter(tmp_path: Path) -> None:
    store, one = AdapterStore(tmp_path / "adapters"), plan(tmp_path)
    one.begin(store, "macro_f1", 0.005)
    folder = cell_folder(one, 50, 0)
    tuning_of(one.tuning, 50, 0).write(folder, store)
    truth = [list(labels) for labels in one.tuning.truth]
    outcome = {"predictions": {"new": truth, "current": [["s"]] * 10}, "probabilities": {}, "loss": 0.1}
    (folder / "outcome.json").write_text(json.dumps(outcome))
    cell = train_cell(one, 50, 0, store, Watch(lambda _: None))
    assert cell is not None
    assert (cell.documents, cell.figures["new"]["accuracy"], cell.figures["current"]["accuracy"]) == (20, 1.0, 0.5)
    assert one.curve.cells["50-0"] == cell
    assert not folder.exists(), "weights and texts are not left behind"
    assert not (tmp_path / "adapters").exists(), "nothing is published"


def test_without_a_holdout_there_is_nothing_to_judge_on(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no document of the holdout is verified"):
        plan(tmp_path, examples(20)).check()


# --- jobs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


@pytest.fixture
def project(tmp_path: Path) -> Project:
    experiment = Experiment("b", (SourceConfig("words", SourceKind.FAKE),), training=Training("no-model"))
    return register(tmp_path, 7, experiment, BOOK)


def test_cells_wait_behind_rounds_once_and_are_taken_back(redis: Redis, project: Project) -> None:
    for _ in range(2):
        enqueue_cell(redis, project, "abc", 25, 0)
    name = job_id(7, "abc", 25, 0)
    assert queue(redis, TRAIN, Priority.LOW).get_job_ids() == [name]
    job = fetch_job(redis, name)
    assert job is not None
    assert job.args == [7, "abc", 25, 0]
    assert cell_at_hand(redis, name)
    assert not stop_asked(redis, 7)
    take_back(redis, 7)
    assert stop_asked(redis, 7)
    assert not cell_at_hand(redis, name)
    go_on(redis, 7)
    assert not stop_asked(redis, 7)


def test_without_a_train_worker_nothing_is_enqueued(redis: Redis, project: Project) -> None:
    run = QueuedCurve(redis, project, plan(project.folder))
    with pytest.raises(QueueError, match="no train worker is alive"):
        run.run(Wanted((50, 100), 1), Console(file=io.StringIO()))
    assert not queue(redis, TRAIN, Priority.LOW).get_job_ids()


def test_a_cell_that_is_done_is_never_enqueued(redis: Redis, project: Project) -> None:
    one = plan(project.folder)
    for share, seed in Wanted((50, 100), 2).cells:
        one.keep(Cell(share, seed, 20))
    curve = QueuedCurve(redis, project, one).run(Wanted((100, 50), 2), Console(file=io.StringIO()))
    assert len(curve.done) == 4
    assert not queue(redis, TRAIN, Priority.LOW).get_job_ids()


def test_ctrl_c_takes_back_what_waits(redis: Redis, project: Project) -> None:
    beat(redis, "somebody", WorkerKind.TRAIN)
    out, seen = io.StringIO(), []

    def interrupt() -> None:
        seen.extend(queue(redis, TRAIN, Priority.LOW).get_job_ids())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(1, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        QueuedCurve(redis, project, plan(project.folder)).run(Wanted((50, 100), 1), Console(file=out, width=200))
    timer.join()
    assert len(seen) == 2
    assert not queue(redis, TRAIN, Priority.LOW).get_job_ids()
    assert "the same command goes on" in out.getvalue()


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --project or --examples, one of them"),
        (["--project", "3", "--examples", "v.csv"], "give --project or --examples, one of them"),
        (["--project", "3", "--base", "x"], "--base goes with --examples only"),
        (["--project", "3", "--shares", "0,50"], "'0,50' are no shares; write whole percents from 1 to 100"),
        (["--project", "3", "--shares", "half"], "'half' are no shares"),
        (["--project", "3", "--metric", "auc"], "'auc' is not one of 'accuracy', 'macro_f1'"),
    ],
)
def test_what_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["curve", *arguments])
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
    assert message in err
