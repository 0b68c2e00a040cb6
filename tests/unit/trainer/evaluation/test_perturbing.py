"""Texts changed a little."""

from __future__ import annotations

import unicodedata

import pytest

from trainer.evaluation.perturbing import PERTURBATIONS, Perturbation, neighbours

TEXT = "The European Parliament asks about exports of wheat from Canada to the port of Rotterdam, and why. " * 20
BY_KEY = {one.key: one for one in PERTURBATIONS}


@pytest.mark.parametrize("one", PERTURBATIONS, ids=lambda one: one.key)
def test_the_same_text_and_seed_are_changed_alike(one: Perturbation) -> None:
    assert one.apply(TEXT, 1) == one.apply(TEXT, 1) != TEXT
    assert one.apply("", 1) == ""
    assert one.apply("x", 1)[:1].strip() or one.key in ("typos", "look_alike")
    if one.key in ("typos", "look_alike", "spaces"):
        assert one.apply(TEXT, 1) != one.apply(TEXT, 2)


def test_a_known_change() -> None:
    """What was measured with one version is measured with the next: these are kept with projects."""
    text = "Wheat exports to the port of Rotterdam fell in the second quarter, says the ministry"
    assert {key: ascii(one.apply(text, 6)) for key, one in BY_KEY.items()} == KNOWN


def test_case() -> None:
    assert BY_KEY["upper"].apply("Straße") == "STRASSE"
    assert BY_KEY["lower"].apply("ÉTÉ") == "été"


def test_typos_are_few_and_letters_only() -> None:
    changed = BY_KEY["typos"].apply(TEXT)
    pairs = list(zip(TEXT.split(), changed.split(), strict=True))
    assert 0.05 < sum(old != new for old, new in pairs) / len(pairs) < 0.3
    assert changed.count(",") == TEXT.count(",")
    assert neighbours("q") == "w"
    assert neighbours("g") == "fh"
    assert neighbours("ж") == ""


def test_look_alike_letters_are_of_other_scripts() -> None:
    changed = BY_KEY["look_alike"].apply(TEXT)
    assert len(changed) == len(TEXT)
    pairs = {(old, new) for old, new in zip(TEXT, changed, strict=True) if old != new}
    assert pairs
    assert all(unicodedata.name(new).startswith(("CYRILLIC", "GREEK")) for _, new in pairs)
    assert all(unicodedata.name(old).startswith("LATIN") for old, _ in pairs)


def test_white_space_alone_is_changed() -> None:
    changed = BY_KEY["spaces"].apply(TEXT)
    assert "".join(changed.split()) == "".join(TEXT.split())
    assert len(changed.split()) < len(TEXT.split()), "some spaces are lost"


def test_truncation_leaves_half_in_whole_words() -> None:
    changed = BY_KEY["truncated"].apply(TEXT)
    assert TEXT.startswith(changed)
    assert 0.45 * len(TEXT) < len(changed) <= 0.5 * len(TEXT)
    assert TEXT[len(changed)].isspace()
    assert BY_KEY["truncated"].apply("word") == "wo", "where there are no words, characters"


KNOWN = {
    "upper": "'WHEAT EXPORTS TO THE PORT OF ROTTERDAM FELL IN THE SECOND QUARTER, SAYS THE MINISTRY'",
    "lower": "'wheat exports to the port of rotterdam fell in the second quarter, says the ministry'",
    "typos": "'Wheat exports to the port of Rotterdam fell in the escond quarter, say tthe ministry'",
    "look_alike": "'Wheat e\\u0445ports to the port of Rotterdam fell in the se\\u0441ond quarter, says the ministry'",
    "spaces": "'Wheat exportsto the \\tport of Rotterdamfell   in the second quarter, saysthe ministry'",
    "truncated": "'Wheat exports to the port of Rotterdam'",
}
