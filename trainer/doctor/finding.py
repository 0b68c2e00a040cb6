"""What a check finds, and findings as a table for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from label_configs.errors import WinnowError


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, in one line, and what to do about it (empty where there is nothing to do)."""

    name: str
    ok: bool
    what: str
    remedy: str = ""


def look(name: str, check: Callable[[], str]) -> Finding:
    """Run one check: what it returns or raises is a line whose part after the last semicolon is the remedy."""
    try:
        line, ok = check(), True
    except WinnowError as error:
        line, ok = str(error), False
    what, _, remedy = line.rpartition("; ")
    return Finding(name, ok, what, remedy) if what else Finding(name, ok, line)


def findings_table(findings: Sequence[Finding]) -> Table:
    """The findings, wrong ones marked."""
    table = Table()
    for heading in ("check", "", "found", "what to do"):
        table.add_column(heading, overflow="fold")  # a path or a setting's name must stay whole
    for f in findings:
        mark = Text("ok", "green") if f.ok else Text("wrong", "bold red")
        table.add_row(Text(f.name), mark, Text(f.what), Text(f.remedy))
    return table
