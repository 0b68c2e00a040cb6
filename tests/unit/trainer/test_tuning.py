"""What a fine-tuning is named by, what it refuses, and the folder that it can be taken up from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import AdapterError, TrainingError
from label_configs.records import VerifiedExample
from ml_backend.adapters import AdapterStore
from ml_backend.training_config import Balance, Gate, Negatives
from trainer.recipe import LoraRecipe
from trainer.tuning import CODEBOOK_FILE, NAMED, OUTCOME_FILE, PLAN_FILE, FineTuning, forget_training

CODES = (Code("s", "Ships", "d", "ship"), Code("g", "Corn", "d", "corn"))
BOOK = Codebook("b", Kind.EXCLUSIVE, CODES)
EXAMPLES = [VerifiedExample(f"d{n}", f"text {n}", ("sg"[n % 2],), (), n % 5 == 0) for n in range(20)]
TUNING = FineTuning("owner/model", LoraRecipe(), BOOK, EXAMPLES, 0.2)


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


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
        replace(TUNING, negatives=Negatives.HARD),
        replace(TUNING, balance=Balance.WEIGHTS),
    ]
    assert len({TUNING.id, *(tuning.id for tuning in other)}) == 7


def test_training_and_holdout_are_counted_apart() -> None:
    assert (TUNING.training_examples, len(TUNING.truth)) == (16, 4)
    assert TUNING.truth == [("s",), ("g",), ("s",), ("g",)]


def test_one_code_is_nothing_to_learn() -> None:
    alike = [replace(e, labels=("s",)) if not e.holdout else e for e in EXAMPLES]
    with pytest.raises(TrainingError) as caught:
        replace(TUNING, examples=alike).check()
    told = "the training documents hold 1 of the codebook's labels, two are needed; verify more documents"
    assert str(caught.value) == told
    TUNING.check()


def test_a_code_without_training_documents_is_noted() -> None:
    assert (TUNING.unseen, TUNING.notes) == ((), ())
    more = replace(BOOK, codes=(*CODES, Code("x", "Gold", "d", "gold")))
    held = [*EXAMPLES, VerifiedExample("h", "t", ("x",), (), True)]
    tuning = replace(TUNING, codebook=more, examples=held)
    assert tuning.unseen == ("x",)
    assert tuning.notes == ("no training document has x: the adapter learns nothing of them until some do",)
    many = replace(BOOK, codes=(*CODES, *(Code(f"k{n}", f"N{n}", "d", f"w{n}") for n in range(NAMED + 3))))
    (note,) = replace(TUNING, codebook=many).notes
    assert note.startswith("no training document has k0, k1, ")
    assert f"k{NAMED - 1} and 3 more: " in note


def test_an_adapter_to_compare_with_that_is_missing(tmp_path: Path, store: AdapterStore) -> None:
    with pytest.raises(AdapterError, match="not in the store"):
        replace(TUNING, current="0" * 16).write(tmp_path / "round", store)


def test_what_was_begun_can_be_taken_up(tmp_path: Path, store: AdapterStore) -> None:
    (tmp_path / "team.j2").write_text("{{ document }}")
    (tmp_path / "winnow.yaml").write_text("codebook: b\n")
    begun = replace(
        TUNING, recipe=LoraRecipe(prompt=str(tmp_path / "team.j2"), rank=4), threads=1, origin={"project": 7},
        negatives=Negatives.HARD, balance=Balance.SAMPLING, beside={"winnow.yaml": tmp_path / "winnow.yaml"},
    )  # fmt: skip
    folder = tmp_path / "round"
    begun.write(folder, store)
    gate = Gate(minimum=3)
    identifier = begun.id
    (tmp_path / "team.j2").write_text("edited while it trains: {{ document }}")
    read = FineTuning.read(folder, gate)
    assert read == replace(begun, gate=gate, beside={"winnow.yaml": folder / "winnow.yaml"})
    assert read.id == identifier


def test_a_prompt_file_counts_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "team.j2").write_text("{{ document }}")
    tuning = replace(TUNING, recipe=LoraRecipe(prompt=str(tmp_path / "team.j2")))
    before = tuning.id
    (tmp_path / "elsewhere").mkdir()
    elsewhere = (tmp_path / "team.j2").rename(tmp_path / "elsewhere" / "team.j2")
    assert replace(tuning, recipe=LoraRecipe(prompt=str(elsewhere))).id == before
    elsewhere.write_text("Read this: {{ document }}")
    assert replace(tuning, recipe=LoraRecipe(prompt=str(elsewhere))).id != before


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / PLAN_FILE).unlink(),
        lambda folder: (folder / PLAN_FILE).write_text("{"),
        lambda folder: (folder / PLAN_FILE).write_text(json.dumps({"base": "b"})),
        lambda folder: (folder / "examples.parquet").write_bytes(b"PAR1"),
    ],
)
def test_a_damaged_folder_is_told(tmp_path: Path, store: AdapterStore, damage: Callable[[Path], object]) -> None:
    TUNING.write(tmp_path, store)
    damage(tmp_path)
    with pytest.raises(TrainingError) as caught:
        FineTuning.read(tmp_path, Gate())
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / CODEBOOK_FILE).exists()


def test_an_outcome_of_another_plan_is_had_anew(tmp_path: Path, store: AdapterStore) -> None:
    TUNING.write(tmp_path, store)
    outcome = tmp_path / OUTCOME_FILE
    outcome.write_text("{}")
    TUNING.write(tmp_path, store)
    assert outcome.exists()
    replace(TUNING, threads=2).write(tmp_path, store)
    assert not outcome.exists()


def test_what_was_cut_off_is_not_forgotten(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-1").mkdir(parents=True)
    forget_training(tmp_path)
    assert (tmp_path / "checkpoints" / "step-1").exists()
    (tmp_path / "adapter").mkdir()
    (tmp_path / OUTCOME_FILE).write_text("{}")
    forget_training(tmp_path)
    assert list(tmp_path.iterdir()) == []
