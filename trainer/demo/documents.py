"""Reuters R8: newswire with one of eight topics each, as the demo's documents with their true codes."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from label_configs.errors import ConfigError
from label_configs.records import Document

HEADER_LINES = 3
"""Orange's tab format: column names, column types, column roles."""
SHORTEST = 60
"""Characters. Below this R8 holds mostly bare figures, which say nothing of their topic."""


def read(path: Path) -> list[tuple[Document, str]]:
    """Every usable document of an R8 file with its true code, in the file's order.

    A document's id is the file's name and its row, from 1: ``reuters-train-00042``. Left out are documents of fewer
    than 60 characters, repeated texts after the first, and texts that the file gives two different codes.

    Raises:
        ConfigError: the file cannot be read, or is not an Orange table of Category and Text.
    """
    rows = _rows(path)
    codes_of: dict[str, set[str]] = defaultdict(set)
    for _, code, text in rows:
        codes_of[text].add(code)
    stem = path.stem.replace("-r8", "")
    seen: set[str] = set()
    usable = []
    for number, code, text in rows:
        if len(text) < SHORTEST or text in seen or len(codes_of[text]) > 1:
            continue
        seen.add(text)
        usable.append((Document(f"{stem}-{number:05d}", text), code))
    return usable


def sample(path: Path, codes: Sequence[str], total: int = 160, seed: int = 20240601) -> list[tuple[Document, str]]:
    """``total`` documents spread over ``codes`` as equally as the file allows, shuffled; same arguments, same sample.

    A code with too few documents gives all it has, and the others share what is left.

    Raises:
        ConfigError: the file cannot be read, lacks one of the codes, or holds fewer than ``total`` documents of them.
    """
    generator = random.Random(seed)
    pools: dict[str, list[tuple[Document, str]]] = {code: [] for code in codes}
    for document, code in read(path):
        if code in pools:
            pools[code].append((document, code))
    empty = [code for code, pool in pools.items() if not pool]
    if empty:
        raise ConfigError(
            f"{path}: no document has the code {', '.join(empty)}; give codes that stand in its first column"
        )
    if sum(map(len, pools.values())) < total:
        raise ConfigError(f"{path}: fewer than {total} documents have these codes; ask for a smaller total")
    chosen: list[tuple[Document, str]] = []
    smallest_first = sorted(pools.values(), key=len)
    for index, pool in enumerate(smallest_first):
        left = len(smallest_first) - index
        share = min(len(pool), (total - len(chosen)) // left)
        chosen += generator.sample(pool, share)
    generator.shuffle(chosen)
    return chosen


def _rows(path: Path) -> list[tuple[int, str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            table = list(csv.reader(lines, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); fetch the demo's files again") from error
    if not table or table[0] != ["Category", "Text"]:
        raise ConfigError(f"{path}:1: not an Orange table with the columns Category and Text")
    rows = []
    for number, row in enumerate(table[HEADER_LINES:], start=1):
        if row and len(row) != 2:
            raise ConfigError(f"{path}: row {number} has {len(row)} columns instead of 2; fetch the demo's files again")
        if row:
            rows.append((number, row[0], row[1].strip()))
    return rows
