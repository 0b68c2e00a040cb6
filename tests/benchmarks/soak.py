"""An hour of a team's work: does memory stay flat, and is every count exact at its end?

    python -m tests.benchmarks.soak [--minutes 60]

Real parts: Label Studio with a connected project, all processes as `winnow up` starts them, three LoRA adapters of a
tiny Llama beside a source of kind fake. All the while `/webhook` gets 50 events a second, a tenth of them twice; coders
create, change and delete annotations through Label Studio, which sends its own events; `/predict` is asked one to two
times a second; ten times another adapter takes over, spread over the time. Told at the end: that the mirror, the count
of the scheduler and the script's own ledger agree with an export of Label Studio; answers that were refused or of a
wrong version; for each process how its memory grew in the second half of the time, in MB an hour: caches fill in the
first. Prints what is seen each minute to standard error and one JSON object last to standard output. Ctrl-C ends it
early, and it is told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tenacity import RetryError

from label_configs import wire
from label_configs.records import CandidateSet
from ml_backend import queue
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.set_up import connect
from ml_backend.settings import Settings
from tests.benchmarks.served import beside_label_studio, until
from tests.benchmarks.swapping import Swapping, set_up
from tests.benchmarks.webhook import Event, event_body, send, summary
from tests.integration.running import processes_of
from trainer.mirror import Mirror
from trainer.mirror_file import MirrorFile
from trainer.rounds import list_rounds, rounds_folder
from trainer.tally import Tally
from trainer.up import Installation
from trainer.verified import reading_of
from trainer.work import Work

SEED = 20240601
DOCUMENTS = 400
EVENTS = 50.0  # a second
CHANGES = 0.5  # a second, in Label Studio
SWAPS = 10
ASKING, BETWEEN = 2, 1.2  # clients of /predict, and seconds that each waits after an answer
NEVER = 10**6  # verified documents, at which a round were due
BODIES = 200  # different ones among the events
SETTLE_SECONDS = 300  # until the scheduler has seen the last change
NAMES = {"serve": "web", "propose": "propose", "train": "train", "scheduler": "scheduler"}  # by their last argument
FLAT = 5.0  # MB an hour that a process may grow
SHORT = 20  # minutes below which a slope says nothing


class Coders:
    """They create, change and delete annotations, and the script keeps a ledger of what there must be."""

    def __init__(self, settings: Settings, project: Project) -> None:
        self._client, self._project = LabelStudioClient(settings), project
        self._draw = random.Random(SEED)
        tasks = {int(task["id"]): str(task["data"]["document_id"]) for task in self._client.tasks(project.id)}
        self._documents = tasks
        self._ledger: dict[int, int] = {}  # annotation by task
        self.done: Counter[str] = Counter()

    @property
    def coded(self) -> set[str]:
        """Ids of the documents that must be verified."""
        return {self._documents[task] for task in self._ledger}

    def work(self, over: threading.Event) -> None:
        """Until it is over."""
        while not over.wait(self._draw.expovariate(CHANGES)):
            self._change()

    def _change(self) -> None:
        task = self._draw.choice(list(self._documents))
        annotation = self._ledger.get(task)
        if annotation is None:
            body = {"result": self._result(), "lead_time": 5.0}
            self._ledger[task] = int(self._client._post_once(f"api/tasks/{task}/annotations/", body)["id"])
            self.done["created"] += 1
        elif self._draw.random() < 0.5:
            self._client.set_annotation(annotation, self._result())
            self.done["updated"] += 1
        else:
            path = f"api/annotations/{annotation}/"
            answer = self._client._sdk._client_wrapper.httpx_client.request(path, method="DELETE")
            assert answer.status_code == 204, answer
            del self._ledger[task]
            self.done["deleted"] += 1

    def _result(self) -> list[wire.JsonObject]:
        codebook = self._project.codebook
        shown = CandidateSet("d", "review-1", ())
        return wire.coder_result(codebook, shown, self._project.form, missed=[self._draw.choice(codebook.label_keys)])


class Memory:
    """Resident memory of each process and what Redis says that it uses, in MB, by the minute."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._started = settings, time.monotonic()
        self.hours: list[float] = []
        self.rows: list[dict[str, float]] = []
        self.restarts = 0
        self._pids: set[int] = set()

    def watch(self, over: threading.Event, every: float) -> None:
        """Until it is over."""
        while not over.wait(every):
            self._look()

    def _look(self) -> None:
        named = self._processes()
        row = {}
        for name, process in named.items():
            with suppress(psutil.NoSuchProcess):
                row[name] = process.memory_info().rss / 1e6
        with queue.connect(self._settings) as redis:
            row["redis data"] = float(redis.info("memory")["used_memory"]) / 1e6
        pids = {process.pid for process in named.values()}
        self.restarts += len(self._pids - pids)
        self._pids = pids
        self.hours.append((time.monotonic() - self._started) / 3600)
        self.rows.append(row)
        _tell(f"{self.hours[-1] * 60:5.1f} min  " + "  ".join(f"{k} {v:.1f}" for k, v in row.items()) + "  MB")

    def _processes(self) -> dict[str, psutil.Process]:
        """Those that stay; a report for the dashboard is a process that comes and goes."""
        found: dict[str, psutil.Process] = {}
        for process in sorted(processes_of(self._settings.home), key=lambda one: one.pid):
            last = process.cmdline()[-1]
            name = "redis" if "redis" in process.name() else NAMES.get(last, "")
            if name == "web":
                name = f"web {sum(one.startswith('web') for one in found)}"  # the first starts the others
            if name:
                found[name] = process
        return found

    def growth(self) -> dict[str, dict[str, float]]:
        """By process its memory at the start, at the end and at most, and how it grew in the second half."""
        told = {}
        for name in self.rows[0] if self.rows else ():
            pairs = [(hour, row[name]) for hour, row in zip(self.hours, self.rows, strict=True) if name in row]
            warm = [pair for pair in pairs if pair[0] > self.hours[-1] / 2]
            slope = float(np.polyfit(*zip(*warm, strict=True), 1)[0]) if len(warm) > 2 else 0.0
            values = [value for _, value in pairs]
            told[name] = {"first": values[0], "last": values[-1], "most": max(values), "mb_per_hour": slope}
        return {name: {key: round(value, 2) for key, value in row.items()} for name, row in told.items()}


