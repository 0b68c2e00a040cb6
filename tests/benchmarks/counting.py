"""Does what counting costs here grow with the project, where one task has changed? In CPU time, beside Label Studio's.

    OMP_NUM_THREADS=1 python tests/benchmarks/counting.py [--tasks 2000 20000] [--runs 50]

Label Studio is in memory, half of its tasks of 150 words are annotated. One more is, a minute passes, and it is asked
whether a round is due: that is timed less the time that the stand-in for Label Studio takes, which goes through all of
its tasks for every answer. ``first`` is a mirror made and counted anew, the median of the others is told. Prints a
table to standard error and one JSON object last to standard output.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import CandidateSet
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.task_reader import Pulse, TaskStamp
from ml_backend.training_config import Training
from trainer.mirror_file import MirrorFile
from trainer.rounds import due_by, rounds_folder
from trainer.tally import Tally
from trainer.verified import Look

CODEBOOK = load_codebook("reuters8")
PROJECT = 7
WORDS = 150
SEED = 20240601


class Timed(FakeLabelStudio):
    """Counts the CPU seconds of its own answers."""

    own = 0.0

    def _of(self, answer: Callable[[], object]) -> object:
        started = time.process_time()
        found = answer()
        self.own += time.process_time() - started
        return found

    def pulse(self, project_id: int) -> Pulse:
        """See ``TaskReader``."""
        found = self._of(lambda: FakeLabelStudio.pulse(self, project_id))
        assert isinstance(found, Pulse)
        return found

    def task_stamps(self, project_id: int, since: str | None = None) -> Iterator[TaskStamp]:
        """See ``TaskReader``."""
        found = self._of(lambda: list(FakeLabelStudio.task_stamps(self, project_id, since)))
        assert isinstance(found, list)
        yield from found

    def whole_tasks(self, project_id: int, task_ids: Sequence[int]) -> Iterator[wire.JsonObject]:
        """See ``TaskReader``."""
        found = self._of(lambda: list(FakeLabelStudio.whole_tasks(self, project_id, task_ids)))
        assert isinstance(found, list)
        yield from found


def result() -> list[wire.JsonObject]:
    """What a coder submits, with the record of what was shown."""
    return wire.coder_result(CODEBOOK, CandidateSet("d", "review-1", ()), ReviewForm.WHOLE, missed=["earn"])


def measure(home: Path, tasks: int, runs: int) -> dict[str, float]:
    """CPU seconds of a project with so many tasks."""
    draw, now = random.Random(SEED), datetime(2030, 1, 1, tzinfo=UTC)
    fake = Timed(PROJECT, lambda: now)
    sources = (SourceConfig("words", SourceKind.FAKE),)
    experiment = Experiment("reuters8", sources, review=Review(ReviewForm.WHOLE), training=Training("no-model"))
    project = Project(PROJECT, experiment, CODEBOOK, home / str(tasks))
    texts = (" ".join(f"w{draw.randrange(5000)}" for _ in range(WORDS)) for _ in range(tasks))
    made = [{"result": result(), "ground_truth": False}]
    for n, text in enumerate(texts):
        fake.import_tasks([{"text": text, "document_id": f"d{n}"}], () if n % 2 else made)

    def look() -> float:
        nonlocal now
        now += timedelta(minutes=1)
        started, before = time.process_time(), fake.own
        assert Look(fake, project, now).revision
        with MirrorFile(project.folder) as file:
            counts = Tally(file, project).counts(rounds_folder(project.home, PROJECT))
        due_by(counts, thresholds=(100,), every=None)
        took = time.process_time() - started - (fake.own - before)
        assert counts.verified == verified
        return took

    verified = (tasks + 1) // 2
    first, changed = look(), []
    look()
    for n in range(runs):
        fake.annotate(2 * n + 2, result())
        verified += 1
        changed.append(look())
    return {"first": round(first, 4), "changed 1": round(statistics.median(changed), 5)}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="What counting costs here when one task has changed.")
    parser.add_argument("--tasks", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--runs", type=int, default=50)
    asked = parser.parse_args()
    rows: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for tasks in asked.tasks:
            rows[tasks] = measure(Path(scratch), tasks, asked.runs)
            sys.stderr.write(f"{tasks:6} tasks  {json.dumps(rows[tasks])} CPU s\n")
    one = [row["changed 1"] for row in rows.values()]
    ratio = round(one[-1] / one[0], 3)
    sys.stdout.write(json.dumps({"rows": rows, "last_to_first": ratio, "runs": asked.runs, "words": WORDS}) + "\n")


if __name__ == "__main__":
    main()
