"""What a fine-tuning is named by, and what it refuses before a process is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import AdapterError, TrainingError
from label_configs.records import VerifiedExample
from ml_backend.adapters import AdapterStore
from ml_backend.experiment import Gate
from trainer.fine_tuning import FineTuning, fine_tune
from trainer.recipe import LoraRecipe

BOOK = Codebook("b", Kind.EXCLUSIVE, (Code("s", "Ships", "d", "ship"), Code("g", "Corn", "d", "corn")))
EXAMPLES = [VerifiedExample(f"d{n}", f"text {n}", ("sg"[n % 2],), (), n % 5 == 0) for n in range(20)]
TUNING = FineTuning("owner/model", LoraRecipe(), BOOK, EXAMPLES, 0.2)


def refused(tuning: FineTuning, folder: Path, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        fine_tune(tuning, folder / "round", AdapterStore(folder / "adapters"), lambda _: None)
    assert not (folder / "round" / "fit.log").exists(), "no process was started"
    return str(caught.value)


def test_it_is_named_by_what_changes_the_adapter() -> None:
    same = [
        replace(TUNING, examples=EXAMPLES[::-1]),
        replace(TUNING, gate=Gate(minimum=1), threads=3, origin={"project": 7}, current="ab"),
    ]
    assert {tuning.id for tuning in same} == {TUNING.id}
    other = [
        replace(TUNING, base="owner/other"),
        replace(TUNING, recipe=LoraRecipe(epochs=1)),
        replace(TUNING, examples=EXAMPLES[1:]),
        replace(TUNING, codebook=replace(BOOK, instruction="Why?")),
    ]
    assert len({TUNING.id, *(tuning.id for tuning in other)}) == 5


def test_training_and_holdout_are_counted_apart() -> None:
    assert (TUNING.training_examples, len(TUNING.truth)) == (16, 4)
    assert TUNING.truth == [("s",), ("g",), ("s",), ("g",)]


def test_one_code_is_nothing_to_learn(tmp_path: Path) -> None:
    alike = [replace(e, labels=("s",)) if not e.holdout else e for e in EXAMPLES]
    told = refused(replace(TUNING, examples=alike), tmp_path, TrainingError)
    assert told == "the training documents hold 1 of the codebook's labels, two are needed; verify more documents"


def test_an_adapter_to_compare_with_that_is_missing(tmp_path: Path) -> None:
    assert "not in the store" in refused(replace(TUNING, current="0" * 16), tmp_path, AdapterError)
