"""The weights in force: a file named by its digest, taken over in one step or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.errors import LabelStudioError, TrainingError
from ml_backend.mixing import EQUAL, Evidence, MixingWeights
from ml_backend.weights_file import taking_over, weights_in_force

FIRST = MixingWeights({("a", "m/p@1", "ship"): Evidence(7.5, 10), ("b", "v", "grain"): Evidence(1, 8)}, ("d1", "d2"))
SECOND = MixingWeights({("a", "m/p@1", "ship"): Evidence(9, 12)}, ("d1", "d2", "d3"))


def take_over(folder: Path, weights: MixingWeights) -> str:
    with taking_over(folder, weights):
        pass
    return weights_in_force(folder).digest


def test_what_was_written_is_read_and_named_by_its_digest(tmp_path: Path) -> None:
    assert weights_in_force(tmp_path).weights == EQUAL
    assert weights_in_force(tmp_path).digest == ""
    digest = take_over(tmp_path, FIRST)
    found = weights_in_force(tmp_path)
    assert found.weights == FIRST
    assert found.weights.weight("a", "m/p@1", "ship") == FIRST.weight("a", "m/p@1", "ship")
    rows = json.loads((tmp_path / "weights" / f"{digest}.json").read_text())["weights"]
    assert rows[0]["weight"] == pytest.approx(FIRST.weight("a", "m/p@1", "ship"), abs=1e-6), "for a person to read"
    assert take_over(tmp_path, SECOND) != digest
    assert take_over(tmp_path, FIRST) == digest, "the same evidence has the same name"


def test_in_the_block_the_new_ones_count_and_after_an_error_those_before(tmp_path: Path) -> None:
    first = take_over(tmp_path, FIRST)

    def fail() -> None:
        assert weights_in_force(tmp_path).weights == SECOND
        raise LabelStudioError("away")

    with pytest.raises(LabelStudioError), taking_over(tmp_path, SECOND):
        fail()
    assert weights_in_force(tmp_path).digest == first


def test_the_first_weights_leave_nothing_behind_when_they_fail(tmp_path: Path) -> None:
    with pytest.raises(LabelStudioError), taking_over(tmp_path, FIRST):
        raise LabelStudioError("away")
    assert weights_in_force(tmp_path).digest == ""


def test_without_evidence_all_are_equal_again(tmp_path: Path) -> None:
    take_over(tmp_path, FIRST)
    assert take_over(tmp_path, EQUAL) == ""
    assert weights_in_force(tmp_path).weights == EQUAL


def test_few_files_are_kept_and_the_one_in_force_always(tmp_path: Path) -> None:
    for n in range(20):
        digest = take_over(tmp_path, MixingWeights({("a", "v", "ship"): Evidence(n, 20)}, ()))
    names = {path.stem for path in (tmp_path / "weights").glob("*.json")}
    assert digest in names
    assert len(names) <= 10


@pytest.mark.parametrize("text", ["", "[]", '{"weights": [{"source": "a"}]}', '{"documents": 1, "weights": []}'])
def test_a_damaged_file_is_told_with_its_remedy(tmp_path: Path, text: str) -> None:
    digest = take_over(tmp_path, FIRST)
    moved = tmp_path / "elsewhere"
    (tmp_path / "weights").rename(moved.with_name("weights-of-before"))
    folder = moved / "weights"
    folder.mkdir(parents=True)
    (folder / "current.json").write_text(json.dumps({"weights": f"{digest}.json"}))
    (folder / f"{digest}.json").write_text(text)
    with pytest.raises(TrainingError, match=r"damaged or gone; delete .*current\.json"):
        weights_in_force(moved)


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    take_over(tmp_path, FIRST)
    (tmp_path / "weights" / "current.json").write_text("{")
    with pytest.raises(TrainingError, match=r"current\.json: damaged; delete it"):
        weights_in_force(tmp_path)


def test_what_coders_said_since_a_round_is_kept_with_the_weights(tmp_path: Path) -> None:
    plain = take_over(tmp_path, FIRST)
    told = replace(FIRST, firsts={"a": Evidence(3.5, 4)}, since="r1")
    assert take_over(tmp_path, told) != plain
    assert weights_in_force(tmp_path).weights == told
