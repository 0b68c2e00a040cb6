"""The manifest: complete, and true of what lay on the disk when the training began."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import EnvironmentFault
from label_configs.records import VerifiedExample
from ml_backend.calibration import TemperatureFit
from ml_backend.snapshot import examples_digest
from trainer.gate import judge
from trainer.kept_files import beside, keep_beside, with_kept_prompt
from trainer.manifest import manifest_of, packages, working_tree
from trainer.recipe import LoraRecipe
from trainer.tuning import FineTuning

BOOK = Codebook("b", Kind.EXCLUSIVE, (Code("s", "Ships", "d", "ship"), Code("g", "Corn", "d", "corn")))
EXAMPLES = [VerifiedExample(f"d{n}", f"text {n}", ("sg"[n % 2],), (), n % 5 == 0) for n in range(20)]
OUTCOME = {
    "device": "a GPU", "devices": 2, "threads": 4, "instructions": "AVX2", "precision": "bf16", "micro_batch_size": 2,
    "resumed": [12], "training_seconds": 12.5,
}  # fmt: skip


def test_it_says_all_that_an_adapter_was_made_from(tiny_llama: Path) -> None:
    recipe = LoraRecipe(seed=5, prompt="/prompts/my own.j2")
    tuning = FineTuning(
        str(tiny_llama), recipe, BOOK, EXAMPLES, 0.2, origin={"project": 7}, prompt_version="my own-0123abcd"
    )
    new, current = [("s",), ("g",), ("s",), ("g",)], [("s",)] * 4
    verdict = judge(tuning.truth, new, current)
    predicted = {"new": new, "current": current}
    made = manifest_of(tuning, OUTCOME, verdict, TemperatureFit(4, 0.2, 1.25, 0.1), predicted)
    assert json.loads(json.dumps(made)) == json.loads(json.dumps(made, default=None)), "plain data"
    assert made["project"] == 7
    assert (made["base"], made["base_revision"]) == (str(tiny_llama), None)
    assert len(made["base_digest"]) == 16
    assert (made["recipe"]["seed"], made["recipe_digest"]) == (5, recipe.digest)
    assert made["seeds"]["training"] == 5
    assert made["prompt_file"] == "my_own.j2"
    assert made["examples_digest"] == examples_digest(EXAMPLES)
    assert made["codebook"] == BOOK.fingerprint
    assert (made["training_examples"], made["holdout_examples"]) == (16, 4)
    assert made["metrics"]["new"]["accuracy"] == 1
    assert made["metrics"]["current"]["macro_f1"] == pytest.approx(1 / 3)
    assert [code["label"] for code in made["metrics"]["new"]["codes"]] == ["s", "g"]
    assert made["gate"]["verdict"] == verdict.verdict
    assert (made["temperature"], made["ece"]) == (1.25, 0.2)
    assert (made["device"], made["precision"], made["training_seconds"]) == ("a GPU", "bf16", 12.5)
    assert (made["devices"], made["threads"], made["instructions"]) == (2, 4, "AVX2")
    assert (made["micro_batch_size"], made["resumed"], made["compared_with"]) == (2, [12], None)
    assert {"python", "torch", "transformers", "peft", "accelerate", "label-studio-winnow"} <= made["packages"].keys()
    assert made["made_at"].endswith("+00:00")


def test_what_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.manifest.PACKAGES", ("torch", "no-such-package"))
    assert packages().keys() == {"python", "torch"}


def test_the_working_tree_is_that_of_winnow_alone(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert working_tree(tmp_path) is None
    git("init", "-q")
    assert working_tree(tmp_path) is None, "no commit yet"
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("x")
    assert working_tree(tmp_path) == {"commit": commit, "changed": False}
    (tmp_path / "file").write_text("two")
    assert working_tree(tmp_path) == {"commit": commit, "changed": True}
    (tmp_path / "packages").mkdir()
    assert working_tree(tmp_path / "packages") is None, "another project's checkout, in which Winnow is installed"


def test_a_prompt_of_the_teams_own_is_kept_as_it_was(tmp_path: Path) -> None:
    own, folder = tmp_path / "my own.j2", tmp_path / "round"
    own.write_text("as trained")
    recipe = with_kept_prompt(LoraRecipe(prompt=str(own)), folder)
    own.write_text("edited meanwhile")
    assert recipe.prompt == str(folder / "my_own.j2")
    assert Path(recipe.prompt).read_text() == "as trained"
    shipped = LoraRecipe(prompt="definitions")
    assert with_kept_prompt(shipped, folder) is shipped
    assert beside(replace(shipped, prompt=str(own)), folder, "examples.parquet") == {
        name: folder / name for name in ("codebook.yaml", "examples.parquet", "my_own.j2")
    }
    own.unlink()
    with pytest.raises(EnvironmentFault, match="cannot be copied"):
        with_kept_prompt(LoraRecipe(prompt=str(own)), folder)


def test_the_experiment_is_kept_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "winnow.yaml").write_text("as trained")
    keep_beside({"winnow.yaml": tmp_path / "winnow.yaml"}, tmp_path / "round")
    (tmp_path / "winnow.yaml").write_text("edited meanwhile")
    assert (tmp_path / "round" / "winnow.yaml").read_text() == "as trained"
