"""A report as one HTML file without network or script; the dashboard shows sections by the same templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from trainer.evaluation.block_tables import named, table_of
from trainer.evaluation.blocks import Block, Cell, Finding, Format, Link, Section, Table, Tone
from trainer.evaluation.cells import interval_text, is_number, number, text_of
from trainer.evaluation.console import MARKS
from trainer.evaluation.figure import Figure
from trainer.evaluation.plots import svg_of
from trainer.evaluation.whole_report import Report

FOLDER = Path(__file__).parent
WORDS = {Tone.GOOD: "Good: ", Tone.WARNING: "Warning: ", Tone.BAD: "Bad: ", Tone.NEXT: "To do: ", Tone.PLAIN: ""}
GROUPS = (
    ("Good enough", (Tone.GOOD,)),
    ("Not good enough", (Tone.BAD, Tone.WARNING)),
    ("What to do next", (Tone.NEXT,)),
    ("Also found", (Tone.PLAIN,)),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell as the page shows it: ``rest`` (interval and n) stands below ``text``; ``why``: it is undefined."""

    text: str
    rest: str = ""
    url: str = ""
    why: bool = False


def page_html(report: Report) -> Markup:
    """The whole page: summary, contents, sections, manifest; its style is in it. ``made_at`` is all that changes
    between two pages of the same report."""
    page = _templates().get_template("page.html.j2")
    sections = named(report.sections, lambda section: _slug(section.key))
    groups = [(heading, _of_tones(report.summary.findings, tones)) for heading, tones in GROUPS]
    return Markup(  # nosec B704 # the template escapes
        page.render(
            report=report, sections=sections, groups=groups, manifest=list(_flat(report.manifest)),
            stylesheet=Markup(stylesheet()),  # nosec B704 # a file of this package
        )
    )  # fmt: skip


def section_html(section: Section, *, id: str | None = None, level: int = 2) -> Markup:
    """One ``<section>`` with its heading of ``level``, findings, tables, plots and notes, for a page with
    ``stylesheet``. All ids in it are ``id``, the section's key where none is given, or begin with it and a dot."""
    module = _templates().get_template("section.html.j2").module
    made = module.section(section, _slug(id or section.key), level)  # type: ignore[attr-defined]
    return Markup(made)  # nosec B704 # the template escapes


def block_html(block: Block, *, id: str) -> Markup:
    """One table or plot alone; all ids in it begin with ``id``."""
    if isinstance(block, Table):
        module = _templates().get_template("section.html.j2").module
        made = module.table(block, _slug(id))  # type: ignore[attr-defined]
        return Markup(made)  # nosec B704 # the template escapes
    return Markup(svg_of(block, _slug(id)))  # nosec B704 # matplotlib escapes its texts


@cache
def stylesheet() -> str:
    """The CSS of sections and of the whole page: light and dark by the reader's preference, and for paper."""
    return (FOLDER / "page.css").read_text(encoding="utf-8")


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False
    )
    environment.filters |= {
        "shown": _shown,
        "right": _right,
        "with_ids": lambda blocks, above: named(blocks, lambda block: f"{above}.{_slug(block.key)}"),
        "numbers": table_of,
        "mark": lambda tone: MARKS[tone][0],
        "word": lambda tone: WORDS[tone],
        "coded": _coded,
        "svg": lambda block, name: Markup(svg_of(block, name)),  # nosec B704 # matplotlib escapes its texts
    }
    environment.tests["table"] = lambda block: isinstance(block, Table)
    return environment


def _shown(cell: Cell, how: Format) -> Shown:
    if isinstance(cell, Figure):
        if cell.value is None:
            return Shown(text_of(cell, how), why=True)
        parts = filter(None, (interval_text(cell, how), f"n = {cell.n:,}"))
        # A line may break between them, not within one.
        return Shown(number(cell.value, how), " ".join(part.replace(" ", "\u00a0") for part in parts))
    if isinstance(cell, Link):
        return Shown(cell.text, url=cell.url if cell.url.startswith(("http://", "https://")) else "")
    return Shown(text_of(cell, how))


def _coded(text: str) -> Markup:
    """A sentence with what stands between backticks, commands and settings, as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def _right(table: Table) -> list[bool]:
    """Whether each column holds numbers alone."""
    columns = ([row[index] for row in table.rows if row[index] is not None] for index in range(len(table.columns)))
    return [bool(cells) and all(map(is_number, cells)) for cells in columns]


def _slug(text: str) -> str:
    """What may be an id in a page, and be named in an address."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text) or "_"


def _of_tones(findings: Sequence[Finding], tones: Sequence[Tone]) -> list[Finding]:
    return [finding for tone in tones for finding in findings if finding.tone is tone]


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Rows of the manifest: nested names with a dot between them."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            listed = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            yield f"{above}{name}".replace("_", " "), text_of(None) if listed in (None, "") else str(listed)
