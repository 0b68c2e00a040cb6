"""How fast does `winnow pull` read a project, against a raw snapshot of it, and what does it cost when little changed?

    python tests/benchmarks/pulling.py [--tasks 500 2000] [--runs 2]

On a Label Studio started here, one project for each number of tasks: 150 words, two coders' annotations with the record
of what they were shown, and the predictions of four sources and the review. Told are seconds, and tasks per second, of
``snapshot`` (export, download and parse, all in memory), ``first`` (the whole command, from nothing to Parquet), and
``changed 0 / 1 / 20`` (the command again with so many tasks coded since); ``peak`` is the command's most memory, in
megabytes. ``rate`` is the seconds of a snapshot over those of a first pull. Beside seconds by the clock are those of
the processor, Label Studio's (``server``) and the command's (``own``): they hold on a busy machine too, and where there
are two processors the command works while Label Studio does. The best of the runs is told, since whatever else runs on
the machine only makes them slower. Prints a table to standard error and one JSON object last to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
from pydantic import SecretStr

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Candidate, CandidateSet, Proposal, Proposer, ScoredLabel
from label_configs.render import render_label_config
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.demo.label_studio import LabelStudioServer
from trainer.evaluation.study_pulled import read_pulled
from trainer.mirror_file import remove_mirror
from trainer.mirror_refresh import MARGIN
from trainer.pulled_folder import PULLED

ROOT = Path(__file__).parent.parent.parent
CODEBOOK = load_codebook("reuters8")
FORM = ReviewForm.WHOLE
SOURCES = ("one", "two", "three", "four")
CHANGED = (0, 1, 20)
WORDS = 150
BATCH = 500
SEED = 20240601


# What the kernel tells of a child at its end (ru_maxrss) counts the memory of this process, from which it was forked.
COMMAND = """
import sys
from trainer.cli import main
try:
    main(sys.argv[1:])
finally:
    lines = open("/proc/self/status", encoding="ascii")
    sys.stderr.write(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


class Bench:
    """A project in Label Studio, and the command that pulls it."""

    def __init__(
        self, client: LabelStudioClient, settings: Settings, project: Project, coders: list[int], server: psutil.Process
    ) -> None:
        self._client, self._settings, self._project, self._coders = client, settings, project, coders
        self._server = server
        self._draw = random.Random(SEED)
        self._tasks: list[int] = []
        self.peak = self.own = 0.0
        self.written = 0

    def fill(self, tasks: int) -> None:
        """Import so many tasks with all they have."""
        path = f"api/projects/{self._project.id}/import?return_task_ids=true"
        for start in range(0, tasks, BATCH):
            body = [self._task(number) for number in range(start, min(tasks, start + BATCH))]
            self._tasks += map(int, self._client._post_once(path, body)["task_ids"])

    def _task(self, number: int) -> wire.JsonObject:
        proposals = [self._proposal(number, source) for source in SOURCES]
        shown = self._shown(number, proposals)
        return {
            "data": {"text": " ".join(f"w{self._draw.randrange(5000)}" for _ in range(WORDS)),
                     "document_id": f"d{number}", "language": self._draw.choice(("en", "de"))},
            "annotations": [
                {"result": self._result(shown), "completed_by": coder, "lead_time": 5.0, "ground_truth": False}
                for coder in self._coders
            ],
            "predictions": [*(wire.source_prediction(CODEBOOK, one, FORM) for one in proposals),
                            wire.review_prediction(CODEBOOK, shown, FORM)],
        }  # fmt: skip

    def _proposal(self, number: int, source: str) -> Proposal:
        shares = sorted((self._draw.random() for _ in CODEBOOK.label_keys), reverse=True)
        labels = self._draw.sample(CODEBOOK.label_keys, len(shares))
        scored = (ScoredLabel(*one) for one in zip(labels, (one / sum(shares) for one in shares), strict=True))
        return Proposal(f"d{number}", source, f"{source}/1", tuple(scored), 240, 0.3)

    def _shown(self, number: int, proposals: Iterable[Proposal]) -> CandidateSet:
        by = {one.labels[0].label: one for one in proposals}
        found = tuple(
            Candidate(label, 0.3, (Proposer(one.source, one.version, one.labels[0].probability, 1),))
            for label, one in by.items()
        )
        return CandidateSet(f"d{number}", "winnow-review-1", found)

    def _result(self, shown: CandidateSet) -> list[wire.JsonObject]:
        return wire.coder_result(CODEBOOK, shown, FORM, missed=[self._draw.choice(CODEBOOK.label_keys)])

    def code(self, number: int) -> None:
        """So many tasks, from all over the project, get one more annotation."""
        for task in self._draw.sample(self._tasks, number):
            body = {"result": self._result(CandidateSet("d", "winnow-review-1", ())), "lead_time": 5.0}
            self._client._request("POST", f"api/tasks/{task}/annotations/", body)

    def snapshot(self) -> None:
        """As fast as Label Studio gives a project."""
        assert len(self._client.export(self._project.id)) == len(self._tasks)

    def forget(self) -> None:
        """The next pull is a first one."""
        remove_mirror(self._project.folder)
        shutil.rmtree(self._project.folder / PULLED, ignore_errors=True)

    def pull(self) -> None:
        """Run the command, and note what it took."""
        token = self._settings.label_studio_token
        environment = {
            **os.environ, "WINNOW_HOME": str(self._settings.home), "OMP_NUM_THREADS": "1",
            "WINNOW_LABEL_STUDIO_URL": self._settings.label_studio_url,
            "WINNOW_LABEL_STUDIO_TOKEN": token.get_secret_value() if token else "",
        }  # fmt: skip
        command = [sys.executable, "-c", COMMAND, "pull", "--project", str(self._project.id), "--json"]
        with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as told:
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=answer, stderr=told)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            told.seek(0)
            lines = told.read().decode().splitlines()
            assert process.returncode == 0, lines
            self.peak = int(lines[-1]) / 1024
            self.own = used.ru_utime + used.ru_stime
            answer.seek(0)
            self.written = int(json.load(answer)["written"])

    def timed(self, name: str, do: Callable[[], object]) -> dict[str, float]:
        """How long it takes, by the clock and of Label Studio's processor."""
        server, started = self._served(), time.perf_counter()
        do()
        took = time.perf_counter() - started
        return {name: round(took, 3), f"{name} server": round(self._served() - server, 2)}

    def _served(self) -> float:
        times = [one.cpu_times() for one in (self._server, *self._server.children(recursive=True))]
        return sum(one.user + one.system for one in times)


