"""`winnow up` while its processes are killed and Redis is wiped: it goes on, nothing is lost and nothing doubled."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.render import render_label_config
from ml_backend import queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import enqueue_prelabel
from ml_backend.prelabel_asked import is_asked
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.settings import Settings, with_secrets
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.running import process_named, processes_of, until
from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.walk import free_port
from trainer.tether import tethered
from trainer.up import environment, local_url, web_answers

log = logging.getLogger(__name__)

pytestmark = [
    pytest.mark.label_studio,
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's parent-death signal"),
]

NAMES = {
    "web": ("serve",), "propose": ("worker", "propose"), "train": ("worker", "train"),
    "scheduler": ("worker", "scheduler"),
}  # fmt: skip
TASKS = 9
LONG = 120  # seconds, for a machine with other work
END_SECONDS = 25  # a stop gives each process 10, Redis after the others


@dataclass
class Up:
    """An installation that `winnow up` keeps up, and its project."""

    settings: Settings
    process: subprocess.Popen[str]
    client: LabelStudioClient
    project: Project
    refused: str
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: list[dict[str, object]] = field(default_factory=list)

    def ask(self, path: str, body: dict[str, object]) -> httpx.Response | None:
        """A call as Label Studio's; None where the web process is away."""
        assert self.settings.password
        login = (self.settings.username, self.settings.password.get_secret_value())
        try:
            with httpx.Client(base_url=self.settings.backend_url, auth=login, timeout=60, trust_env=False) as client:
                return client.post(path, json=body)
        except httpx.HTTPError:
            return None

    def load(self, over: threading.Event) -> None:
        """Webhooks all the while; what is answered is kept."""
        while not over.wait(0.2):
            answer = self.ask("/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": self.project.id}})
            self.statuses[answer.status_code if answer else 0] += 1
            if answer is not None and answer.status_code >= 500:
                self.bodies.append(answer.json())

    def pid(self, name: str) -> int:
        """Process id of one of them, 0 while it is away."""
        ending = NAMES.get(name, ())
        for process in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if "redis" in process.name() if name == "redis" else tuple(process.cmdline()[-len(ending) :]) == ending:
                    return process.pid
        return 0

    def kill(self, name: str) -> None:
        """Kill it, and wait until another has taken its place."""
        before = self.pid(name)
        assert before
        os.kill(before, signal.SIGKILL)
        until(lambda: self.pid(name) not in (0, before), LONG)

    def done(self) -> bool:
        """Whether every task has the proposals of the plan in force."""
        version = Plan.of(self.project).version
        return all(
            version in {p["model_version"] for p in t["predictions"]} for t in self.client.tasks(self.project.id)
        )


