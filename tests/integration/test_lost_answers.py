"""Answers of the real Label Studio are lost after it did what was asked: nothing is done twice, nothing is missing."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from rich.console import Console

from label_configs.codebook import load_codebook
from label_configs.errors import LabelStudioAway
from label_configs.forms import ReviewForm
from label_configs.records import Document
from label_configs.render import render_label_config
from label_configs.wire import task_data
from ml_backend import queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.files import FileRecord
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import enqueue_prelabel
from ml_backend.prelabel_progress import TaskState, prelabel_progress
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.outages import Between
from trainer.demo.label_studio import LabelStudioServer
from trainer.evaluation.study_pulled import read_pulled
from trainer.importing import Importer
from trainer.pull import Pull
from trainer.sending import Sender
from trainer.up import environment

CODEBOOK = load_codebook("reuters8")
FORM = ReviewForm.REJECT
QUIET = Console(quiet=True)
LONG = 400  # seconds, for a machine with other work
BATCHES = "/import?return_task_ids"

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(2 * LONG)]


@pytest.fixture(scope="module")
def between(label_studio: LabelStudioServer) -> Iterator[Between]:
    with Between(label_studio.url) as way:
        yield way


@pytest.fixture
def far(settings: Settings, between: Between) -> Settings:
    """Settings of an installation that reaches Label Studio over the way that loses answers."""
    return settings.model_copy(update={"label_studio_url": between.url, "label_studio_wait_seconds": 20})


@pytest.fixture
def patient(far: Settings) -> LabelStudioClient:
    return LabelStudioClient(far, patient=True)


@pytest.fixture
def project(client: LabelStudioClient, settings: Settings) -> Project:
    made = client.create_project("lost answers", render_label_config(CODEBOOK, FORM))
    sources = tuple(SourceConfig(name, SourceKind.FAKE, name) for name in ("one", "two"))
    return register(settings.home, made, Experiment("reuters8", sources, review=Review(FORM)), CODEBOOK)


def documents(number: int) -> list[Document]:
    return [Document(f"d{n}", f"Document {n} of the grain harvest. " * 3000) for n in range(number)]


def names(client: LabelStudioClient, project: Project) -> Counter[str]:
    return Counter(str(data["document_id"]) for data in client.task_data(project.id))


@pytest.mark.parametrize("status", [0, 502])
def test_what_arrived_is_not_imported_again(
    between: Between, client: LabelStudioClient, patient: LabelStudioClient, project: Project, status: int
) -> None:
    found = documents(60)
    between.lose("POST", BATCHES, 2, status)
    done = Importer(patient, project, similarity=1).run([FileRecord(one) for one in found], len(found), QUIET)
    assert done.imported == len(found)
    assert len(between.lost) >= 2
    assert names(client, project) == Counter(one.id for one in found)


def test_what_a_hanging_label_studio_does_late_is_removed_again(
    client: LabelStudioClient, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    batch = [task_data(Document(f"d{n}", f"Text {n}."), text_key="text", form=FORM) for n in range(6)]
    sender = Sender(client, project.id)
    assert list(sender.there()) == []
    late = client.import_tasks(project.id, batch[:4])  # what an import before this one had asked for
    assert sender.send(batch) == 6
    doubled = [task["id"] for task in client.tasks(project.id) if task["id"] not in late][:4]
    client._sdk.annotations.create(doubled[0], result=[])  # of a coder who was quick
    assert sender.settle() == 3
    assert "doubles removed" in caplog.text
    assert names(client, project) == Counter({"d0": 2, **{f"d{n}": 1 for n in range(1, 6)}})
    client.delete_tasks(project.id, [])
    assert sum(names(client, project).values()) == 7, "of no tasks, not of all"


def test_predictions_that_arrived_are_not_pushed_again(
    between: Between, client: LabelStudioClient, far: Settings, redis: Redis, project: Project
) -> None:
    client.import_tasks(
        project.id,
        [task_data(Document(f"d{n}", f"Grain and ships, {n}."), text_key="text", form=FORM) for n in range(10)],
    )
    enqueue_prelabel(redis, client, project, chunk=4)
    between.lose("POST", "/import/predictions", 2)
    between.lose("POST", "/import/predictions", 1, 500)
    between.lose("PATCH", "/api/tasks/", 3)
    between.lose("PATCH", f"/api/projects/{project.id}", 2, 503)
    before = len(between.lost)
    command = [sys.executable, "-m", "trainer.cli", "worker", "propose", "--burst"]
    done = subprocess.run(command, env=environment(far), capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, done.stderr
    assert len(between.lost) - before == 8, between.lost
    progress = prelabel_progress(redis, project.id)
    assert (progress[TaskState.DONE], progress.total) == (10, 10)
    plan = Plan.of(project)
    wanted = sorted([plan.version, *(version for _, version in plan.names)])
    for task in client.tasks(project.id):
        assert sorted(one["model_version"] for one in task["predictions"]) == wanted
        assert task["data"]["candidates"]
    assert client.model_version(project.id) == plan.version
    assert queue.queue(redis, queue.PROPOSE).failed_job_registry.count == 0


def test_a_pull_is_whole_and_leaves_nothing_behind(
    between: Between, client: LabelStudioClient, patient: LabelStudioClient, project: Project, tmp_path: Path
) -> None:
    client.import_tasks(
        project.id, [task_data(Document(f"d{n}", f"Text {n}."), text_key="text", form=FORM) for n in range(30)]
    )
    for method, path in (
        ("GET", "/api/projects/"), ("POST", "/api/dm/views/"), ("POST", "/exports/"), ("GET", "/download"),
        ("DELETE", "/exports/"), ("DELETE", "/api/dm/views/"), ("GET", "/api/tasks/"),
    ):  # fmt: skip
        between.lose(method, path)
        between.lose(method, path, 1, 503)
    before = len(between.lost)
    Pull(project, tmp_path / "disturbed", QUIET).run(patient)
    assert len(between.lost) - before >= 12, between.lost
    other = replace(project, folder=tmp_path / "elsewhere" / "projects" / "1")  # with a mirror of its own
    other.folder.mkdir(parents=True)
    Pull(other, tmp_path / "calm", QUIET).run(client)
    calm, disturbed = (read_pulled(tmp_path / name) for name in ("calm", "disturbed"))
    assert disturbed.documents == calm.documents
    assert len(calm.documents) == 30
    assert not client._sdk.views.list(project=project.id), "no tab is left behind"
    assert not client._sdk.projects.exports.list(project.id), "no snapshot is left behind"


def test_beyond_the_bound_one_line_is_said_and_the_same_command_goes_on(
    between: Between, client: LabelStudioClient, far: Settings, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    short = far.model_copy(update={"label_studio_wait_seconds": 5})
    records = [FileRecord(one) for one in documents(60)]
    impatient = LabelStudioClient(short, patient=True)
    between.lose("POST", BATCHES, 1)
    between.lose("GET", "/api/tasks", 1000, 503)
    between.lose("GET", "/api/projects", 1000, 503)
    impatient._sdk.users.whoami()  # it has been there
    with pytest.raises(LabelStudioAway, match=r"Label Studio at http://\S+: .*") as caught:
        Sender(impatient, project.id).send([task_data(one.document, text_key="text", form=FORM) for one in records])
    assert "\n" not in str(caught.value)
    assert "label studio away" in caplog.text
    between.forget()
    done = Importer(LabelStudioClient(far, patient=True), project, similarity=1).run(records, len(records), QUIET)
    assert done.known + done.imported == 60
    assert done.known > 0
    assert set(names(client, project).values()) == {1}
