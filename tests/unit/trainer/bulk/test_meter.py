from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from trainer.bulk.meter import Meter, rate_text


class Clock:
    """Seconds as a test sets them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock, out = Clock(), io.StringIO()
    with Meter(1000, 200, Console(file=out), clock) as meter:
        for seconds in (4, 8, 12, 16, 20):
            clock.now = 100.0 + seconds
            meter.advance(40)
        clock.now = 200.0
        meter.advance(600)
    # The rate is this run's: 200 documents were there already.
    assert [record.getMessage() for record in caplog.records] == [
        "classified 320 of 1000 documents, 10 documents/s, 0:01:08 left",
        "classified 1000 of 1000 documents, 8 documents/s, 0:00:00 left",
    ]
    assert out.getvalue() == ""


def test_a_terminal_has_a_bar(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock, out = Clock(), io.StringIO()
    with Meter(1000, 200, Console(file=out, force_terminal=True, width=100), clock) as meter:
        clock.now += 20
        meter.advance(100)
    assert "300/1000" in out.getvalue()
    assert "5 documents/s, 0:02:20 left" in out.getvalue()
    assert not caplog.records


def test_rates_have_the_digits_that_mean_something() -> None:
    assert [rate_text(rate) for rate in (0.01234, 3.14159, 5432.1)] == [
        "0.0123 documents/s", "3.14 documents/s", "5,432 documents/s",
    ]  # fmt: skip