@pytest.fixture(scope="module")
def up(label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Two are started for one folder at the same moment; the one that is up."""
    folder = tmp_path_factory.mktemp("faults")
    token = SecretStr(label_studio.token())
    settings = with_secrets(
        Settings(
            home=folder / "home", label_studio_url=label_studio.url, label_studio_token=token, port=free_port(),
            reconcile_seconds=2, web_workers=1, chunk_documents=2, threads=1,
        )
    )  # fmt: skip
    codebook = load_codebook("reuters8")
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),), review=Review(ReviewForm.WHOLE))
    client = LabelStudioClient(settings)
    number = client.create_project("faults", render_label_config(codebook, ReviewForm.WHOLE))
    project = register(settings.home, number, experiment, codebook)
    client.import_tasks(number, [{"text": f"oil and grain {n}", "document_id": f"d{n}"} for n in range(TASKS)])
    ports, command = [settings.port, free_port()], tethered([sys.executable, "-m", "trainer.cli", "up"])
    both = [
        subprocess.Popen(
            command, env=environment(settings) | {"WINNOW_PORT": str(port)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for port in ports
    ]  # fmt: skip
    try:
        until(lambda: any(one.poll() is not None for one in both), LONG)
        lost = next(one for one in both if one.poll() is not None)
        (won,) = [one for one in both if one is not lost]
        assert won.stdout is not None
        assert won.stdout.readline().startswith("Winnow is up")
        settings = settings.model_copy(update={"port": ports[both.index(won)]})
        log_of = threading.Thread(target=_drain, args=(won, folder / "up.log"), daemon=True)
        log_of.start()
        yield Up(settings, won, client, project, lost.communicate()[1])
    finally:
        for one in both:
            one.kill()
        for process in processes_of(settings.home):
            process.kill()


def _drain(process: subprocess.Popen[str], path: Path) -> None:
    assert process.stderr is not None
    with path.open("w") as file:
        for line in process.stderr:
            file.write(line)
            file.flush()


def test_one_of_two_that_start_at_once_is_refused(up: Up) -> None:
    assert up.refused.strip().endswith("another `winnow up` uses this folder; stop it or set WINNOW_HOME")


def test_what_is_killed_and_wiped_goes_on(up: Up) -> None:
    rng = random.Random(seed := int(os.environ.get("TEST_SEED", random.randrange(10**6))))
    log.warning("seed %s", seed)
    over = threading.Event()
    load = threading.Thread(target=up.load, args=(over,), daemon=True)
    load.start()
    with queue.client(up.settings) as redis:
        assert enqueue_prelabel(redis, up.client, up.project, chunk=1) == TASKS
        for name in rng.sample(["web", "propose", "train", "redis"], 4):
            log.warning("kill %s", name)
            if name == "redis":
                until(lambda: web_answers(local_url(up.settings)), LONG)  # to tell of it
            up.kill(name)
        until(lambda: _answers(redis), LONG)
        assert is_asked(up.project), "there is something to lose"
        redis.flushall()
        up.kill("scheduler")  # its lock went with Redis
        until(lambda: not is_asked(up.project), LONG)
        assert up.done()
    over.set()
    load.join()
    made = [Counter(p["model_version"] for p in task["predictions"]) for task in up.client.tasks(up.project.id)]
    plan = Plan.of(up.project)
    wanted = {plan.version: 1, **dict.fromkeys((version for _, version in plan.names), 1)}
    assert all(one == wanted for one in made), "one prediction of each version, no more"
    assert set(up.statuses) <= {0, 200, 503}, up.statuses
    assert up.statuses[503], "while Redis was away"
    assert all(set(body) == {"error"} and set(body["error"]) == {"code", "message"} for body in up.bodies)  # type: ignore[call-overload]
    told = (up.settings.home.parent / "up.log").read_text()
    for name in (*NAMES, "redis"):
        assert f"process restarted: process={name}" in told


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except (RedisError, OSError):
        return False


def test_all_end_on_sigterm_under_load(up: Up) -> None:
    up.client.import_tasks(up.project.id, [{"text": f"ships {n}", "document_id": f"s{n}"} for n in range(TASKS)])
    with queue.client(up.settings) as redis:
        assert enqueue_prelabel(redis, up.client, up.project, chunk=1)
        supervising = queue.enqueue(
            redis, queue.TRAIN, "tests.integration.running.supervise", [600.0], job_id="test-train", timeout=900
        )
        assert supervising is not None
        until(lambda: process_named(up.settings.home, "sleep", "600.0"), LONG)
    over = threading.Event()
    load = threading.Thread(target=up.load, args=(over,), daemon=True)
    load.start()
    up.process.terminate()
    assert up.process.wait(END_SECONDS) == 0
    over.set()
    load.join()
    until(lambda: not processes_of(up.settings.home), 5)
    assert "process killed" not in (up.settings.home.parent / "up.log").read_text()
    assert is_asked(up.project), "what was not done is done when it is up again"


def test_a_propose_worker_hands_back_what_it_cannot_end(
    redis_db: str, tmp_path: Path, label_studio: LabelStudioServer
) -> None:
    token = SecretStr(label_studio.token())
    settings = Settings(home=tmp_path, redis_url=SecretStr(redis_db), label_studio_token=token)
    with queue.connect(settings) as redis:
        for name in ("first", "second"):
            assert queue.enqueue(redis, queue.PROPOSE, "time.sleep", [60], job_id=name, timeout=900)
        command = tethered([sys.executable, "-m", "trainer.cli", "worker", "propose"])
        with subprocess.Popen(command, env=environment(settings), stderr=subprocess.PIPE, text=True) as worker:
            first = queue.fetch_job(redis, "first")
            assert first is not None
            until(lambda: first.get_status() == "started", LONG)
            worker.terminate()
            _, told = worker.communicate(timeout=10)
        assert worker.returncode == 0, told
        assert "job handed back: job=first" in told
        assert first.get_status() == "queued"
        assert queue.queue(redis, queue.PROPOSE).job_ids == ["first", "second"]
        assert queue.queue(redis, queue.PROPOSE).started_job_registry.get_job_ids() == []
