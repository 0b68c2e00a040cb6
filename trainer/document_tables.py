"""The tables of the documents that say what the code says, in Markdown; ``trainer.documents`` writes them."""

from __future__ import annotations

import inspect
import logging
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Union, get_args, get_origin, get_type_hints

import click
from werkzeug.exceptions import default_exceptions

from label_configs.codebook import load_codebook, shipped_codebooks
from label_configs.errors import WinnowError
from ml_backend.app import STATUS
from ml_backend.experiment import Experiment
from ml_backend.log_events import LogEvent
from ml_backend.metrics import QueueCollector
from ml_backend.openapi import description
from ml_backend.settings import Settings
from trainer.cli import cli
from trainer.dashboard.project_metrics import ProjectCollector
from trainer.evaluation.agreement_words import NAMES
from trainer.evaluation.definitions import definitions_section
from trainer.memory_estimate import WEIGHT_BYTES, Plan, Tokens
from trainer.model_shape import ModelShape
from trainer.recipe import LoraRecipe, Quantization, load_recipe, shipped_recipes

# Common decoders: layers, width, heads, heads of keys, a head's size, feed-forward width, vocabulary.
_SHAPES = (
    ModelShape(30, 576, 9, 3, 64, 1536, 49_152),
    ModelShape(16, 2048, 32, 8, 64, 8192, 128_256),
    ModelShape(28, 3072, 24, 8, 128, 8192, 128_256),
    ModelShape(36, 2560, 32, 8, 128, 9728, 151_936),
    ModelShape(32, 4096, 32, 8, 128, 14_336, 32_768, tied=False),
    ModelShape(36, 4096, 32, 8, 128, 12_288, 151_936, tied=False),
)
_WEIGHT_BYTES = {"bfloat16": 2.0, "int8": WEIGHT_BYTES[Quantization.INT8], "nf4": WEIGHT_BYTES[Quantization.NF4]}
_GPU_RECIPES, _DOCUMENT_TOKENS, _PROMPT_TOKENS = ("gpu-3b", "gpu-7b-qlora"), (256, 1024), 124
_COMMENT = re.compile(r"^    (\w+): [^#\n]*#\s*(.+)$", re.MULTILINE)


def settings_table() -> str:
    """Every WINNOW_* variable with its default and its meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append((f"`WINNOW_{name.upper()}`", default, field.description or ""))
    return _table(("setting", "default", "meaning"), rows)


def keys_table() -> str:
    """Every key of winnow.yaml with the values that it takes and its default."""
    return _table(("key", "values", "default"), list(_keys(Experiment, "")))


def commands_table() -> str:
    """Every command of the command line with what it does."""
    return _table(("command", "does"), list(_commands(cli, "winnow")))


def metrics_table() -> str:
    """Every figure at /metrics with its labels."""
    described = [*QueueCollector.describe(), *ProjectCollector.describe()]
    rows = [
        (f"`{one.name}`", ", ".join(f"`{label}`" for label in one._labelnames), one.documentation) for one in described
    ]
    return _table(("figure", "labels", "meaning"), rows)


def errors_table() -> str:
    """Every code of an error with the HTTP status that it is answered with: Winnow's own, then those of HTTP."""
    rows = [(f"`{one.code}`", str(_status(one)), _first_sentence(one)) for one in _below(WinnowError)]
    answers = (one for path in description()["paths"].values() for one in path.values() if "responses" in one)
    statuses = sorted({int(status) for one in answers for status in one["responses"]} & set(default_exceptions))
    for status in statuses:
        name = default_exceptions[status]().name.lower().replace(" ", "-")
        name = "internal" if status == HTTPStatus.INTERNAL_SERVER_ERROR else name
        rows.append((f"`{name}`", str(status), f"{HTTPStatus(status).description}."))
    return _table(("code", "status", "meaning"), rows)


def events_table() -> str:
    """Every event that is logged for operators."""
    rows = [(f"`{one.value}`", logging.getLevelName(one.level), one.meaning) for one in LogEvent]
    return _table(("event", "level", "meaning"), rows)


def figures_table() -> str:
    """Every figure of the evaluation with its definition and its source."""
    (table,) = definitions_section().blocks
    rows = [tuple(str(cell) for cell in row) for row in getattr(table, "rows", ())]
    return _table(("figure", "of", "definition", "source"), rows)


def coefficients_table() -> str:
    """Every coefficient of agreement by its name in JSON and in tables."""
    return _table(("key", "coefficient"), [(f"`{key}`", title) for key, title in NAMES.items()])


