"""Do requests notice that an adapter takes over? Clients drive `/predict` during promotions and roll-backs.

    python -m tests.benchmarks.swapping [--swaps 20]

Real parts: Label Studio with a project, the web process under gunicorn, a propose worker, Redis, a tiny Llama and three
LoRA adapters of it. Each swap is what `winnow adapters promote` and `rollback` do, so all open tasks are proposed for
anew meanwhile. Every answer is held against what was in force between its request and itself: a prediction's version,
that it is the version which the answer names, and the versions of the sources that proposed its candidates. ``wrong``
counts what does not fit, ``late`` requests that were answered without proposals, ``seconds`` of a swap go from the
promotion to the first answer that is of the new version. Prints a table to standard error and one JSON object last to
standard output.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Arm
from label_configs.render import render_label_config
from label_configs.wire.shown import candidates_from_text
from ml_backend import adapters, promotions, queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import ADAPTER_SOURCE, SourceConfig, SourceKind
from ml_backend.training_config import Training
from tests.benchmarks.served import beside_label_studio, served, until
from tests.tiny_models import make_adapter, make_tiny_llama
from trainer.finishing import refresh
from trainer.work import Work

CLIENTS = 4
MOST_TASKS = 8  # in one request
TARGET_SECONDS = 10
WARM_SECONDS = 300  # that the worker may take to load its model
SEED = 20240601


@dataclass(frozen=True, slots=True)
class Reign:
    """A version of the review prediction in force from ``start`` to ``end``, made of these sources' versions."""

    version: str
    sources: frozenset[tuple[str, str]]
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Request:
    """One call of /predict: when, its status, the version that it names, and its predictions."""

    sent: float
    answered: float
    status: int
    version: str
    tasks: int
    predictions: Sequence[wire.JsonObject]


@dataclass
class Swapping:
    """Clients that ask for predictions all the while, and what was in force when.

    Each of the ``clients`` waits ``between`` seconds after an answer. ``warm`` is when the worker, its model loaded,
    had answered once; what was asked before may be late.
    """

    work: Work
    clients: int = CLIENTS
    between: float = 0.0
    requests: list[Request] = field(default_factory=list)
    reigns: list[Reign] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    warm: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, swaps: int, adapter_ids: Sequence[str], pause: float) -> None:
        """Promote the adapters, two and two, and roll each back, ``swaps`` times in all; ``pause`` seconds after each.

        It ends before that where it is told to ``stop``.
        """
        store, project = adapters.store_of(self.work.settings.home), self.work.project
        first, *others = [store.get(adapter_id) for adapter_id in adapter_ids]
        self._swap(lambda: promotions.promote(project.folder, first))
        self._propose_anew()
        clients = [threading.Thread(target=self._ask, args=(number,)) for number in range(self.clients)]
        for client in clients:
            client.start()
        try:
            if not self._wait_for_version(WARM_SECONDS):
                return
            self.warm = time.monotonic()
            for number in range(swaps):
                turn, forward = number % 4, number % 4 < 2
                started = time.monotonic()
                self._swap(lambda turn=turn, forward=forward: (  # type: ignore[misc]
                    promotions.promote(project.folder, others[turn])
                    if forward
                    else promotions.roll_back(project.folder)
                ))  # fmt: skip
                if not self._wait_for_version(6 * TARGET_SECONDS):
                    return
                self.seconds.append(self._first_answer() - started)
                self._propose_anew()
                if self._stop.wait(pause):
                    return
        finally:
            self.stop()
            for client in clients:
                client.join()

    def stop(self) -> None:
        """Have ``run`` end after the swap at hand."""
        self._stop.set()

    def _propose_anew(self) -> None:
        work = self.work
        refresh(work.redis, work.client, work.project, chunk=work.settings.chunk_documents)

    def _swap(self, do) -> None:  # type: ignore[no-untyped-def]
        """What was in force may have been until ``do`` is over, and what comes from its beginning on."""
        started = time.monotonic()
        do()
        plan, now = Plan.of(self.work.project), time.monotonic()
        if self.reigns:
            last = self.reigns.pop()
            self.reigns.append(Reign(last.version, last.sources, last.start, now))
        self.reigns.append(Reign(plan.version, frozenset(plan.names), started, float("inf")))

    def _wait_for_version(self, seconds: float) -> bool:
        """Whether the version in force was answered, and not told to stop before."""
        until(lambda: self._stop.is_set() or self._first_answer() < float("inf"), seconds)
        return self._first_answer() < float("inf")

    def _first_answer(self) -> float:
        """When the version in force was answered first, in full; infinity while it was not."""
        reign = self.reigns[-1]
        return min(
            (
                r.answered
                for r in list(self.requests)
                if r.version == reign.version and r.sent >= reign.start and len(r.predictions) == r.tasks
            ),
            default=float("inf"),
        )

    def _ask(self, seed: int) -> None:
        draw, settings = random.Random(seed), self.work.settings
        tasks = [{key: task[key] for key in ("id", "data")} for task in self.work.client.tasks(self.work.project.id)]
        assert settings.password
        login = (settings.username, settings.password.get_secret_value())
        with httpx.Client(base_url=settings.backend_url, auth=login, timeout=100, trust_env=False) as client:
            while not self._stop.is_set():
                chosen = draw.sample(tasks, draw.randint(1, min(MOST_TASKS, len(tasks))))
                sent = time.monotonic()
                try:
                    answer = client.post("/predict", json={"tasks": chosen, "project": str(self.work.project.id)})
                    body = answer.json() if answer.is_success else {}
                    status = answer.status_code
                except httpx.HTTPError:
                    body, status = {}, 0
                made = [prediction for of_task in body.get("results", []) for prediction in of_task]
                version = str(body.get("model_version", ""))
                self.requests.append(Request(sent, time.monotonic(), status, version, len(chosen), made))
                self._stop.wait(self.between)

    def wrong(self) -> list[str]:
        """What is amiss with predictions, in words."""
        found = []
        for request in self.requests:
            ruled = [r for r in self.reigns if r.start <= request.answered and request.sent <= r.end]
            reign = next((r for r in ruled if r.version == request.version), None)
            if request.status == 200 and reign is None:
                found.append(f"answer of {request.version}, in force were {[r.version for r in ruled]}")
            if reign is not None:
                found += [told for prediction in request.predictions if (told := amiss(prediction, reign))]
        return found

    def row(self) -> dict[str, float]:
        """The figures."""
        return {
            "swaps": len(self.seconds),
            "requests": len(self.requests),
            "predictions": sum(len(r.predictions) for r in self.requests),
            "errors": sum(r.status != 200 for r in self.requests),
            "late": sum(r.status == 200 and len(r.predictions) < r.tasks for r in self.requests if r.sent >= self.warm),
            "wrong": len(self.wrong()),
            "seconds_median": round(statistics.median_high(self.seconds or [0.0]), 2),
            "seconds_max": round(max(self.seconds, default=0.0), 2),
        }


