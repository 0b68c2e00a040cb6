"""Log lines: what an event looks like for a person and as JSON, and what of an error they keep back."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from label_configs.errors import EnvironmentFault
from ml_backend.log_events import LogEvent, tell
from ml_backend.log_format import log_formatter, log_line, places
from ml_backend.request_ids import under

SECRET = "the text of a document"
Written = Callable[[Callable[[logging.Logger], object]], str]


@pytest.fixture(params=["console", "json"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def written(log_format: str) -> Written:
    """What is logged comes back as it is written, in both formats."""

    def written(act: Callable[[logging.Logger], object]) -> str:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(log_formatter(log_format))
        log = logging.Logger("ml_backend.test", logging.INFO)
        log.addHandler(handler)
        act(log)
        return stream.getvalue()

    return written


def as_json(act: Callable[[logging.Logger], object]) -> dict[str, Any]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log_formatter("json"))
    log = logging.Logger("ml_backend.test", logging.INFO)
    log.addHandler(handler)
    act(log)
    (line,) = stream.getvalue().splitlines()
    return dict(json.loads(line))


def fail() -> None:
    """As a library does that quotes what it was given."""
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        raise ValueError(f"cannot read {SECRET!r}") from error


def caught() -> BaseException:
    try:
        fail()
    except ValueError as error:
        return error
    raise AssertionError


def test_every_event_has_a_level_and_says_what_it_means() -> None:
    assert len({event.value for event in LogEvent}) == len(LogEvent)
    for event in LogEvent:
        assert event.level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR), event
        assert event.value == event.name.lower().replace("_", "-")
        assert len(event.meaning) > 10
        assert not event.meaning.endswith(".")
        assert "\n" not in event.meaning


def test_an_event_for_a_person() -> None:
    fields = {"round": "a1", "reason": 'a "better" one', "seconds": 2.50, "adapter": None, "requests": ("one", "two")}
    line = log_line("ml_backend.here", LogEvent.ROUND_ENDED, project=7, **fields)
    assert line.endswith(
        'INFO ml_backend.here round ended: project=7 round=a1 reason="a \\"better\\" one" seconds=2.5 requests=one,two'
    )


def test_an_event_as_json() -> None:
    with under(["first", "second"]):
        found = as_json(lambda log: tell(log, LogEvent.ROUND_ENDED, project=7, metric=0.5, adapter=None))
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "info", "logger": "ml_backend.test", "event": "round-ended", "request": "second",
        "fields": {"project": 7, "metric": 0.5},
    }  # fmt: skip


def test_a_line_of_a_library_as_json() -> None:
    found = as_json(lambda log: log.warning("%s is slow", "disk"))
    assert (found["event"], found["message"], found["level"]) == (None, "disk is slow", "warning")
    assert "request" not in found
    assert "fields" not in found


def test_below_the_level_nothing_is_written(written: Written) -> None:
    def act(log: logging.Logger) -> None:
        log.setLevel(logging.WARNING)
        tell(log, LogEvent.ROUND_STARTED, project=7)

    assert written(act) == ""


@pytest.mark.parametrize("text", ["one\ntwo 2026-01-01 ERROR forged", "\x1b[31mred", "a\r\nb", "a\x85b\u2028c"])
def test_nobody_writes_lines_of_their_own(written: Written, text: str) -> None:
    for act in (
        lambda log: log.warning("said %s", text),
        lambda log: tell(log, LogEvent.PROJECT_FAULTY, project=7, reason=text),
    ):
        line = written(act)
        assert len(line.splitlines()) == 1
        assert line.rstrip("\n").isprintable()


def test_of_an_error_the_places_are_told_and_not_its_words(written: Written) -> None:
    for act in (
        lambda log: tell(log, LogEvent.REQUEST_FAILED, method="GET", path="/x", error=caught()),
        lambda log: log.error("failed", exc_info=caught()),
    ):
        told = written(act)
        assert SECRET not in told
        assert "ValueError" in told
        assert "KeyError" in told
        assert told.count(" fail") >= 1
        assert __name__ in told


def test_an_error_is_one_line_of_json() -> None:
    found = as_json(lambda log: tell(log, LogEvent.REQUEST_FAILED, method="GET", path="/x", error=caught()))
    assert found["event"] == "request-failed"
    assert found["error"][-1] == "ValueError"
    assert "KeyError" in found["error"]


def test_our_own_errors_and_the_kernels_are_told_with_their_words() -> None:
    assert places(EnvironmentFault("port 9 is in use; stop it")) == ["EnvironmentFault: port 9 is in use; stop it"]
    assert places(OSError(28, "No space left on device", "/a/file")) == ["OSError: No space left on device"]
    assert places(OSError(SECRET)) == ["OSError"]


def test_an_error_that_is_its_own_cause_ends() -> None:
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one
    assert places(one) == ["KeyError", "ValueError"]


@pytest.mark.parametrize("log_format", ["json"])
def test_a_process_that_crashes_says_so_in_one_line(log_format: str) -> None:
    program = f"""
import threading
from ml_backend.settings import Settings
from trainer.logs import log_to_stderr
log_to_stderr(Settings(log_format={log_format!r}))
def crash(): raise ValueError({SECRET!r})
thread = threading.Thread(target=crash); thread.start(); thread.join()
crash()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["process-crashed", "process-crashed"]
    assert all(line["error"][-1] == "ValueError" for line in lines)
