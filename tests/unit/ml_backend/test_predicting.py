"""An answer of /predict is of one version, whichever adapter takes over while it waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from rq.results import Result

from label_configs import wire
from label_configs.forms import ReviewForm
from label_configs.wire.shown import candidates_from_text
from ml_backend import adapters, promotions, queue
from ml_backend.adapter_files import Adapter
from ml_backend.experiment import Project, Review
from ml_backend.predicting import Predicted, predict
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.sources.fake import FakePool

TASKS = [{"id": number, "data": {"text": "ship and grain", "document_id": f"d{number}"}} for number in (1, 2)]


@pytest.fixture
def whole(project: Project) -> Project:
    """The project with a form that draws nothing on the task."""
    experiment = replace(project.experiment, review=Review(ReviewForm.WHOLE))
    return register(project.home, project.id, experiment, project.codebook)


@pytest.fixture
def published(whole: Project, tmp_path: Path) -> list[Adapter]:
    """Two adapters for the project, the first of them its current one."""
    manifest = {"base": "tiny", "prompt": "zero_shot", "max_document_tokens": 64}
    manifest |= {"codebook": whole.codebook.fingerprint}
    found = []
    for number in (1, 2):
        folder = tmp_path / f"trained-{number}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
        (folder / "adapter_model.safetensors").write_bytes(b"weights %d" % number)
        found.append(adapters.store_of(whole.home).publish(folder, manifest))
    promotions.promote(whole.folder, found[0])
    return found


def predicted_beside(settings: Settings, redis: Redis, project: Project, *work: Callable[[Redis], None]) -> Predicted:
    """What is answered while a propose worker does this ``work``, one piece for each job that it is given."""

    def run() -> None:
        own = queue.connect(settings)
        line = queue.queue(own, queue.PROPOSE)
        for piece in work:
            while line.count == 0:
                threading.Event().wait(0.02)
            job = line.jobs[0]
            line.remove(job)
            piece(own)
            Result.create(job, Result.Type.SUCCESSFUL, ttl=60, return_value=1)

    worker = threading.Thread(target=run)
    worker.start()
    try:
        return predict(redis, project, TASKS, chunk=4, deadline=20)
    finally:
        worker.join(timeout=10)


def propose(redis: Redis, plan: Plan) -> None:
    plan.propose(redis, [wire.document(task) for task in TASKS], FakePool())


def is_of(made: Predicted, plan: Plan) -> bool:
    """Whether all is there, of this plan's version, with candidates of its sources' versions."""
    shown = []
    for (prediction,) in made.results:
        (text,) = [item["value"]["text"] for item in prediction["result"] if item["from_name"] == "shown"]
        shown.append(candidates_from_text(text[0]))
        assert prediction["model_version"] == made.version
    by = {(p.source, p.version) for one in shown for candidate in one.candidates for p in candidate.proposers}
    return made.version == plan.version == shown[0].version == shown[1].version and by == set(plan.names)


def test_an_adapter_that_takes_over_meanwhile_is_waited_for(
    settings: Settings, redis: Redis, whole: Project, published: list[Adapter]
) -> None:
    def swap(own: Redis) -> None:  # the worker proposes by the plan of the moment
        promotions.promote(whole.folder, published[1])
        propose(own, Plan.of(whole))

    before = Plan.of(whole)
    made = predicted_beside(settings, redis, whole, swap)
    assert is_of(made, Plan.of(whole))
    assert made.version != before.version


def test_what_is_ready_of_the_one_before_is_answered_under_its_name(
    settings: Settings, redis: Redis, whole: Project, published: list[Adapter]
) -> None:
    def swap(own: Redis) -> None:
        propose(own, before)
        promotions.promote(whole.folder, published[1])

    before = Plan.of(whole)
    assert is_of(predicted_beside(settings, redis, whole, swap), before)
    assert before.version != Plan.of(whole).version


def test_a_roll_back_needs_no_worker_for_what_was_proposed_before(
    settings: Settings, redis: Redis, whole: Project, published: list[Adapter]
) -> None:
    propose(redis, before := Plan.of(whole))
    promotions.promote(whole.folder, published[1])
    propose(redis, Plan.of(whole))
    promotions.roll_back(whole.folder)
    assert is_of(predicted_beside(settings, redis, whole), before)


def test_two_swaps_while_it_waits(settings: Settings, redis: Redis, whole: Project, published: list[Adapter]) -> None:
    def first(own: Redis) -> None:  # proposed for the first, too late
        promotions.promote(whole.folder, published[1])

    def second(own: Redis) -> None:
        promotions.roll_back(whole.folder)
        propose(own, Plan.of(whole))

    assert is_of(predicted_beside(settings, redis, whole, first, second), Plan.of(whole))