def measure(bench: Bench, folder: Path, tasks: int, runs: int) -> dict[str, float]:
    """Seconds by row, the best of the runs, and how many blocks were written."""
    found: dict[str, list[float]] = {}

    def note(rows: dict[str, float]) -> None:
        for name, value in rows.items():
            found.setdefault(name, []).append(value)

    for _ in range(runs):
        note(bench.timed("snapshot", bench.snapshot))
        bench.forget()
        note(bench.timed("first", bench.pull))
        note({"first own": round(bench.own, 2), "peak": round(bench.peak, 1)})
        for number in CHANGED:
            # What was coded in the run before shall not count as new once more.
            threading.Event().wait(MARGIN.total_seconds() + 1)
            bench.pull()
            bench.code(number)
            note(bench.timed(f"changed {number}", bench.pull))
            note({f"changed {number} own": round(bench.own, 2), f"written {number}": bench.written})
    assert len(read_pulled(folder).documents) == tasks
    best = {name: min(turns) for name, turns in found.items()}
    rates = {"rate": best["snapshot"] / best["first"], "rate server": best["snapshot server"] / best["first server"]}
    return best | {name: round(value, 3) for name, value in rates.items()}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="What pulling a project costs, against a raw snapshot.")
    parser.add_argument("--tasks", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--runs", type=int, default=2)
    asked = parser.parse_args()
    sources = tuple(SourceConfig(name, SourceKind.FAKE) for name in SOURCES)
    experiment = Experiment("reuters8", sources, review=Review(FORM), training=Training("no-model"))
    config = render_label_config(CODEBOOK, FORM)
    rows: dict[int, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        LabelStudioServer(
            ROOT / ".venv-label-studio" / "bin" / "label-studio", Path(scratch) / "label-studio",
            template=ROOT / ".demo" / "label-studio-template",
        ) as server,
    ):  # fmt: skip
        settings = Settings(
            home=Path(scratch) / "home", label_studio_url=server.url, label_studio_token=SecretStr(server.token())
        )
        client = LabelStudioClient(settings)
        server.create_user("second@example.org", "a password of some length")
        coders = [int(one) for one in client.coder_names()]
        for tasks in asked.tasks:
            project = register(settings.home, client.create_project(f"{tasks} tasks", config), experiment, CODEBOOK)
            bench = Bench(client, settings, project, coders, psutil.Process(server.pid))
            bench.fill(tasks)
            rows[tasks] = measure(bench, project.folder / PULLED, tasks, asked.runs)
            for name, value in rows[tasks].items():
                sys.stderr.write(f"{tasks:6} tasks  {name:18} {value:10g}\n")
    sys.stdout.write(json.dumps({"rows": rows, "runs": asked.runs, "coders": len(coders), "sources": len(SOURCES)}))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
