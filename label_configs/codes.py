"""Codes, labels, and what makes a list of codes no codebook."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

LEVEL_MARK = ":"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# Where in a codebook a problem is, in the file's own terms: ("codes", 3, "word").
Problem = tuple[tuple[str | int, ...], str]


class Kind(StrEnum):
    """How many codes hold for one document."""

    EXCLUSIVE = "exclusive"  # exactly one
    MULTILABEL = "multilabel"  # none, one or several
    GRADED = "graded"  # none, one or several, each at exactly one level


@dataclass(frozen=True, slots=True)
class Code:
    """One code: ``key`` in files and results, ``name`` and ``definition`` for coders, ``word`` for language models."""

    key: str
    name: str
    definition: str
    word: str


@dataclass(frozen=True, slots=True)
class Label:
    """What is kept or rejected. ``key`` is ``code`` or ``code:level``; ``level`` is None unless graded."""

    key: str
    code: str
    level: str | None
    name: str
    word: str


def key_from(name: str) -> str:
    """A key made of a name: ``Banking, Finance`` gives ``banking-finance``; empty when nothing can be made of it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9._-]+", "-", plain.casefold()).strip("-._")


def is_key(text: str) -> bool:
    """Whether ``text`` may be a key: letters, digits, dot, underscore and hyphen, beginning with a letter or digit."""
    return _KEY.fullmatch(text) is not None


def unprintable(text: str) -> str:
    """Names the first character that neither XML nor a coder's screen can carry; empty when there is none."""
    for character in text:
        # Control characters, lone surrogates, and the two code points that are no characters at all.
        if unicodedata.category(character) in {"Cc", "Cs"} or ord(character) & 0xFFFE == 0xFFFE:
            return f"the unprintable character U+{ord(character):04X}"
    return ""


def problems(
    kind: Kind, codes: Sequence[Code], levels: Sequence[str] = (), max_codes: int | None = None
) -> Iterator[Problem]:
    """Everything that makes these values no codebook, each with its location and its remedy."""
    if len(codes) < 2:
        count = "no codes" if not codes else "only one code"
        yield ("codes",), f"codes: has {count}, a codebook needs at least two"
    yield from _problems_of_codes(codes)
    yield from _problems_of_levels(kind, levels)
    if max_codes is None:
        return
    if kind is not Kind.MULTILABEL:
        yield ("max_codes",), f"max_codes: only a multilabel codebook may have it, this one is {kind}; remove it"
    elif not 1 <= max_codes <= len(codes):
        yield ("max_codes",), f"max_codes: {max_codes} is not between 1 and the {len(codes)} codes, change it"


def _problems_of_codes(codes: Sequence[Code]) -> Iterator[Problem]:
    first: dict[tuple[str, str], int] = {}
    for index, code in enumerate(codes):
        here = f"codes.{index}"
        if not is_key(code.key):
            allowed = "use letters, digits, '.', '_' and '-', beginning with a letter or digit"
            yield ("codes", index, "key"), f"{here}.key: '{printable(code.key)}' cannot be a key, {allowed}"
        for field, text in (("name", code.name), ("definition", code.definition), ("word", code.word)):
            if not text.strip():
                yield ("codes", index, field), f"{here}.{field}: is empty (code '{printable(code.key)}'), write one"
            elif ugly := unprintable(text):
                yield ("codes", index, field), f"{here}.{field}: has {ugly}, remove it"
        for field, called, text in (
            # Label words are compared as a model would: "Trade" and "trade" are the same word.
            ("key", "key", code.key.casefold()),
            ("name", "name", code.name.casefold().strip()),
            ("word", "label word", code.word.casefold().strip()),
        ):
            before = first.setdefault((field, text), index)
            if before != index and text:
                yield (
                    ("codes", index, field),
                    f"{here}.{field}: duplicate {called} '{printable(text)}', already that of codes.{before}, "
                    "give each code its own",
                )


def _problems_of_levels(kind: Kind, levels: Sequence[str]) -> Iterator[Problem]:
    if kind is not Kind.GRADED:
        if levels:
            yield ("levels",), f"levels: only a graded codebook has levels, this one is {kind}; remove them"
        return
    if len(levels) < 2:
        yield ("levels",), "levels: a graded codebook needs at least two, such as [low, medium, high]"
    for index, level in enumerate(levels):
        if not is_key(level):
            yield ("levels", index), f"levels.{index}: '{printable(level)}' cannot be a key, use letters and digits"
        if level in levels[:index]:
            yield ("levels", index), f"levels.{index}: duplicate level '{level}', remove it"


def printable(text: str) -> str:
    """``text`` fit for one line of a message."""
    return "".join("?" if unprintable(character) else character for character in text)
