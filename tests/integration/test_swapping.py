"""An adapter takes over while others work: no request is dropped, no version is pushed after a later one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from label_configs import wire
from label_configs.codebook import Codebook, load_codebook
from label_configs.errors import AdapterError
from label_configs.forms import ReviewForm
from label_configs.records import Document
from label_configs.render import render_label_config
from ml_backend import adapters, jobs, promotions
from ml_backend.adapter_files import Adapter
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import enqueue_prelabel
from ml_backend.prelabel_progress import TaskState, prelabel_progress, tasks_in
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.base import Source
from ml_backend.sources.fake import FakePool
from ml_backend.versions import ActiveSource
from tests.benchmarks.swapping import swapping
from trainer.demo.walk import free_port

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(240)]


def test_requests_during_swaps_are_all_answered_and_of_one_version(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"port": free_port(), "redis_url": None, "chunk_documents": 8, "threads": 1})
    run = swapping(settings, tmp_path, swaps=3, documents=16, pause=0)
    row = run.row()
    assert not run.wrong()
    assert (row["errors"], row["late"], row["swaps"]) == (0, 0, 3)
    assert row["requests"] >= 4
    assert row["seconds_max"] < 10


@dataclass
class SwappingPool:
    """Fake sources; when the first is asked for, an adapter takes over."""

    project: Project
    adapter: Adapter

    def source(self, codebook: Codebook, active: ActiveSource) -> Source:
        promotions.promote(self.project.folder, self.adapter)
        return FakePool().source(codebook, active)


@pytest.fixture
def project(client: LabelStudioClient, settings: Settings) -> Project:
    """A project with two open tasks."""
    codebook = load_codebook("reuters8")
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),), review=Review(ReviewForm.WHOLE))
    number = client.create_project("overtaken", render_label_config(codebook, ReviewForm.WHOLE))
    documents = [Document(f"d{n}", "oil and grain") for n in (1, 2)]
    client.import_tasks(number, [wire.task_data(document, form=ReviewForm.WHOLE) for document in documents])
    return register(settings.home, number, experiment, codebook)


@pytest.fixture
def adapter(project: Project, tmp_path: Path) -> Adapter:
    """One for the project, not promoted."""
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    manifest = {"base": "tiny", "prompt": "zero_shot", "max_document_tokens": 64}
    store = adapters.store_of(project.home)
    return store.publish(tmp_path, manifest | {"codebook": project.codebook.fingerprint})


@pytest.fixture
def ids(client: LabelStudioClient, project: Project) -> list[int]:
    """The tasks."""
    return [int(task["id"]) for task in client.tasks(project.id)]


def test_what_was_proposed_by_the_adapter_before_is_not_pushed(
    client: LabelStudioClient, settings: Settings, redis: Redis, project: Project, adapter: Adapter, ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = Plan.of(project)
    assert enqueue_prelabel(redis, client, project, chunk=4) == 2
    worker = jobs.Context(settings, redis, SwappingPool(project, adapter))  # type: ignore[arg-type]
    monkeypatch.setattr(jobs, "context", lambda: worker)

    assert jobs.prelabel_chunk(project.id, ids, "review") == 2
    after = Plan.of(project)
    assert after.version != before.version
    shown = {str(p["model_version"]) for task in client.tasks(project.id) for p in task["predictions"]}
    assert shown == {after.version, *(version for _, version in after.names)}
    assert client.model_version(project.id) == "", "the prelabelling was for the version before"
    assert enqueue_prelabel(redis, client, project, chunk=4) == 2, "Label Studio is still to show it"
    assert jobs.prelabel_chunk(project.id, ids, "review") == 2
    assert prelabel_progress(redis, project.id)[TaskState.DONE] == 2
    assert client.model_version(project.id) == after.version


def test_an_adapter_that_is_gone_fails_its_tasks_with_the_remedy(
    client: LabelStudioClient, settings: Settings, redis: Redis, project: Project, adapter: Adapter, ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    worker = jobs.Context(settings, redis, FakePool())  # type: ignore[arg-type]
    monkeypatch.setattr(jobs, "context", lambda: worker)
    promotions.promote(project.folder, adapter)
    assert enqueue_prelabel(redis, client, project, chunk=4) == 2
    shutil.rmtree(adapter.folder)
    with pytest.raises(AdapterError, match=f"^adapter {adapter.id}: "):
        jobs.prelabel_chunk(project.id, ids, "review")
    failed = tasks_in(redis, project.id, TaskState.FAILED)
    assert [one.task_id for one in failed] == ids
    assert all(f"adapter {adapter.id}" in one.reason for one in failed)

    promotions.roll_back(project.folder)
    assert enqueue_prelabel(redis, client, project, chunk=4) == 2
    assert jobs.prelabel_chunk(project.id, ids, "review") == 2
    assert client.model_version(project.id) == Plan.of(project).version
