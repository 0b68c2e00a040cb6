"""Texts changed in ways that do not change what they are about, but may change what a model says of them.

Each way is a function of the text and of a generator that is seeded by the text and a seed: the same text is always
changed alike, on any machine, whatever is changed before it.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

TYPO_RATE = 0.03  # of letters: about one word in eight
LOOK_ALIKE_RATE = 0.1  # of the letters that have one
SPACE_RATE = 0.1  # of places between words
SHARE = 0.5  # of a text's characters that truncation leaves

# Neighbours on a QWERTY keyboard, in its three rows.
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")

# Letters of Cyrillic and Greek that look like Latin ones: Unicode Technical Standard 39, confusables.
_LOOK_ALIKE = str.maketrans("aceijopsxyABEHIKMNOPTXYZ", "асеіјорѕхуАВЕНІКМΝОРТХΥΖ")


@dataclass(frozen=True)
class Perturbation:
    """One way to change a text. ``what`` says in words what is done, and how much of it."""

    key: str
    title: str
    what: str
    _change: Callable[[str, random.Random], str]

    def apply(self, text: str, seed: int = 0) -> str:
        """The changed text; the same for the same text and seed."""
        digest = hashlib.sha256(f"{self.key}\0{seed}\0{text}".encode()).digest()
        return self._change(text, random.Random(digest))


def _upper(text: str, draw: random.Random) -> str:
    del draw
    return text.upper()


def _lower(text: str, draw: random.Random) -> str:
    del draw
    return text.lower()


def neighbours(letter: str) -> str:
    """The letters beside a small letter on its row of a QWERTY keyboard, "" for what is on none."""
    for row in _ROWS:
        at = row.find(letter)
        if at >= 0:
            return row[max(0, at - 1) : at] + row[at + 1 : at + 2]
    return ""


def _typos(text: str, draw: random.Random) -> str:
    made, at = [], 0
    while at < len(text):
        letter, following = text[at], text[at + 1 : at + 2]
        if not letter.isalpha() or draw.random() >= TYPO_RATE:
            made.append(letter)
        else:
            kind = draw.randrange(4)
            beside = neighbours(letter.lower())
            if kind == 0 and beside:  # another key
                struck = draw.choice(beside)
                made.append(struck.upper() if letter.isupper() else struck)
            elif kind == 1:  # struck twice
                made.append(letter * 2)
            elif kind == 2 and following.isalpha():  # two letters change places
                made.append(following + letter)
                at += 1
            # otherwise it is left out
        at += 1
    return "".join(made)


def _look_alike(text: str, draw: random.Random) -> str:
    return "".join(letter.translate(_LOOK_ALIKE) if draw.random() < LOOK_ALIKE_RATE else letter for letter in text)


def _spaces(text: str, draw: random.Random) -> str:
    def changed(found: re.Match[str]) -> str:
        space = found.group()
        if draw.random() >= SPACE_RATE:
            return space
        return draw.choice(("", space * 3, space + "\n", space + "\t"))

    return re.sub(r"\s+", changed, text)


def _truncated(text: str, draw: random.Random) -> str:
    del draw
    left = text[: max(1, math.ceil(len(text) * SHARE))]
    cut_word = len(left) < len(text) and not text[len(left)].isspace()
    whole = re.sub(r"\s+\S*$", "", left) if cut_word else left.rstrip()
    return whole or left


PERTURBATIONS = (
    Perturbation("upper", "Upper case", "all letters in upper case", _upper),
    Perturbation("lower", "Lower case", "all letters in lower case", _lower),
    Perturbation(
        "typos", "Typos",
        f"{TYPO_RATE:.0%} of letters mistyped: a neighbour on the keyboard, doubled, swapped with the next, or left "
        "out, in equal parts", _typos,
    ),
    Perturbation(
        "look_alike", "Look-alike characters",
        f"{LOOK_ALIKE_RATE:.0%} of letters replaced by a Cyrillic or Greek one that looks the same, where there is one",
        _look_alike,
    ),
    Perturbation(
        "spaces", "White space",
        f"{SPACE_RATE:.0%} of the spaces between words lost, tripled, or followed by a line break or a tab", _spaces,
    ),
    Perturbation("truncated", "Truncation", f"the first {SHARE:.0%} of the text, cut between words", _truncated),
)  # fmt: skip
