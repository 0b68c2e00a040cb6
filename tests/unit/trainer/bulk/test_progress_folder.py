from __future__ import annotations

from pathlib import Path

import pytest

from label_configs.errors import ConfigError, EnvironmentFault
from trainer.bulk.progress_folder import Chunk, ProgressFolder, Run
from trainer.bulk.results import Result

JOB = {"input": "abc", "sources": [["words", "v"]], "top": 3}
RESULT = Result("d1", ("a", "b"), (0.5, 0.5), "words", "v", (("a", 0.5), ("b", 0.5)), 7, 0, 0.25, 1, 0.5)
NOW = Run("2024-06-01T00:00:00+00:00", "cpu")


def begun(path: Path, chunks: int) -> None:
    with ProgressFolder.open(path, JOB, 4) as progress:
        progress.begin_run(NOW)
        for index in range(chunks):
            progress.keep(index, 4, 1.5, [RESULT])


def test_chunks_are_found_again(tmp_path: Path) -> None:
    begun(tmp_path / "p", 2)
    with ProgressFolder.open(tmp_path / "p", JOB, 99) as progress:
        assert progress.chunk_documents == 4, "as the run was begun, whatever the settings are now"
        assert progress.finished == {0, 1}
        assert [progress.documents_of(total) for total in (100, 6)] == [8, 6]
        progress.begin_run(Run("2024-06-02T00:00:00+00:00", "cuda"))
        progress.keep(7, 2, 0.5, [RESULT, RESULT])
        assert progress.runs[0] == NOW
        assert progress.read(0) == Chunk(4, 1.5, 0, (RESULT,))
        assert progress.read(7) == Chunk(2, 0.5, 1, (RESULT, RESULT))


def test_another_job_is_refused_and_its_chunks_stay(tmp_path: Path) -> None:
    begun(tmp_path / "p", 1)
    message = r"p: holds the progress of another classification \(sources, top differ\); .*begin anew with --restart$"
    with (
        pytest.raises(ConfigError, match=message),
        ProgressFolder.open(tmp_path / "p", JOB | {"top": 4, "sources": []}, 4),
    ):
        pass
    with ProgressFolder.open(tmp_path / "p", JOB, 4) as progress:
        assert progress.finished == {0}


def test_a_restart_begins_with_nothing(tmp_path: Path) -> None:
    begun(tmp_path / "p", 3)
    with ProgressFolder.open(tmp_path / "p", JOB | {"top": 4}, 8, restart=True) as progress:
        assert (progress.finished, progress.chunk_documents, progress.runs) == (set(), 8, [])


def test_two_processes_do_not_work_on_one_output(tmp_path: Path) -> None:
    with (
        ProgressFolder.open(tmp_path / "p", JOB, 4),
        pytest.raises(EnvironmentFault, match="another process is at work on this output"),
        ProgressFolder.open(tmp_path / "p", JOB, 4),
    ):
        pass


def test_nothing_is_left_of_what_was_not_begun(tmp_path: Path) -> None:
    with ProgressFolder.open(tmp_path / "p", JOB, 4):
        pass
    assert not list(tmp_path.iterdir())


def test_what_is_damaged_is_told(tmp_path: Path) -> None:
    begun(tmp_path / "p", 1)
    (tmp_path / "p" / "000000.jsonl").write_text('{"documents": 4,')
    with ProgressFolder.open(tmp_path / "p", JOB, 4) as progress:
        with pytest.raises(
            EnvironmentFault, match=r"000000\.jsonl: damaged; delete it and give the same command again"
        ):
            progress.read(0)
        with pytest.raises(EnvironmentFault, match=r"000005\.jsonl: damaged"):
            progress.read(5)
    (tmp_path / "p" / "job.json").write_text("{}")
    with (
        pytest.raises(EnvironmentFault, match=r"job\.json: damaged; begin anew with --restart"),
        ProgressFolder.open(tmp_path / "p", JOB, 4),
    ):
        pass


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(EnvironmentFault, match="check the folder's rights"),
        ProgressFolder.open(tmp_path / "file" / "p", JOB, 4),
    ):
        pass
