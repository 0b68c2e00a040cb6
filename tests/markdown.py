"""What stands in a Markdown page: its fenced blocks, its links, its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its ``language``, its ``text``, and the number of the page's line on which the text begins."""

    language: str
    text: str
    line: int


def blocks(page: str, *languages: str) -> list[Block]:
    """The fenced blocks in these languages, all without any, in the page's order."""
    found = (Block(m[1], m[2], page.count("\n", 0, m.start(2)) + 1) for m in _FENCE.finditer(page))
    return [one for one in found if not languages or one.language in languages]


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page)


def links(page: str) -> Iterator[str]:
    """Targets of links and pictures that are no address of the web."""
    for _, target in _LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: str) -> set[str]:
    """The names by which headings can be linked to, as GitHub makes them."""
    plain = (re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()) for heading in _HEADING.findall(prose(page)))
    return {one.strip().replace(" ", "-") for one in plain}
