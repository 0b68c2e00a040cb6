from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

import trainer
from label_configs.errors import ConfigError
from label_configs.strictyaml import load_yaml
from trainer.recipe import LoraRecipe, Optimizer, Quantization, Scheduler, load_recipe, recipe_with, shipped_recipes

SHIPPED = Path(trainer.__file__).parent / "recipes"


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_loads_and_names_every_field(name: str) -> None:
    recipe = load_recipe(name)
    assert load_recipe(SHIPPED / f"{name}.yaml") == recipe
    # Whoever copies a shipped file must see all that can be set.
    assert list(load_yaml(SHIPPED / f"{name}.yaml").data) == [field.name for field in fields(LoraRecipe)]


def test_cpu_small_has_the_measured_hyper_parameters() -> None:
    recipe = load_recipe("cpu-small")
    assert (recipe.rank, recipe.alpha, recipe.target_modules) == (16, 32, "all-linear")
    assert (recipe.learning_rate, recipe.epochs, recipe.batch_size) == (1e-3, 5, 8)
    assert recipe.quantization is Quantization.NONE


def test_paper_has_the_published_hyper_parameters() -> None:
    recipe = load_recipe("paper")
    assert (recipe.quantization, recipe.optimizer) == (Quantization.NF4, Optimizer.PAGED_ADAMW_32BIT)
    assert (recipe.rank, recipe.alpha, recipe.dropout) == (64, 16, 0.1)
    assert (recipe.learning_rate, recipe.scheduler, recipe.epochs) == (2e-4, Scheduler.CONSTANT, 10)
    assert (recipe.batch_size, recipe.weight_decay, recipe.max_grad_norm) == (16, 0.001, 0.3)
    assert recipe.max_document_tokens == 1024


def test_all_cross_field_problems_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "rank: 0\nalpha: 0\ndropout: 1\ntarget_modules: []\nlearning_rate: 2\nscheduler: constant\nwarmup_ratio: 0.5\n"
        "epochs: 0\nbatch_size: 8\nmicro_batch_size: 3\nweight_decay: -1\nmax_grad_norm: 0\nmax_document_tokens: 0\n"
        "seed: -1\nvalidation_share: 0.6\npatience: 0\nprompt: ' '\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:1: ")
    assert "\n" not in message
    told = {part.split(": ")[0] for part in message.removeprefix(f"{path}:1: file: ").split("; ")}
    quiet = {"batch_size", "optimizer", "quantization", "precision", "gradient_checkpointing", "warmup_ratio"}
    assert told >= {field.name for field in fields(LoraRecipe)} - quiet


@pytest.mark.parametrize(
    ("fields_", "complaint"),
    [
        ({"batch_size": 4, "micro_batch_size": 8}, "must divide batch_size 4"),
        ({"batch_size": 0}, "batch_size: 0 must be 1 or more"),
        ({"micro_batch_size": 0}, "micro_batch_size: 0 must be 1 or more"),
        ({"warmup_ratio": 1.0}, "warmup_ratio"),
        ({"scheduler": Scheduler.CONSTANT, "warmup_ratio": 0.1}, "constant_with_warmup"),
        ({"target_modules": ("all-linear", "q_proj")}, "stands alone"),
    ],
)
def test_a_recipe_built_in_python_is_checked_too(fields_: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        LoraRecipe(**fields_)  # type: ignore[arg-type]


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("rank: 8\nlerning_rate: 1e-4\n")
    with pytest.raises(ConfigError, match=r"own\.yaml:2: lerning_rate: .*'learning_rate'"):
        load_recipe(str(path))


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="cpu-small, gpu-3b, gpu-7b-qlora, paper"):
        load_recipe("cpu-smal")


def test_modules_may_be_listed(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("target_modules: [q_proj, v_proj]\n")
    assert load_recipe(path).target_modules == ("q_proj", "v_proj")


def test_overrides_replace_only_what_they_name() -> None:
    paper = load_recipe("paper")
    assert recipe_with(paper, {"epochs": 1, "quantization": "none"}) == replace(
        paper, epochs=1, quantization=Quantization.NONE
    )
    assert recipe_with(paper, {}) == paper


def test_overrides_are_checked_against_the_fields_they_leave() -> None:
    with pytest.raises(ConfigError, match="must divide batch_size 16"):
        recipe_with(load_recipe("paper"), {"micro_batch_size": 5})
    with pytest.raises(ConfigError, match="nearest valid key: 'epochs'"):
        recipe_with(load_recipe("paper"), {"epoch": 1})


def test_overrides_in_a_file_are_reported_at_their_line(tmp_path: Path) -> None:
    path = tmp_path / "winnow.yaml"
    path.write_text("project: 1\ntraining:\n  recipe:\n    epochs: three\n")
    source = load_yaml(path)
    with pytest.raises(ConfigError, match=r"winnow\.yaml:4: training\.recipe\.epochs"):
        recipe_with(LoraRecipe(), source.data["training"]["recipe"], source=source, at=("training", "recipe"))


def test_the_digest_changes_with_every_field_and_with_nothing_else() -> None:
    other: dict[str, object] = {
        "target_modules": ("q_proj",),
        "scheduler": Scheduler.COSINE,
        "optimizer": Optimizer.ADAMW_8BIT,
        "quantization": Quantization.INT8,
        "precision": "bf16",
        "gradient_checkpointing": True,
        "prompt": "zero-shot",
        "micro_batch_size": 4,
        "batch_size": 16,
        "learning_rate": 1e-4,
        "dropout": 0.1,
        "warmup_ratio": 0.1,
        "validation_share": 0.1,
    }
    base = LoraRecipe()
    digests = {base.digest}
    for name, value in asdict(base).items():
        changed = {name: other.get(name, value + 1 if not isinstance(value, str) else value)}
        digests.add(replace(base, **changed).digest)  # type: ignore[arg-type]
    assert len(digests) == len(asdict(base)) + 1
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)
    assert LoraRecipe(alpha=32).digest == LoraRecipe(alpha=32.0).digest


def test_a_prompt_file_stands_relative_to_the_recipe_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("prompt: prompts/mine.j2\n", encoding="utf-8")
    assert load_recipe(path).prompt == str(tmp_path / "prompts" / "mine.j2")
