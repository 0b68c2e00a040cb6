"""How soon does `/webhook` answer when very many events come? Label Studio waits for it inside a coder's own request.

    python -m tests.benchmarks.webhook [--rate 200] [--seconds 60]

The web process is started as `winnow up` starts it, with a real Redis and registered projects. Events come by a
schedule, whether or not earlier ones were answered (an open loop), over a connection each, as Label Studio sends them,
with bodies of 4 to 40 kB; a tenth are events that came before, one in a hundred is START_TRAINING. A latency counts
from the scheduled time, so that waiting for a free process counts too. Prints a table to standard error and one JSON
object last to standard output; the target is 50 ms for 99 of 100 events.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from label_configs.codebook import load_codebook
from ml_backend import changed_projects, queue
from ml_backend.experiment import Experiment
from ml_backend.registered_projects import register
from ml_backend.settings import Settings, with_secrets
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from tests.benchmarks.served import served
from trainer.demo.walk import free_port

SEED = 20240601
SENDERS = 64  # threads; events wait for one only when the server is far behind, and that counts
TARGET_MS = 50
ACTIONS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED")


@dataclass(frozen=True, slots=True)
class Event:
    """One request to come: when, in seconds from the start, and what."""

    at: float
    body: bytes
    trains: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """Seconds from the scheduled time to the end of the answer, and its status, 0 where none came."""

    trains: bool
    seconds: float
    status: int


def events(rate: float, seconds: float, projects: Sequence[int]) -> list[Event]:
    """The schedule."""
    draw = random.Random(SEED)
    made: list[Event] = []
    for number in range(round(rate * seconds)):
        at, project = number / rate, draw.choice(projects)
        if made and draw.random() < 0.1:
            earlier = draw.choice(made[-500:])
            made.append(Event(at, earlier.body, earlier.trains))
        elif number % 100 == 50:
            made.append(Event(at, json.dumps({"action": "START_TRAINING", "project": project}).encode(), True))
        else:
            made.append(Event(at, event_body(draw, number, project), False))
    return made


def event_body(draw: random.Random, number: int, project: int) -> bytes:
    """An event as Label Studio's: the whole task with its predictions, the annotation, and the project's settings."""
    text = " ".join(f"word{draw.randrange(5000)}" for _ in range(draw.randint(380, 4300)))
    result = [{"id": "a1", "from_name": "reject", "to_name": "text", "type": "choices", "value": {"choices": ["C15"]}}]
    annotation = {"id": number, "result": result, "was_cancelled": False, "lead_time": 3.2, "completed_by": 1}
    payload = {
        "action": draw.choice(ACTIONS),
        "annotation": annotation,
        "task": {"id": number, "data": {"text": text, "document_id": f"d{number}"}, "predictions": [result] * 4},
        "project": {"id": project, "title": "A project", "label_config": "<View/>" * 200},
    }
    return json.dumps(payload).encode()


def send(settings: Settings, schedule: Iterable[Event]) -> list[Answered]:
    """Send all events at their times, and wait for the answers; an event is asked for when its turn comes."""
    assert settings.webhook_token
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {settings.webhook_token.get_secret_value()}",
    }
    answers: list[Answered] = []
    upcoming, lock, waiting = iter(schedule), threading.Lock(), threading.Event()
    start = time.perf_counter() + 0.5

    def sender() -> None:
        while True:
            with lock:
                event = next(upcoming, None)
            if event is None:
                return
            if (left := start + event.at - time.perf_counter()) > 0:
                waiting.wait(left)
            status = _post(settings, event.body, headers)
            answers.append(Answered(event.trains, time.perf_counter() - start - event.at, status))

    threads = [threading.Thread(target=sender) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _post(settings: Settings, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=30)
    try:
        connection.request("POST", "/webhook", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def summary(answers: Sequence[Answered]) -> dict[str, float]:
    """Percentiles in milliseconds."""
    found = np.array([answer.seconds for answer in answers]) * 1000
    named = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(found, at)), 1) for name, at in named.items()}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=200, help="events per second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--projects", type=int, default=50, help="registered ones, all of which get events")
    chosen = parser.parse_args()
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),), training=Training("a/model"))
    projects = range(1, chosen.projects + 1)
    with tempfile.TemporaryDirectory() as scratch:
        settings = with_secrets(Settings(home=Path(scratch) / "home", port=free_port()))
        for project in projects:
            register(settings.home, project, experiment, load_codebook("reuters8"))
        schedule = events(chosen.rate, chosen.seconds, projects)
        with served(settings):
            send(settings, [*itertools.islice(schedule, 50)])  # every process has answered once
            answers = send(settings, schedule)
            with queue.connect(settings) as redis:
                noted = changed_projects.wait_changed(redis, 1)
                rounds = queue.queue(redis, queue.TRAIN).count
    errors = sum(answer.status != 200 for answer in answers)
    rows = {"all": summary(answers), "start_training": summary([a for a in answers if a.trains])}
    sizes = [len(event.body) for event in schedule]
    for name, row in rows.items():
        sys.stderr.write(f"{name:16}" + "".join(f"{key} {value:8.1f} ms   " for key, value in row.items()) + "\n")
    sys.stderr.write(f"{len(answers)} events, {errors} errors, {len(noted)} projects noted, {rounds} rounds enqueued\n")
    told = {
        "rows": rows, "target_ms": TARGET_MS, "met": rows["all"]["p99"] <= TARGET_MS and not errors,
        "events": len(answers), "errors": errors, "rate": chosen.rate, "seconds": chosen.seconds,
        "noted": len(noted), "rounds": rounds, "body_bytes": [min(sizes), max(sizes)],
        "web_workers": settings.web_workers, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
