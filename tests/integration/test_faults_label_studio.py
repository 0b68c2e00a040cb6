"""Label Studio is killed and hangs in the midst of an import, a prelabelling, a pull, a count: all come out exact."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Document
from label_configs.render import render_label_config
from label_configs.wire import task_data
from ml_backend import queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.heartbeat import live_workers
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel_progress import TaskState, prelabel_progress
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.settings import Settings, with_secrets
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from tests.integration.coded import CODEBOOK as THINGS
from tests.integration.coded import code
from tests.integration.outages import OwnLabelStudio
from tests.integration.running import until
from tests.integration.test_pull import tasks_in_mirror
from trainer.demo.label_studio import LabelStudioServer
from trainer.evaluation.study_pulled import read_pulled
from trainer.mirror_file import MirrorFile
from trainer.rounds import list_rounds, rounds_folder
from trainer.tally import Tally
from trainer.tether import tethered
from trainer.up import environment
from trainer.verified import reading_of

LONG = 400  # seconds, for a machine with other work
HANGS = 3.0  # seconds

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(3 * LONG)]

CODEBOOK = load_codebook("reuters8")
FORM = ReviewForm.REJECT
SOURCES = tuple(SourceConfig(name, SourceKind.FAKE, name) for name in ("one", "two"))


@pytest.fixture(scope="module")
def own(
    label_studio_executable: Path, label_studio_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnLabelStudio]:
    folder = tmp_path_factory.mktemp("mortal")
    with LabelStudioServer(label_studio_executable, folder, template=label_studio_template) as server:
        yield OwnLabelStudio(server, server.token())


@pytest.fixture(scope="module")
def settings(own: OwnLabelStudio, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    with Redis.from_url(redis_url) as client:
        client.flushall()
    return with_secrets(
        Settings(
            home=tmp_path_factory.mktemp("home"),
            label_studio_url=own.server.url,
            label_studio_token=SecretStr(own.token),
            redis_url=SecretStr(redis_url),
            chunk_documents=4,
            reconcile_seconds=1,
        )
    )


@pytest.fixture(scope="module")
def redis(settings: Settings) -> Iterator[Redis]:
    with queue.client(settings) as client:
        yield client


@pytest.fixture(scope="module")
def client(settings: Settings) -> LabelStudioClient:
    return LabelStudioClient(settings)


@pytest.fixture(scope="module")
def sdk(own: OwnLabelStudio) -> LabelStudio:
    return LabelStudio(base_url=own.server.url, api_key=own.token)


@pytest.fixture(scope="module")
def worker(settings: Settings, redis: Redis) -> Iterator[None]:
    with started(settings, "worker", "propose") as process:
        until(lambda: live_workers(redis), LONG)
        yield
        process.terminate()


def started(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    command = tethered([sys.executable, "-m", "trainer.cli", *arguments])
    return subprocess.Popen(
        command, env=environment(settings), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def made(client: LabelStudioClient, settings: Settings, title: str) -> Project:
    number = client.create_project(title, render_label_config(CODEBOOK, FORM))
    return register(settings.home, number, Experiment("reuters8", SOURCES, review=Review(FORM)), CODEBOOK)


def disturb(own: OwnLabelStudio, done: Callable[[], int], total: int, seed: int) -> None:
    """Kill Label Studio when some of ``total`` is done, and start it; have it hang when more is done."""
    draw = random.Random(seed)
    first, second = draw.randrange(total // 3), draw.randrange(total // 2, 4 * total // 5)
    until(lambda: done() > first, LONG)
    assert done() < total
    own.kill()
    Event().wait(1)  # connections are refused, for as long as the start takes and this
    own.start()
    until(lambda: done() > second, LONG)
    with own.hanging():
        Event().wait(HANGS)


def ended(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=LONG)
    assert process.returncode == 0, out
    return out


def test_an_import(
    own: OwnLabelStudio, client: LabelStudioClient, sdk: LabelStudio, settings: Settings, tmp_path: Path
) -> None:
    project = made(client, settings, "import")
    path, total = tmp_path / "many.csv", 240
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "text"])
        table.writerows([f"d{n}", f"Document {n} of the harvest. " * 4000] for n in range(total))
    command = ["import", str(path), "--project", str(project.id), "--no-prelabel", "--similarity", "1"]
    with started(settings, *command) as process:
        disturb(own, lambda: int(sdk.projects.get(project.id).task_number or 0), total, seed=1)
        told = ended(process)
    assert f"Imported {total} documents into project {project.id}; 0 were there already." in told
    assert "label studio away" in told, "it says what it waits for"
    ids = Counter(str(data["document_id"]) for data in client.task_data(project.id))
    assert ids == Counter(f"d{n}" for n in range(total))


@pytest.mark.usefixtures("worker")
def test_a_prelabelling(own: OwnLabelStudio, client: LabelStudioClient, settings: Settings, redis: Redis) -> None:
    project, total = made(client, settings, "prelabel"), 60
    documents = [Document(f"p{n}", f"Ships and grain and oil, report {n}.") for n in range(total)]
    client.import_tasks(project.id, [task_data(one, text_key="text", form=FORM) for one in documents])
    with started(settings, "prelabel", "--project", str(project.id)) as process:
        disturb(own, lambda: prelabel_progress(redis, project.id)[TaskState.DONE], total, seed=2)
        ended(process)
    plan = Plan.of(project)
    wanted = sorted([plan.version, *(version for _, version in plan.names)])
    tasks = list(client.tasks(project.id))
    assert len(tasks) == total
    for task in tasks:
        assert sorted(one["model_version"] for one in task["predictions"]) == wanted
        assert task["data"]["candidates"]
    assert client.model_version(project.id) == plan.version


def test_a_pull(own: OwnLabelStudio, client: LabelStudioClient, settings: Settings, sdk: LabelStudio) -> None:
    total = 700  # two parts of an export
    number = client.create_project("pull", render_label_config(THINGS, ReviewForm.WHOLE))
    experiment = Experiment("things", SOURCES, review=Review(ReviewForm.WHOLE))
    project = register(settings.home, number, experiment, THINGS)
    code(sdk, project.id, range(total))
    with started(settings, "pull", "--project", str(project.id), "--json") as process:
        disturb(own, lambda: tasks_in_mirror(project), total, seed=3)
        told = ended(process)
    study = read_pulled(project.folder / "pulled")
    raw = reading_of(client.export(project.id), project)
    assert study.decisions == raw.decisions
    assert study.examples == raw.examples
    assert [one.id for one in study.documents.values()] == [one.id for one in raw.documents]
    assert json.loads(told[told.index("{\n") :])["counts"]["documents"] == total
    assert not sdk.views.list(project=project.id), "no tab is left behind"


def test_a_count(
    own: OwnLabelStudio, client: LabelStudioClient, settings: Settings, sdk: LabelStudio, redis: Redis
) -> None:
    number = client.create_project("count", render_label_config(THINGS, ReviewForm.WHOLE))
    training = Training("no-model", thresholds=(40,), quiet_seconds=0)
    experiment = Experiment("things", SOURCES, review=Review(ReviewForm.WHOLE), training=training)
    project = register(settings.home, number, experiment, THINGS)

    def counted() -> tuple[int, int]:
        with MirrorFile(project.folder) as file:
            return file.counts()[1], Tally(file, project).counts(rounds_folder(project.home, project.id)).verified

    def rounds() -> list[str]:
        return list(queue.queue(redis, queue.TRAIN).get_job_ids())

    draw = random.Random(4)
    with started(settings, "worker", "scheduler") as process:
        code(sdk, project.id, range(10))
        until(lambda: counted() == (10, 10), LONG)
        for place, disturbed in enumerate((own.kill, None, own.kill)):
            start = 10 * (place + 1)
            code(sdk, project.id, range(start, start + 9))
            Event().wait(draw.uniform(0, 1.5))  # a look begins every second
            if disturbed:
                disturbed()
                own.start()
            else:
                with own.hanging():
                    Event().wait(HANGS)
            code(sdk, project.id, [start + 9])
            until(rounds if place == 2 else lambda until_now=start + 10: counted() == (until_now, until_now), LONG)
        assert counted() == (40, 40)
        Event().wait(3)  # looks go on
        assert len(rounds()) == 1
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=60)
    assert list_rounds(rounds_folder(project.home, project.id)) == []
