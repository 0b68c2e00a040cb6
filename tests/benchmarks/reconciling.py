"""What does counting the verified documents cost when little has changed? By the mirror, against a whole export.

    python tests/benchmarks/reconciling.py [--tasks 2000 8000] [--runs 3]

On a Label Studio started here, one project for each number of tasks: 150 words and two sources' predictions each, half
of them annotated. Told are seconds from asking Label Studio to knowing the verified documents and whether a round is
due: ``first`` with no mirror yet; ``changed 0 / 1 / 20`` with so many tasks coded since the last time; ``export`` as it
were without a mirror. The best of the runs is told, since whatever else runs on the machine only makes them slower.
Prints a table to standard error and one JSON object last to standard output.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import CandidateSet, Proposal, ScoredLabel
from label_configs.render import render_label_config
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.demo.label_studio import LabelStudioServer
from trainer.mirror_file import remove_mirror
from trainer.mirror_refresh import MARGIN
from trainer.rounds import due
from trainer.verified import Look, reading_of

ROOT = Path(__file__).parent.parent.parent
CODEBOOK = load_codebook("reuters8")
FORM = ReviewForm.WHOLE
CHANGED = (0, 1, 20)
WORDS = 150
BATCH = 500
SEED = 20240601


class Bench:
    """A project in Label Studio; ``now`` is as if a minute passed between two looks."""

    def __init__(self, client: LabelStudioClient, project: Project, tasks: int) -> None:
        self.client, self.project = client, project
        self.now = datetime.now(UTC)
        self._draw = random.Random(SEED)
        self.open: list[int] = []
        for start in range(0, tasks, BATCH):
            self.open += self._import(range(start, min(tasks, start + BATCH)))

    def _import(self, numbers: Iterable[int]) -> list[int]:
        """Every second task comes with an annotation; the ids of the others."""
        body = []
        for n in numbers:
            text = " ".join(f"w{self._draw.randrange(5000)}" for _ in range(WORDS))
            made = [{"result": self.result(), "ground_truth": False}] if n % 2 else []
            body.append({"data": {"text": text, "document_id": f"d{n}"}, "annotations": made,
                         "predictions": [self._prediction(name) for name in ("words", "again")]})  # fmt: skip
        path = f"api/projects/{self.project.id}/import?return_task_ids=true"
        ids = [int(one) for one in self.client._post_once(path, body)["task_ids"]]
        return [task for task, n in zip(ids, numbers, strict=True) if not n % 2]

    def result(self) -> list[wire.JsonObject]:
        """What a coder submits, with the record of what was shown."""
        label = self._draw.choice(CODEBOOK.label_keys)
        return wire.coder_result(CODEBOOK, CandidateSet("d", "review-1", ()), FORM, missed=[label])

    def _prediction(self, source: str) -> wire.JsonObject:
        labels = tuple(ScoredLabel(label, 1 / len(CODEBOOK.label_keys)) for label in CODEBOOK.label_keys)
        return wire.source_prediction(CODEBOOK, Proposal("d", source, f"{source}/1", labels), FORM)

    def code(self, number: int) -> None:
        """Coders submit so many open tasks."""
        for _ in range(number):
            body = {"result": self.result(), "lead_time": 5.0}
            self.client._request("POST", f"api/tasks/{self.open.pop()}/annotations/", body)

    def look(self) -> int:
        """Count by the mirror."""
        self.now += timedelta(minutes=1)
        return self._count(Look(self.client, self.project, self.now).reading.examples)

    def by_export(self) -> int:
        """Count by an export."""
        return self._count(reading_of(self.client.export(self.project.id), self.project).examples)

    def quiet(self) -> int:
        """As a reconciliation does where nothing changed: the revision is the same, nothing is counted."""
        self.now += timedelta(minutes=1)
        return len(Look(self.client, self.project, self.now).revision)

    @staticmethod
    def _count(examples: Iterable[object]) -> int:
        names = [str(getattr(one, "document_id", "")) for one in examples]
        due(names, (), thresholds=(100,), every=None)
        return len(names)


def seconds(do: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    do()
    return round(time.perf_counter() - started, 3)


def measure(bench: Bench, runs: int) -> dict[str, float]:
    """Seconds by row, the best of the runs."""
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        remove_mirror(bench.project.folder)
        found.setdefault("first", []).append(seconds(bench.look))
        for number in CHANGED:
            # What was coded in the run before shall not count as new once more.
            threading.Event().wait(MARGIN.total_seconds() + 1)
            bench.look()
            bench.look()
            bench.code(number)
            row = seconds(bench.look if number else bench.quiet)
            found.setdefault(f"changed {number}", []).append(row)
        found.setdefault("export", []).append(seconds(bench.by_export))
        assert bench.look() == bench.by_export()
    return {name: min(turns) for name, turns in found.items()}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="What counting costs when little has changed.")
    parser.add_argument("--tasks", type=int, nargs="+", default=[2000, 8000])
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    sources = tuple(SourceConfig(name, SourceKind.FAKE) for name in ("words", "again"))
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
        home = Path(scratch) / "home"
        client = LabelStudioClient(
            Settings(home=home, label_studio_url=server.url, label_studio_token=SecretStr(server.token()))
        )
        for tasks in asked.tasks:
            project = register(home, client.create_project(f"{tasks} tasks", config), experiment, CODEBOOK)
            rows[tasks] = measure(Bench(client, project, tasks), asked.runs)
            for name, took in rows[tasks].items():
                share = took / rows[tasks]["export"]
                sys.stderr.write(f"{tasks:6} tasks  {name:10} {took:8.3f} s   {share:6.3f} of an export\n")
    shares = {n: {name: round(took / row["export"], 4) for name, took in row.items()} for n, row in rows.items()}
    sys.stdout.write(json.dumps({"rows": rows, "of_an_export": shares, "runs": asked.runs, "words": WORDS}) + "\n")


if __name__ == "__main__":
    main()
