"""Rewrites the tables of the documents that say what the code says.

    python -m trainer.documents README.md trainer/docs/*.md

writes each of ``trainer.document_tables.TABLES`` between its markers, such as ``<!-- settings -->`` and
``<!-- /settings -->``, in whichever page has them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from label_configs.errors import ConfigError, WinnowError
from label_configs.strictyaml import read_text
from ml_backend.atomic import write_atomically
from trainer.document_tables import TABLES

_MARKER = re.compile(r"^<!-- (/?)(\w+) -->$", re.MULTILINE)


def marked(text: str) -> list[str]:
    """Names of the tables that a page has markers for. Raises ConfigError where they do not stand in pairs."""
    found = _MARKER.findall(text)
    opened, closed = found[::2], found[1::2]
    names = [name for _, name in opened]
    if [("", name) for name in names] != opened or [("/", name) for name in names] != closed:
        named = ", ".join(sorted({name for _, name in found}))
        raise ConfigError(f"markers of {named} are no pairs; put <!-- NAME --> and <!-- /NAME --> around each table")
    if unknown := set(names) - set(TABLES):
        raise ConfigError(f"no table {', '.join(sorted(unknown))}; use one of {', '.join(TABLES)}")
    return names


def block(text: str, name: str) -> str:
    """What stands between a page's markers of this name, without the line breaks beside them."""
    _, _, rest = text.partition(f"<!-- {name} -->\n")
    return rest.partition(f"<!-- /{name} -->")[0].removesuffix("\n")


def rewritten(text: str) -> str:
    """The page with its tables as the code has them now. Raises ConfigError for markers that name none."""
    for name in marked(text):
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{TABLES[name]()}\n{end}{after}"
    return text


def main(paths: Iterable[Path]) -> None:
    """Rewrite the pages in place; end with one line on standard error where one cannot be."""
    for path in paths:
        try:
            write_atomically(path, rewritten(read_text(path)))
        except WinnowError as error:
            sys.exit(f"{path}: {error}")


if __name__ == "__main__":
    main(map(Path, sys.argv[1:]))
