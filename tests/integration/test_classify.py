"""Classification over the queue and over HTTP, by real processes, without Label Studio."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from pydantic import SecretStr
from redis import Redis
from rq import Worker

from label_configs.codebook import load_codebook
from label_configs.records import Document, Proposal
from ml_backend import heartbeat, queue
from ml_backend.classify_queue import ClassifyQueue, classify_over_queue
from ml_backend.classifying import ClassifySpec, resolve
from ml_backend.exchange import exchange_of
from ml_backend.experiment import Experiment
from ml_backend.heartbeat import live_workers
from ml_backend.registered_projects import register
from ml_backend.settings import Settings, with_secrets
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.running import until
from trainer.demo.walk import free_port
from trainer.tether import tethered
from trainer.up import environment, web_answers

pytestmark = pytest.mark.timeout(240)

PAGE = Path(__file__).parents[2] / "ml_backend" / "docs" / "http.md"
CODEBOOK = load_codebook("reuters8")
WORDS = SourceConfig("words", SourceKind.FAKE)


@dataclass(frozen=True)
class Installation:
    """Settings and Redis, and the commands that work with them."""

    settings: Settings
    redis: Redis

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """``winnow`` with these arguments, until the end of the block."""
        command = tethered([sys.executable, "-m", "trainer.cli", *arguments])
        with (self.settings.home / f"{'-'.join(arguments)}.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment(self.settings), stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A propose worker that is alive."""
        before = len(live_workers(self.redis))
        with self.running("worker", "propose") as process:
            until(lambda: len(live_workers(self.redis)) > before, 60)
            yield process

    def classify(self, spec: ClassifySpec, chunks: list[list[Document]]) -> Iterator[list[list[Proposal]]]:
        """The chunks over the queue."""
        settings = self.settings
        return classify_over_queue(self.redis, exchange_of(settings), settings.home, spec, iter(chunks), at_once=6)


@pytest.fixture
def winnow(redis_db: str, tmp_path: Path) -> Iterator[Installation]:
    """An installation without a token for Label Studio, and without any process yet."""
    home = tmp_path / "home"
    home.mkdir()
    settings = Settings(home=home, redis_url=SecretStr(redis_db), port=free_port(), threads=1, web_workers=1)
    with queue.connect(settings) as redis:
        yield Installation(with_secrets(settings), redis)


def chunks(number: int, size: int) -> list[list[Document]]:
    text = "The {0} tons of grain went to port {1}, and the price of oil rose by {0} cents."
    return [[Document(f"{k}-{i}", text.format(k, i)) for i in range(size)] for k in range(number)]


def test_a_killed_worker_and_a_wiped_redis_lose_and_double_nothing(
    winnow: Installation, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "ALIVE_SECONDS", 8.0)  # a worker beats every 5
    experiment = Experiment("reuters8", (WORDS, SourceConfig("zero", SourceKind.CAUSAL, str(tiny_llama))))
    spec = resolve(winnow.settings.home, codebook=CODEBOOK, experiment=experiment)
    sent = chunks(10, 60)  # long enough to be met at work
    with winnow.worker() as first:
        by_one = list(winnow.classify(spec, sent))
        with winnow.worker():
            until(lambda: len(live_workers(winnow.redis)) == 2, 30)
            run = winnow.classify(spec, sent)
            by_two = [next(run)]
            killed = kill_at_work(winnow, first)
            with caplog.at_level(logging.WARNING):
                by_two += run
            assert f"classification revived: job={killed}" in caplog.text
            run = winnow.classify(spec, sent)
            after_a_wipe = [next(run)]
            winnow.redis.flushall()
            after_a_wipe += run
    for found in (by_one, by_two, after_a_wipe):
        assert [[[p.document_id for p in row] for row in chunk] for chunk in found] == [
            [[document.id] * 2 for document in chunk] for chunk in sent
        ]
        assert labels(found) == labels(by_one), "two workers say what one says"
    # What the killed worker was just writing stays until it is old, under a name that nobody reads.
    left = [path.name for path in (winnow.settings.home / "exchange").iterdir()]
    assert [name for name in left if not name.startswith(".")] == []


def labels(found: list[list[list[Proposal]]]) -> list[list[tuple[str, list[tuple[str, float]]]]]:
    """Per document and source the labels with their probabilities to four digits."""
    return [
        [(p.source, [(s.label, round(s.probability, 4)) for s in sorted(p.labels, key=lambda s: s.label)]) for p in row]
        for chunk in found
        for row in chunk
    ]


def kill_at_work(winnow: Installation, process: subprocess.Popen[bytes]) -> str:
    """Kill a worker while it has a job in hand whose result it has not told; the job's id."""
    pid, redis, settings = process.pid, winnow.redis, winnow.settings
    line = ClassifyQueue(redis, exchange_of(settings), settings.home)
    (name,) = [w.name for w in Worker.all(connection=redis) if w.pid == pid]
    taken: list[str] = []

    def stopped_at_work() -> bool:
        os.kill(pid, signal.SIGSTOP)
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, 10)  # until then it goes on working
        registry = queue.queue(redis, queue.PROPOSE).started_job_registry
        jobs = [queue.fetch_job(redis, job_id) for job_id in registry.get_job_ids(cleanup=False)]
        own = [job.id for job in jobs if job is not None and job.worker_name == name and not job.ended_at]
        taken[:] = [job_id for job_id in own if (outcome := line.collect(job_id)) and not outcome.ended]
        if not taken:
            os.kill(pid, signal.SIGCONT)
        return bool(taken)

    until(stopped_at_work, 60)
    os.kill(pid, signal.SIGKILL)
    return taken[0]


def test_other_programs_classify_over_http(winnow: Installation) -> None:
    register(winnow.settings.home, 1, Experiment("reuters8", (WORDS,)), CODEBOOK)
    assert winnow.settings.password
    password = winnow.settings.password.get_secret_value()
    url = f"http://127.0.0.1:{winnow.settings.port}"
    with winnow.running("serve"), winnow.worker(), httpx.Client(base_url=url, auth=("winnow", password)) as client:
        until(lambda: web_answers(url), 60)
        assert_the_client_works(url, password)
        first, second = documents("Ship"), documents("Grain")
        answer = client.post("/classify", json={"project": 1, "documents": first, "wait": 60}, timeout=90)
        assert answer.status_code == 200
        assert [result["id"] for result in answer.json()["results"]] == [d["id"] for d in first]
        answer = client.post("/classify", json={"project": 1, "documents": second, "wait": 0})
        assert (answer.status_code, answer.json()["workers"]) == (202, 1)
        status = answer.json()["status_url"]
        until(lambda: client.get(status).json()["state"] == "done", 60)
        results = client.get(status).json()["results"]
        assert [(result["id"], result["chosen"]) for result in results] == [(d["id"], ["grain"]) for d in second]
        assert client.delete(status).status_code == 204
        assert client.get(status).status_code == 404


def documents(subject: str) -> list[dict[str, str]]:
    return [{"id": str(i), "text": f"{subject} number {i}, and what it cost."} for i in range(100)]


def assert_the_client_works(url: str, password: str) -> None:
    """The program in the page on HTTP, as it stands there but for the address."""
    (shown,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    program = shown.replace("http://127.0.0.1:9090", url)
    assert url in program
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={**os.environ, "WINNOW_PASSWORD": password},
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == "d1 words ['grain'] 0.588235\n"
