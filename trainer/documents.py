"""The tables in the README that say what the code says: settings and commands.

    python -m trainer.documents README.md

writes them between ``<!-- settings -->`` and ``<!-- /settings -->``, ``<!-- commands -->`` and ``<!-- /commands -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from label_configs.errors import ConfigError, WinnowError
from label_configs.strictyaml import read_text
from ml_backend.atomic import write_atomically
from ml_backend.settings import Settings
from trainer.cli import cli


def settings_table() -> str:
    """Every WINNOW_* variable with its default and its meaning, in Markdown."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append((f"`WINNOW_{name.upper()}`", default, field.description or ""))
    return _table(("setting", "default", "meaning"), rows)


def commands_table() -> str:
    """Every command of the command line with what it does, in Markdown."""
    return _table(("command", "does"), list(_commands(cli, "winnow")))


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
        else:
            context = click.Context(command)
            arguments = [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
            first = (command.help or "").partition("\n\n")[0]
            yield f"`{' '.join([path, name, *arguments])}`", " ".join(first.split())


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES = {"settings": settings_table, "commands": commands_table}


def block(text: str, name: str) -> str:
    """What stands between a document's markers of this name. Raises ConfigError where it has not both."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", text, re.DOTALL)
    if found is None:
        raise ConfigError(f"no block {name!r}; put <!-- {name} --> and <!-- /{name} --> on lines of their own")
    return found[1]


def rewritten(text: str) -> str:
    """The document with its blocks as the code has them now. Raises ConfigError where one is missing."""
    for name, table in TABLES.items():
        block(text, name)
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{table()}\n{end}{after}"
    return text


def main(path: Path) -> None:
    """Rewrite the document's blocks in place; end with one line on standard error where it has none."""
    try:
        write_atomically(path, rewritten(read_text(path)))
    except WinnowError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