def stream(project: int, over: threading.Event) -> Iterator[Event]:
    """Events without end until it is over, a tenth of them sent twice."""
    draw = random.Random(SEED)
    bodies = [event_body(draw, number, project) for number in range(BODIES)]
    number, again = 0, None
    while not over.is_set():
        body = again or draw.choice(bodies)
        again = body if again is None and draw.random() < 0.1 else None
        yield Event(number / EVENTS, body, False)
        number += 1


def counts(client: LabelStudioClient, project: Project, coders: Coders) -> dict[str, int]:
    """Verified documents by all who count, and in how many documents one of them is off."""
    truth = {one.document_id for one in reading_of(client.export(project.id), project).examples}
    with Mirror(project.folder) as mirror, mirror.tasks(annotated_only=True, predictions=False) as tasks:
        mirrored = {one.document_id for one in reading_of(tasks, project).examples}
    with MirrorFile(project.folder) as file:
        tallied = Tally(file, project).verified()
    off = {"ledger": coders.coded ^ truth, "mirror": mirrored ^ truth, "scheduler": tallied ^ truth}
    return {"verified": len(truth), **{f"off_{name}": len(documents) for name, documents in off.items()}}


def soak(settings: Settings, folder: Path, minutes: float) -> dict[str, Any]:
    """Set up, start all processes, keep them busy and count; the figures."""
    project, adapter_ids = set_up(settings, folder, DOCUMENTS, train_at=NEVER)
    client, over = LabelStudioClient(settings), threading.Event()
    with Installation(settings) as installation, queue.connect(settings) as redis, ThreadPoolExecutor(4) as threads:
        connect(settings, client, project.id)
        coders, memory = Coders(settings, project), Memory(settings)
        swapping = Swapping(Work(settings, redis, client, project), ASKING, BETWEEN)
        started = time.monotonic()
        jobs: list[Future[Any]] = [
            threads.submit(swapping.run, SWAPS, adapter_ids, minutes * 60 / SWAPS),
            threads.submit(send, settings, stream(project.id, over)),
            threads.submit(coders.work, over),
            threads.submit(memory.watch, over, min(60.0, minutes * 2)),
        ]
        try:
            wait(jobs, return_when="FIRST_COMPLETED")
        except KeyboardInterrupt:
            _tell("stopped; the end is told")
        finally:
            swapping.stop()
            over.set()
        (_, answers, _, _) = [job.result() for job in jobs]
        took = (time.monotonic() - started) / 60
        installation.check()
        found: dict[str, int] = {}

        def settled() -> bool:
            found.update(counts(client, project, coders))
            return exact(found)

        with suppress(RetryError):
            until(settled, SETTLE_SECONDS)
    statuses = Counter(str(answer.status) for answer in answers)
    return {
        "minutes": round(took, 1), "events": len(answers), "events_per_second": round(len(answers) / took / 60, 1),
        "event_errors": sum(n for status, n in statuses.items() if status != "200"), "webhook_ms": summary(answers),
        "changes": dict(coders.done), "counts": found, "exact": exact(found),
        "swapping": swapping.row(), "wrong": swapping.wrong()[:5], "rounds": len(_rounds(settings, project)),
        "memory_mb": memory.growth(), "restarts": memory.restarts, "errors_logged": _errors(settings),
        "logs_mb": round(sum(path.stat().st_size for path in settings.logs_folder.iterdir()) / 1e6, 1),
    }  # fmt: skip


def exact(found: dict[str, int]) -> bool:
    """Whether all who count agree."""
    return bool(found) and not any(value for name, value in found.items() if name.startswith("off"))


def _rounds(settings: Settings, project: Project) -> Sequence[object]:
    return list_rounds(rounds_folder(settings.home, project.id))


def _errors(settings: Settings) -> dict[str, int]:
    """Lines that tell of an error, by log."""
    found = {}
    for path in sorted(settings.logs_folder.glob("*.log")):
        with path.open(encoding="utf-8", errors="replace") as lines:
            found[path.stem] = sum("ERROR" in line or "Traceback" in line for line in lines)
    return found


def is_met(told: dict[str, Any]) -> bool:
    """Whether nothing was refused, wrong, off or growing; a slope is asked of a long enough run alone."""
    swaps, grown = told["swapping"], told["memory_mb"].values()
    growing = told["minutes"] > SHORT and any(row["mb_per_hour"] > FLAT for row in grown)
    return told["exact"] and not (told["event_errors"] or swaps["errors"] or swaps["wrong"] or growing)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    chosen = parser.parse_args()
    with beside_label_studio() as settings:
        told = soak(settings, settings.home.parent, chosen.minutes)
    told |= {"met": is_met(told), "flat_mb_per_hour": FLAT, "documents": DOCUMENTS, "cores": os.cpu_count()}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
