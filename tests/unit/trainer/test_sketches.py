"""Sketches tell how like texts are, and the index finds those that are like enough."""

from __future__ import annotations

import random
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.sketches import FOUND, MINIMA, SketchIndex, shingles, sketches, words


def text(seed: int, length: int = 150) -> str:
    return " ".join(random.Random(seed).choices([f"w{number}" for number in range(3000)], k=length))


def with_changed(original: str, number: int, seed: int) -> str:
    """The text with some words replaced."""
    parts, draw = original.split(), random.Random(seed)
    for place in draw.sample(range(len(parts)), number):
        parts[place] = f"other{place}"
    return " ".join(parts)


def similarity(one: str, other: str) -> float:
    """The Jaccard coefficient itself."""
    first, second = (
        {tuple(found[start : start + 3]) for start in range(len(found) - 2)} for found in (one.split(), other.split())
    )
    return len(first & second) / len(first | second)


def test_words_are_the_same_whether_a_text_is_ascii_or_not() -> None:
    assert words("Grain_is, 2 TIMES: 'oats'!") == [b"grain_is", b"2", b"times", b"oats"]
    assert words("Grün_ist, 2 mal: “HAFER”!") == ["grün_ist".encode(), b"2", b"mal", b"hafer"]
    assert shingles("The Grain, the ship.").tolist() == shingles("the grain “THE” ship").tolist()


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_that_a_text_with_one_more_word_has(one: str) -> None:
    assert [*words(one), "é".encode()] == words(f"{one} é")


def test_every_text_has_a_shingle_and_a_script_without_spaces_has_many() -> None:
    for short in ("", "?!", "one", "one two", "one two three"):
        assert len(shingles(short)) == 1
    assert len(shingles("one two three four")) == 2
    assert len(set(shingles(text(1)).tolist())) == 148
    assert len(shingles("本文は日本語で書かれていて、単語のあいだに空白がありません。長い文章です。" * 2)) > 20


@given(st.lists(st.text(max_size=60), max_size=8))
def test_a_sketch_does_not_depend_on_what_is_sketched_beside_it(texts: list[str]) -> None:
    together = sketches(texts)
    assert together.shape == (len(texts), MINIMA)
    for one, sketch in zip(texts, together, strict=True):
        assert np.array_equal(sketches([one])[0], sketch)


@pytest.mark.parametrize("changed", [1, 5, 20])
def test_minima_agree_as_often_as_texts_are_alike(changed: int) -> None:
    found, truth = [], []
    for seed in range(100):
        one, other = text(seed), with_changed(text(seed), changed, seed)
        first, second = sketches([one, other])
        found.append(float((first == second).mean()))
        truth.append(similarity(one, other))
    assert mean(found) == pytest.approx(mean(truth), abs=0.015)
    error = np.sqrt(np.mean((np.array(found) - np.array(truth)) ** 2))
    assert error < 1.3 * np.sqrt(mean(t * (1 - t) for t in truth) / MINIMA)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95])
def test_bands_find_what_is_as_like_as_the_threshold_says(threshold: float) -> None:
    index = SketchIndex(threshold)
    assert index.bands * index.rows <= MINIMA
    assert 1 - (1 - threshold**index.rows) ** index.bands >= FOUND
    draw, hits = np.random.default_rng(3), 0
    for _ in range(400):
        sketch = draw.integers(0, 1 << 32, MINIMA, dtype=np.uint32)
        other = np.where(draw.random(MINIMA) < threshold, sketch, sketch + np.uint32(1))
        alone = SketchIndex(threshold)
        alone.add(sketch, alone.keys(sketch))
        share, number = alone.most_like(other, alone.keys(other))
        hits += number == 0
        assert share == pytest.approx((sketch == other).mean() if number == 0 else 0)
    assert hits / 400 > FOUND - 0.03


def test_of_several_sketches_that_share_a_band_the_most_like_is_found() -> None:
    index = SketchIndex(0.8)
    base = np.arange(MINIMA, dtype=np.uint32)
    for same in (40, 127, 90, 127):
        sketch = np.where(np.arange(MINIMA) < same, base, base + np.uint32(1000 + same))
        index.add(sketch, index.keys(sketch))
    share, number = index.most_like(base, index.keys(base))
    assert (round(share, 3), number) == (0.992, 1)
    assert index.most_like(base + np.uint32(5000), index.keys(base + np.uint32(5000))) == (0.0, -1)
