"""Power laws whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation.power_law import PowerLaw, _nearest, fit, gain_figure

SIZES = (20, 40, 100, 200, 300, 400)


@pytest.mark.parametrize("law", [PowerLaw(0.9, 1.5, 0.5), PowerLaw(0.95, 3.0, 1.2), PowerLaw(0.7, 0.3, 0.05)])
def test_a_law_is_found_again(law: PowerLaw) -> None:
    found = fit(SIZES, [law.at(n) for n in SIZES])
    assert found is not None
    assert (found.a, found.b, found.c) == pytest.approx((law.a, law.b, law.c), rel=1e-5)


def test_the_grid_is_as_near_as_the_fit() -> None:
    rng = np.random.default_rng(0)
    law, n = PowerLaw(0.9, 1.5, 0.5), np.array(SIZES, dtype=float)
    for _ in range(5):
        y = np.array([law.at(one) for one in SIZES]) + rng.normal(0, 0.01, len(SIZES))
        found = fit(SIZES, y.tolist())
        assert found is not None
        a, b, c = _nearest(n / 400, y[None])[0]
        grid = ((a - b * (n / 400) ** -c - y) ** 2).sum()
        fine = sum((found.at(one) - value) ** 2 for one, value in zip(SIZES, y, strict=True))
        assert fine <= grid + 1e-12
        assert grid <= fine * 1.05
        assert found.a <= 1
        assert found.b >= 0


def test_a_figure_that_does_not_rise_has_no_gain() -> None:
    for y in ([0.5] * 6, [0.8, 0.7, 0.6, 0.5, 0.4, 0.3]):
        found = fit(SIZES, y)
        assert found is not None
        assert (found.b, found.gain(400, 100)) == (0, 0)


def test_it_never_promises_more_than_everything() -> None:
    found = fit(SIZES, [0.2, 0.4, 0.6, 0.8, 0.9, 1.0])
    assert found is not None
    assert found.a <= 1
    assert found.at(10**9) <= 1


def test_fewer_than_three_points_are_no_curve() -> None:
    assert fit((20, 40), (0.5, 0.6)) is None
    assert fit((20, 40, 40), (0.5, 0.6, 0.7)) is None
    figure = gain_figure({20: [0.5], 40: [0.6]}, 40, 100, samples=100, seed=0)
    assert (figure.value, figure.why) == (None, "2 points, 3 are needed")
    assert gain_figure({}, 40, 100, samples=100, seed=0).value is None


def test_the_next_documents_with_interval() -> None:
    rng, law = np.random.default_rng(1), PowerLaw(0.9, 1.5, 0.5)
    points = {n: (law.at(n) + rng.normal(0, 0.003, 20)).tolist() for n in SIZES}
    figure = gain_figure(points, 400, 100, samples=500, seed=0)
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < law.gain(400, 100) < figure.high
    assert figure.value == pytest.approx(law.gain(400, 100), abs=0.002)
    assert figure == gain_figure(points, 400, 100, samples=500, seed=0)
    alone = gain_figure({n: own[:1] for n, own in points.items()}, 400, 100, samples=500, seed=0)
    assert alone.value is not None
    assert (alone.low, alone.high) == (None, None), "one seed tells nothing of chance"


def test_when_to_stop() -> None:
    law = PowerLaw(0.9, 1.5, 0.5)
    enough = law.enough(400, 100, 0.005)
    assert enough is not None
    assert law.gain(enough, 100) < 0.005 <= law.gain(enough - 1, 100)
    assert law.enough(enough + 50, 100, 0.005) == enough + 50, "now"
    assert PowerLaw(1.0, 1.0, 0.1).enough(100, 100, 1e-9) is None
