"""A process that trains, as its supervisor sees it: small scripts stand for it, which speak as it does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from label_configs.errors import TrainingError
from tests.integration.running import until
from trainer.supervision import LOG_FILE, TRIES, Watch, supervise

SCRIPT = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def say(**what): print(json.dumps(what), flush=True)
def done(): (folder / "outcome.json").write_text("{}")
starts = folder / "starts"
starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
start = len(starts.read_text())
"""

Supervised = Callable[..., Any]


@pytest.fixture
def told() -> list[Mapping[str, Any]]:
    return []


@pytest.fixture
def run(tmp_path: Path, told: list[Mapping[str, Any]]) -> Supervised:
    """Supervises a script; what it says is told."""

    def run(body: str, **watch: Any) -> tuple[str, ...] | None:
        command = [sys.executable, "-c", SCRIPT + body, str(tmp_path)]
        return supervise(tmp_path, tmp_path / "outcome.json", command, Watch(told.append, **watch))

    return run


def starts(folder: Path) -> int:
    return len((folder / "starts").read_text())


def test_all_that_is_known_is_told_each_time(run: Supervised, tmp_path: Path, told: list[Mapping[str, Any]]) -> None:
    body = """
say(stage="load"); print("a library's word"); print("[1, 2]")
say(stage="train"); say(step=1, steps=2, loss=float("nan"), seconds_left=9.5); say(note="halved"); say(note="halved")
say(step=2, steps=2, loss=0.5); say(stage="judge"); sys.stderr.write("a library's line\\n"); done()
"""
    assert run(body) == ("halved",)
    assert {"stage": "train", "step": 1, "steps": 2, "seconds_left": 9.5, "notes": []} in told
    assert told[-1] == {"stage": "judge", "step": 2, "steps": 2, "loss": 0.5, "notes": ["halved"]}
    assert "a library's line" in (tmp_path / LOG_FILE).read_text()


def test_the_log_is_gone_on_with(run: Supervised, tmp_path: Path) -> None:
    run("sys.stderr.write('first\\n'); done()")
    (tmp_path / "outcome.json").unlink()
    run("sys.stderr.write('second\\n'); done()")
    lines = (tmp_path / LOG_FILE).read_text().splitlines()
    assert [line for line in lines if line in ("first", "second")] == ["first", "second"]
    assert sum("training started: command=" in line for line in lines) == 2


def test_its_own_reason_is_the_rounds(run: Supervised, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^model x: no such folder$"):
        run("say(error='model x: no such folder'); sys.exit(2)")
    assert starts(tmp_path) == 1


def test_one_that_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).mkdir()
    with pytest.raises(TrainingError, match=r"fit\.log: .*Is a directory.*; mend that and train again"):
        supervise(tmp_path, tmp_path / "outcome.json", ["true"], Watch(lambda _: None))


def test_a_killed_one_is_started_again(run: Supervised, tmp_path: Path, told: list[Mapping[str, Any]]) -> None:
    # Killed more often than TRIES, but each time a step further.
    body = f"""
say(step=start, steps=9)
if start <= {TRIES + 2}: os.kill(os.getpid(), signal.SIGKILL)
done()
"""
    notes = run(body)
    assert starts(tmp_path) == TRIES + 3
    assert notes is not None
    assert notes[0] == "its process ended (SIGKILL) after step 1 and was started again"
    assert len(notes) == TRIES + 2


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os._exit(137)", "SIGKILL"),
        ("raise ValueError('what a document says')", "code 1"),
        ("sys.exit(0)", "code 0"),
    ],
)
def test_one_that_gets_no_further_is_given_up(run: Supervised, tmp_path: Path, end: str, how: str) -> None:
    with pytest.raises(TrainingError) as caught:
        run(f"say(step=2, steps=9); {end}")
    assert str(caught.value) == (
        f"its process ended 4 times ({how}) and got no further than step 2; where memory is short, lower "
        f"micro_batch_size in the recipe; see {tmp_path / LOG_FILE}"
    )
    assert starts(tmp_path) == TRIES + 1


ENDLESS = """
signal.signal(signal.SIGTERM, lambda *_: (say(step=7, steps=9), sys.exit(0)))
say(step=1, steps=9)
while True: time.sleep(0.05)
"""


def test_it_ends_at_its_next_step_on_request(run: Supervised, told: list[Mapping[str, Any]]) -> None:
    assert run(ENDLESS, stop=lambda: bool(told and told[-1].get("step"))) is None
    assert told[-1]["step"] == 7, "what it says at its end is heard"


def test_a_request_that_comes_too_late_changes_nothing(run: Supervised) -> None:
    body = "signal.signal(signal.SIGTERM, lambda *_: (done(), os._exit(0)))\nsay(step=1, steps=1)\ntime.sleep(60)"
    assert run(body, stop=lambda: True) in ((), None)


def test_one_that_takes_too_long_is_ended(run: Supervised) -> None:
    with pytest.raises(TrainingError, match=r"^took longer than training\.time_limit_hours, 0\.0003; raise it"):
        run(ENDLESS, limit_seconds=0.0003 * 3600)


def test_ctrl_c_asks_it_to_end_and_nothing_is_left(
    run: Supervised, tmp_path: Path, told: list[Mapping[str, Any]]
) -> None:
    body = "(folder / 'pid').write_text(str(os.getpid()))" + ENDLESS

    def interrupt() -> None:
        deadline = time.monotonic() + 20
        while not (told and told[-1].get("step")) and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(body)
    thread.join()
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert any(one.get("stage") == "stopping" for one in told)


def test_what_it_started_itself_ends_with_it(run: Supervised, tmp_path: Path) -> None:
    body = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(folder / "pid").write_text(str(child.pid)); done()
"""
    assert run(body) == ()
    with suppress(psutil.NoSuchProcess):
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)


def test_what_it_holds_is_held_until_it_ends(run: Supervised, tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as file:
        run(f"os.fstat({file.fileno()}); done()", held=(file.fileno(),))
    assert json.loads((tmp_path / "outcome.json").read_text()) == {}