def recipes_table() -> str:
    """Every field of a recipe with its meaning and its value in each recipe that comes with Winnow."""
    comments, types_of = dict(_COMMENT.findall(inspect.getsource(LoraRecipe))), get_type_hints(LoraRecipe)
    recipes = {name: asdict(load_recipe(name)) for name in shipped_recipes()}
    rows = []
    for name in (field.name for field in fields(LoraRecipe)):
        values = (_plain(recipe[name]) for recipe in recipes.values())
        rows.append((f"`{name}`", *values, comments.get(name) or _first_sentence(types_of[name])))
    return _table(("field", *(f"`{name}`" for name in recipes), "meaning"), rows)


def codebooks_table() -> str:
    """Every codebook that comes with Winnow."""
    books = [(name, load_codebook(name)) for name in shipped_codebooks()]
    rows = [(f"`{name}`", book.kind.value, str(len(book.codes)), book.instruction) for name, book in books]
    return _table(("codebook", "kind", "codes", "question"), rows)


def memory_table() -> str:
    """What GPUs must have free: for weights that propose, and for training by the recipes for GPUs, estimated."""
    head = ["parameters", *(f"weights in {name}" for name in _WEIGHT_BYTES)]
    head += [f"`{recipe}`, {tokens} tokens" for recipe in _GPU_RECIPES for tokens in _DOCUMENT_TOKENS]
    rows = []
    for shape in _SHAPES:
        linear, others = shape.linear_weights / 1e9, shape.other_weights / 1e9
        cells = [f"{linear * size + others * 2:.1f} GB" for size in _WEIGHT_BYTES.values()]
        for name in _GPU_RECIPES:
            for own in _DOCUMENT_TOKENS:
                plan = Plan(shape, load_recipe(name), Tokens(_PROMPT_TOKENS, own), gpu=True, bf16=True)
                cells.append(f"{plan.estimate().total / 1e9:.1f} GB")
        rows.append((f"{linear + others:.1f} billion", *cells))
    return _table(tuple(head), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "keys": keys_table,
    "commands": commands_table,
    "metrics": metrics_table,
    "errors": errors_table,
    "events": events_table,
    "figures": figures_table,
    "coefficients": coefficients_table,
    "recipes": recipes_table,
    "codebooks": codebooks_table,
    "memory": memory_table,
}


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
        else:
            context = click.Context(command)
            arguments = [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
            first = (command.help or "").partition("\n\n")[0]
            yield f"`{' '.join([path, name, *arguments])}`", " ".join(first.split())


def _keys(record: type, above: str) -> Iterator[tuple[str, str, str]]:
    """The keys of a dataclass that a YAML file is read into, those of what it holds after each."""
    hints = get_type_hints(record)
    for field in fields(record):
        kind, several = _inner(hints[field.name])
        name = f"{above}{field.name}{'[]' if several and is_dataclass(kind) else ''}"
        if isinstance(kind, type) and is_dataclass(kind):
            yield from _keys(kind, f"{name}.")
        else:
            values = f"list of {_values(kind)}s" if several else _values(kind)
            yield f"`{name}`", values, _default(field)


def _inner(hint: Any) -> tuple[Any, bool]:
    """What a field holds, None and the tuple around it left aside, and whether it holds several."""
    if get_origin(hint) in (types.UnionType, Union):
        some = [one for one in get_args(hint) if one is not type(None)]
        hint = some[0] if len(some) == 1 else hint
    if get_origin(hint) is tuple:
        return get_args(hint)[0], True
    return hint, False


def _values(kind: Any) -> str:
    if get_origin(kind) in (types.UnionType, Union):
        return " or ".join(_values(one) for one in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(f"`{one.value}`" for one in kind)
    if get_origin(kind) is not None and issubclass(get_origin(kind), Mapping):
        return "keys with values"
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}[kind]


def _default(field: Field[Any]) -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return "must be given"
    return "" if value in (None, "", {}) else f"`{_plain(value)}`"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _below(error: type[WinnowError]) -> Iterator[type[WinnowError]]:
    """The errors below it that have a code of their own."""
    for one in error.__subclasses__():
        if one.code != error.code:
            yield one
        yield from _below(one)


def _status(error: type[WinnowError]) -> int:
    return next((status for kind, status in STATUS.items() if issubclass(error, kind)), 500)


def _first_sentence(of: type) -> str:
    return " ".join((inspect.getdoc(of) or "").partition("\n\n")[0].split()).replace("``", "`")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
