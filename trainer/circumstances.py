"""What an adapter was computed under, against what is here: what differs may make another adapter of the same data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.manifest import packages, working_tree
from trainer.recipe import LoraRecipe

ORDER = "sums are summed in another order, and training makes more of their last digits"
CODE = "the program may prepare documents, or compute the loss, otherwise"
# What another version of a package may change.
VERSIONS = {
    "label-studio-winnow": CODE,
    "torch": f"its kernels may compute otherwise: {ORDER}",
    "transformers": "the model, the optimiser's steps or their schedule may be computed otherwise",
    "peft": "the adapter's first weights, or where it is put, may be others",
    "accelerate": "how gradients are scaled and added may be another",
    "bitsandbytes": "weights held in few bits, and its optimisers' steps, may be others",
    "tokenizers": "documents may be split into other tokens",
    "safetensors": "the same weights may be laid out otherwise in the file",
    "scikit-learn": "figures alone, not the weights",
    "numpy": "figures alone, not the weights",
    "python": "hardly anything",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that was otherwise when an adapter was made: as it was ``then``, as it is ``now``, what it changes."""

    what: str
    then: str
    now: str
    may_change: str

    def __str__(self) -> str:
        return f"{self.what}: {self.then} then, {self.now} now; {self.may_change}"


def known_before(manifest: Mapping[str, Any], recipe: LoraRecipe) -> Iterator[Difference]:
    """What differs before anything is computed: ``recipe`` is the manifest's, as it is read now."""
    if (then := manifest.get("recipe_digest")) != recipe.digest:
        told = "the recipe was altered in the manifest, or this version reads it otherwise: another adapter comes of it"
        yield Difference("recipe", f"digest {then}", recipe.digest, told)
    yield from _packages(manifest.get("packages") or {})
    yield from _git(manifest.get("git"))
    if manifest.get("base_digest") is None:
        yield Difference("base", "state not recorded", "not compared", "with other weights another adapter comes of it")
    if steps := manifest.get("resumed"):
        told = "where training goes on, a CPU comes to the same bits, a GPU may not"
        yield Difference("run", f"cut off, gone on with after step {_named(steps)}", "in one go", told)
    if (micro := manifest.get("micro_batch_size")) and micro < recipe.micro_batch_size:
        told = f"steps taken before its memory was too small had larger ones: {ORDER}"
        yield Difference("micro-batches", f"{recipe.micro_batch_size}, then {micro}", str(micro), told)


def known_after(manifest: Mapping[str, Any], outcome: Mapping[str, Any]) -> Iterator[Difference]:
    """What differs of how it was computed, as the outcome of the training tells."""
    told = {
        "device": f"another device has other kernels: {ORDER}",
        "devices": f"documents are dealt out to more or fewer: {ORDER}",
        "threads": f"work is split otherwise: {ORDER}",
        "instructions": f"the processor computes in wider or narrower steps: {ORDER}",
        "precision": "activations are rounded otherwise",
        "micro_batch_size": f"a step is computed in larger or smaller parts: {ORDER}",
    }
    for name, may_change in told.items():
        then, now = manifest.get(name), outcome.get(name)
        if then != now:
            word = "not recorded" if then is None else str(then)
            yield Difference(name.replace("_", " "), word, str(now), may_change)


def _packages(then: Mapping[str, str]) -> Iterator[Difference]:
    now = packages()
    for name in dict.fromkeys((*now, *then)):
        if then.get(name) != now.get(name):
            may_change = VERSIONS.get(name, "what it computes")
            yield Difference(name, then.get(name, "not recorded"), now.get(name, "not installed"), may_change)


def _git(then: Mapping[str, Any] | None) -> Iterator[Difference]:
    now = working_tree()
    if then != now or (now and now["changed"]):
        yield Difference("git", _tree(then), _tree(now), CODE)


def _tree(tree: Mapping[str, Any] | None) -> str:
    if tree is None:
        return "no checkout"
    return f"{str(tree['commit'])[:12]}{' with changes' if tree.get('changed') else ''}"


def _named(steps: list[int]) -> str:
    return " and ".join(map(str, steps))