def amiss(prediction: wire.JsonObject, reign: Reign) -> str:
    """What is wrong with a prediction in an answer of this version; empty where nothing is."""
    if prediction["model_version"] != reign.version:
        return f"prediction of {prediction['model_version']} in an answer of {reign.version}"
    (text,) = [item["value"]["text"] for item in prediction["result"] if item["from_name"] == "shown"]
    shown = candidates_from_text(text[0] if isinstance(text, list) else text)
    by = {(proposer.source, proposer.version) for c in shown.candidates for proposer in c.proposers}
    if shown.version != reign.version or by - reign.sources:
        return f"{reign.version} shows {shown.version} with proposals of {sorted(by - reign.sources)}"
    if shown.arm is Arm.REVIEW and ADAPTER_SOURCE not in {source for source, _ in by}:
        return f"{reign.version} without proposals of the adapter"
    return ""


def set_up(settings: Settings, folder: Path, documents: int, *, train_at: int = 100) -> tuple[Project, list[str]]:
    """A project whose adapter is a tiny Llama's, with this many documents; the ids of three such adapters.

    A round is due at ``train_at`` verified documents.
    """
    base, codebook = make_tiny_llama(folder / "tiny-llama"), load_codebook("reuters8")
    experiment = Experiment(
        "reuters8", (SourceConfig("words", SourceKind.FAKE),), review=Review(ReviewForm.WHOLE),
        training=Training(str(base), thresholds=(train_at,)),
    )  # fmt: skip
    client = LabelStudioClient(settings)
    number = client.create_project("swapping", render_label_config(codebook, ReviewForm.WHOLE))
    project = register(settings.home, number, experiment, codebook)
    draw = random.Random(SEED)
    client.import_tasks(
        project.id,
        [
            {"text": " ".join(draw.choices(("oil", "grain", "ship", "gold"), k=20)), "document_id": f"d{n}"}
            for n in range(documents)
        ],
    )
    manifest = {
        "base": str(base), "prompt": "zero_shot", "max_document_tokens": 128, "codebook": codebook.fingerprint,
    }  # fmt: skip
    store = adapters.store_of(settings.home)
    made = [make_adapter(base, folder / f"adapter-{seed}", seed) for seed in (1, 2, 3)]
    return project, [store.publish(one, manifest).id for one in made]


def swapping(settings: Settings, folder: Path, swaps: int, documents: int, pause: float) -> Swapping:
    """Set up, start the processes, and swap."""
    project, adapter_ids = set_up(settings, folder, documents)
    with served(settings, "propose"), queue.connect(settings) as redis:
        run = Swapping(Work(settings, redis, LabelStudioClient(settings), project))
        run.run(swaps, adapter_ids, pause)
        until(lambda: not queue.pushing(redis, project.id), 120)
        assert run.work.client.model_version(project.id) == run.reigns[-1].version, "Label Studio shows another version"
    assert any(source == ADAPTER_SOURCE for source, _ in run.reigns[-1].sources)
    return run


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--documents", type=int, default=200)
    chosen = parser.parse_args()
    with beside_label_studio() as settings:
        run = swapping(settings, settings.home.parent, chosen.swaps, chosen.documents, pause=1)
    row = run.row()
    for name, value in row.items():
        sys.stderr.write(f"{name:16} {value:g}\n")
    for what in run.wrong()[:5]:
        sys.stderr.write(f"wrong: {what}\n")
    met = not (row["errors"] or row["wrong"] or row["late"]) and row["seconds_max"] < TARGET_SECONDS
    setting = {"documents": chosen.documents, "clients": CLIENTS, "target_seconds": TARGET_SECONDS}
    sys.stdout.write(
        json.dumps({"rows": row, "met": met, "all_seconds": [round(s, 2) for s in run.seconds], **setting})
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
