"""Signs of rubber-stamping: planted ones are found, differences are Newcombe's, and nobody is flagged on little."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from label_configs.records import Candidate, CandidateSet, Decision
from trainer.evaluation.figure import Figure
from trainer.evaluation.rubber_stamping import (
    AS_SHOWN,
    ENOUGH,
    FAST,
    LeadTimeFloor,
    Sign,
    flags_of,
    share_figure,
    signs,
)
from trainer.evaluation.study import StudyDocument

WORDS = 40  # of a text: its floor is 4 seconds
CANDIDATES = (Candidate("earn", 0.6, ()), Candidate("acq", 0.4, ()))


def made(coder: str, number: int, *, untouched: int = 0, fast: int = 0) -> list[Decision]:
    """So many decisions of a coder, the first of them untouched or fast."""
    return [
        Decision(
            f"d{n}", n, n, coder, "keep", kept=("earn",), untouched=n < untouched, seconds=3.9 if n < fast else 4.1,
            shown=CandidateSet(f"d{n}", "v", CANDIDATES),
        )
        for n in range(number)
    ]  # fmt: skip


def documents(number: int = 200) -> dict[str, StudyDocument]:
    return {f"d{n}": StudyDocument(f"d{n}", "word " * WORDS) for n in range(number)}


def sign_of(found: tuple[Sign, ...], coder: str, kind: str) -> Sign:
    [one] = [sign for sign in found if (sign.coder, sign.kind) == (coder, kind)]
    return one


def test_the_floor_of_a_text() -> None:
    floor = LeadTimeFloor()
    assert floor.seconds("") == floor.seconds("word " * 9) == 1.0
    assert floor.seconds("word " * 40) == 4.0
    assert floor.seconds("word " * 1000) == 10.0
    assert LeadTimeFloor(5.0, 2.0, 60.0).seconds("word " * 100) == 20.0


def test_planted_signs_are_flagged_and_no_others() -> None:
    decisions = [
        *made("careful", 100, untouched=30),
        *made("usual", 100, untouched=35, fast=2),
        *made("stamps", 100, untouched=90, fast=3),
        *made("hurries", 100, untouched=32, fast=60),
    ]
    found = signs(decisions, documents())
    assert {coder: flags_of(found, coder) for coder in ("careful", "usual", "stamps", "hurries")} == {
        "careful": (), "usual": (), "stamps": (AS_SHOWN,), "hurries": (FAST,),
    }  # fmt: skip
    stamps = sign_of(found, "stamps", AS_SHOWN)
    assert (stamps.own.count, stamps.own.n, stamps.others.count, stamps.others.n) == (90, 100, 97, 300)
    assert stamps.above.value == pytest.approx(0.9 - 97 / 300)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Hybrid score (Newcombe 1998, method 10), by hand from Wilson's limits at 95 % over two coders: 97.5 %.
    above = sign_of(
        signs([*made("a", 50, untouched=40), *made("b", 80, untouched=30)], documents()), "a", AS_SHOWN
    ).above
    alpha = 0.05 / 2
    (l1, u1), (l2, u2) = (proportion_confint(c, n, alpha, method="wilson") for c, n in ((40, 50), (30, 80)))
    one, two = 40 / 50, 30 / 80
    low = one - two - np.sqrt((one - l1) ** 2 + (u2 - two) ** 2)
    high = one - two + np.sqrt((u1 - one) ** 2 + (two - l2) ** 2)
    assert (above.low, above.high) == pytest.approx((low, high), abs=1e-9)


def test_all_alike_are_not_flagged_though_all_stamp() -> None:
    found = signs([one for coder in "abc" for one in made(coder, 100, untouched=100, fast=100)], documents())
    assert not any(sign.flagged for sign in found)


def test_little_and_nobody_else_is_said() -> None:
    alone = signs(made("a", 100, untouched=100), documents())
    assert sign_of(alone, "a", AS_SHOWN).above.why == "no other coder to compare with"
    few = signs([*made("a", ENOUGH - 1, untouched=19), *made("b", 100)], documents())
    assert sign_of(few, "a", AS_SHOWN).above == Figure(None, ENOUGH - 1, why="19 decisions, 20 are needed")
    assert not any(sign.flagged for sign in (*alone, *few))
    blind = [Decision("d1", 1, 1, "a", "blind", missed=("earn",), shown=CandidateSet("d1", "v", ()))]
    assert sign_of(signs(blind, documents()), "a", AS_SHOWN).own.figure.why == "no such decision"
    assert sign_of(signs(made("a", 30), {}), "a", FAST).own.n == 0, "without texts nothing is too fast"


def test_wilson_by_hand() -> None:
    # Wilson (1927), 3 of 10: centre (p + z²/2n) / (1 + z²/n).
    z = 1.959963984540054
    centre = (0.3 + z**2 / 20) / (1 + z**2 / 10)
    half = z / (1 + z**2 / 10) * np.sqrt(0.3 * 0.7 / 10 + z**2 / 400)
    found = share_figure(3, 10, "")
    assert (found.value, found.n) == (0.3, 10)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-9)
    assert share_figure(0, 0, "nothing") == Figure(None, 0, why="nothing")
