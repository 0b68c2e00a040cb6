"""MinHash sketches of texts, and an index of them: which texts are like one, without comparing it with every other.

The similarity of two texts is the Jaccard coefficient of their sets of shingles, three words in a row each (Broder, On
the resemblance and containment of documents, 1997), estimated from 128 minima: its standard error is at most 0.045.
Texts in scripts without spaces are cut into four characters in a row.

Made of whole arrays, since an import computes beside Label Studio: datasketch takes three times as long for the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

MINIMA = 128
WORDS = 3  # of a shingle
CHARACTERS = 4  # of a shingle where there are no spaces
LONGEST_WORD = 10.0  # characters on average; above that, a text has no spaces to speak of
FOUND = 0.95  # probability with which the index finds a text that is as like as its threshold says

Hashes = NDArray[np.uint32]
Wide = NDArray[np.uint64]

_ASCII = bytes(code if chr(code).isalnum() or chr(code) == "_" else 32 for code in range(128)).lower() + bytes(128)
_STEP = np.uint64(0x9E3779B97F4A7C15)  # odd, as are all factors: multiplying by them loses nothing
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)  # bits

_draws = np.random.default_rng(1997)
_FACTORS = _draws.integers(0, 1 << 31, MINIMA, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_TERMS = _draws.integers(0, 1 << 32, MINIMA, dtype=np.uint32)
_BAND_FACTORS = _draws.integers(0, 1 << 63, MINIMA, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_BAND_TERMS = _draws.integers(0, 1 << 63, MINIMA, dtype=np.uint64)


def words(text: str) -> list[bytes]:
    """The words of a text in lower case, without what stands between them."""
    if text.isascii():
        return text.encode().translate(_ASCII).split()
    return " ".join(re.findall(r"\w+", text.lower())).encode().split()


def shingles(text: str) -> Hashes:
    """Hashes of the shingles of a text in their order, without regard to case and punctuation; at least one."""
    parts, size = words(text), WORDS
    whole = b"".join(parts).decode()
    if len(whole) > LONGEST_WORD * len(parts):
        codes, size = np.frombuffer(whole.encode("utf-32-le"), np.uint32).astype(np.uint64), CHARACTERS
    else:
        codes = np.fromiter(map(crc32, parts), np.uint64, len(parts))
    if not len(codes):
        return np.zeros(1, np.uint32)
    size = min(size, len(codes))
    number = len(codes) - size + 1
    hashes: Wide = codes[:number]
    for start in range(1, size):
        hashes = hashes * _STEP + codes[start : start + number]
    hashes = (hashes ^ (hashes >> _HALF)) * _MIX
    return (hashes >> _HALF).astype(np.uint32)


def sketches(texts: Sequence[str]) -> Hashes:
    """``[texts, MINIMA]``: the minima of each text's hashes under as many permutations of the numbers of 32 bits."""
    found = np.empty((MINIMA, len(texts)), np.uint32)
    if not texts:
        return found.T
    each = [shingles(text) for text in texts]
    begins = np.cumsum([0, *map(len, each[:-1])])
    hashes = np.concatenate(each)
    for factor, term, least in zip(_FACTORS, _TERMS, found, strict=True):
        permuted = hashes * factor
        permuted += term
        np.minimum.reduceat(permuted, begins, out=least)
    return np.ascontiguousarray(found.T)


class SketchIndex:
    """Sketches by the bands that they share (Leskovec et al., Mining of Massive Datasets, chapter 3).

    Two texts of similarity s share all minima of at least one of ``bands`` bands of ``rows`` with the probability
    1 - (1 - s^rows)^bands. A sketch takes some three kilobytes.
    """

    def __init__(self, threshold: float) -> None:
        """``threshold`` in (0, 1): from this similarity on texts are to be found, with at least the probability FOUND.

        The longest bands that do so are taken: they bring the fewest texts together that are less like.
        """
        fit = [rows for rows in range(1, MINIMA + 1) if 1 - (1 - threshold**rows) ** (MINIMA // rows) >= FOUND]
        self.rows = max(fit, default=1)
        self.bands = MINIMA // self.rows
        self._sketches: list[Hashes] = []
        self._first: dict[int, int] = {}
        self._others: dict[int, list[int]] = {}  # there are few: a list for every band would take twice the memory

    def keys(self, sketch: Hashes) -> list[int]:
        """The bands, each as one number."""
        minima = sketch[: self.bands * self.rows].reshape(self.bands, self.rows).astype(np.uint64)
        keys: list[int] = (minima @ _BAND_FACTORS[: self.rows] ^ _BAND_TERMS[: self.bands]).tolist()
        return keys

    def sharing(self, keys: Sequence[int]) -> list[int]:
        """The numbers of the sketches that share a band, ascending."""
        found: set[int] = set()
        for key in keys:
            if (first := self._first.get(key)) is not None:
                found.add(first)
                found.update(self._others.get(key, ()))
        return sorted(found)

    def most_like(self, sketch: Hashes, keys: Sequence[int]) -> tuple[float, int]:
        """The similarity and the number of the sketch that is most like, the first of several; (0, -1) without any."""
        numbers = self.sharing(keys)
        if not numbers:
            return 0.0, -1
        shares = (np.stack([self._sketches[number] for number in numbers]) == sketch).mean(axis=1)
        best = int(shares.argmax())
        return float(shares[best]), numbers[best]

    def add(self, sketch: Hashes, keys: Sequence[int]) -> None:
        """Add a sketch; they are numbered from 0."""
        number = len(self._sketches)
        self._sketches.append(sketch)
        for key in keys:
            if self._first.setdefault(key, number) != number:
                self._others.setdefault(key, []).append(number)
