"""What is told of an adapter that was made under other circumstances."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trainer.circumstances import known_after, known_before
from trainer.manifest import packages, working_tree
from trainer.recipe import LoraRecipe

RECIPE = LoraRecipe(micro_batch_size=8)
SAME: dict[str, Any] = {
    "recipe": asdict(RECIPE), "recipe_digest": RECIPE.digest, "packages": packages(), "git": working_tree(),
    "base_digest": "0" * 16, "resumed": [], "micro_batch_size": 8,
}  # fmt: skip
COMPUTED = {
    "device": "cpu", "devices": 1, "threads": 2, "instructions": "AVX2", "precision": "fp32", "micro_batch_size": 8,
}  # fmt: skip


def before(**changes: object) -> dict[str, tuple[str, str]]:
    return {one.what: (one.then, one.now) for one in known_before(SAME | changes, RECIPE) if one.what != "git"}


def after(**changes: object) -> dict[str, tuple[str, str]]:
    return {one.what: (one.then, one.now) for one in known_after(COMPUTED | changes, COMPUTED)}


def test_nothing_is_told_where_nothing_differs() -> None:
    assert not before()
    assert not after()


def test_what_differs_is_named_with_what_it_was() -> None:
    versions = packages()
    changed = {name: version for name, version in versions.items() if name != "peft"} | {"torch": "1.0", "gone": "2"}
    found = before(packages=changed, recipe_digest="abc", base_digest=None, resumed=[4, 9], micro_batch_size=2)
    assert found == {
        "recipe": ("digest abc", RECIPE.digest),
        "torch": ("1.0", versions["torch"]),
        "peft": ("not recorded", versions["peft"]),
        "gone": ("2", "not installed"),
        "base": ("state not recorded", "not compared"),
        "run": ("cut off, gone on with after step 4 and 9", "in one go"),
        "micro-batches": ("8, then 2", "2"),
    }
    assert after(device="a GPU", threads=None) == {"device": ("a GPU", "cpu"), "threads": ("not recorded", "2")}


def test_a_checkout_is_told_where_it_differs_or_was_changed() -> None:
    told = list(known_before(SAME | {"git": {"commit": "f" * 40, "changed": True}}, RECIPE))
    assert [(one.what, one.then) for one in told] == [("git", f"{'f' * 12} with changes")]
    assert "the program may prepare documents" in str(told[0])
