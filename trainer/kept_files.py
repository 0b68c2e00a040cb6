"""The files that a round keeps as they were when it began, and that later lie beside its adapter."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from label_configs.errors import EnvironmentFault
from trainer.recipe import LoraRecipe


def with_kept_prompt(recipe: LoraRecipe, folder: Path) -> LoraRecipe:
    """The recipe with the round's own copy of a team's prompt file, made now: the file may be edited while it trains.

    Raises EnvironmentFault when the file cannot be copied.
    """
    name = kept_name(recipe.prompt)
    if name is None:
        return recipe
    _copy(Path(recipe.prompt), folder / name)
    return replace(recipe, prompt=str(folder / name))


def keep_beside(files: Mapping[str, Path], folder: Path) -> None:
    """Copy files into the round's folder as they are now, under the names that they get beside the adapter."""
    for name, path in files.items():
        _copy(path, folder / name)


def beside(recipe: LoraRecipe, folder: Path, *names: str) -> dict[str, Path]:
    """The files of a round's folder that are kept beside its adapter: ``names``, codebook, a team's own prompt."""
    kept = kept_name(recipe.prompt)
    return {name: folder / name for name in ("codebook.yaml", *names, *([kept] if kept else []))}


def kept_name(prompt: str) -> str | None:
    """The name that a team's own prompt file has beside the adapter; None for a prompt that comes with Winnow."""
    if not prompt.endswith(".j2"):
        return None
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', Path(prompt).stem)[:80].lstrip('._-') or 'prompt'}.j2"


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise EnvironmentFault(f"{source}: cannot be copied to {target.parent} ({error.strerror}); check it") from None
