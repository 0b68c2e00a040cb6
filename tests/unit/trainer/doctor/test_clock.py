"""Clocks that differ."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from label_configs.errors import EnvironmentFault
from ml_backend.settings import Settings
from trainer.doctor.clock import check_clock, redis_time
from trainer.mirror_refresh import MARGIN

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_few_seconds_are_tolerated() -> None:
    for seconds in (-4.5, 0, 4.5):
        there = NOW + timedelta(seconds=seconds)
        assert check_clock(lambda at=there: at, "Redis", lambda: NOW) == "Redis's clock is within 5 s of this machine's"


@pytest.mark.parametrize(
    ("seconds", "told"), [(6, "0:00:06 (h:mm:ss) ahead of"), (-5400, "1:30:00 (h:mm:ss) behind this")]
)
def test_more_is_told_with_its_remedy(seconds: float, told: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        check_clock(lambda: NOW + timedelta(seconds=seconds), "Label Studio", lambda: NOW)
    assert told in str(caught.value)
    assert "; set both by NTP" in str(caught.value)


def test_two_clocks_that_err_in_opposite_ways_stay_within_the_mirrors_margin() -> None:
    with pytest.raises(EnvironmentFault):
        check_clock(lambda: NOW + MARGIN / 2 + timedelta(seconds=0.1), "it", lambda: NOW)


def test_a_slow_answer_is_no_skew() -> None:
    times = iter([NOW, NOW + timedelta(seconds=20)])
    assert check_clock(lambda: NOW + timedelta(seconds=10), "it", lambda: next(times)).startswith(
        "it's clock is within"
    )


def test_the_time_of_a_real_redis(redis_url: str) -> None:
    settings = Settings(redis_url=SecretStr(redis_url))
    assert check_clock(lambda: redis_time(settings), "Redis").startswith("Redis's clock is within")
