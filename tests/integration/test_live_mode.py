"""Live mode: Label Studio itself asks the backend, by the Data Manager's action, and keeps what it is told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from label_studio_sdk import LabelStudio
from rich.console import Console

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Document
from ml_backend import queue
from ml_backend.experiment import Experiment, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.predicting import PROPOSE_JOB
from ml_backend.proposing import Plan
from ml_backend.set_up import set_up_project
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.conftest import Running
from tests.integration.running import process_named, until
from trainer.demo.label_studio import LabelStudioServer
from trainer.work import Work

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(120)]

CODEBOOK = load_codebook("reuters8")
TEXTS = {
    "harvest": "The grain harvest was poor, and grain is dear.",
    "refinery": "Oil flows again: the refinery takes oil from the north.",
}
SOURCES = ("one/fake@base", "two/fake@base")


@pytest.fixture
def sdk(label_studio: LabelStudioServer) -> LabelStudio:
    return LabelStudio(base_url=label_studio.url, api_key=label_studio.token())


def connected(winnow: Running, form: ReviewForm) -> Work:
    """A project with two documents for which nothing is proposed yet."""
    client = LabelStudioClient(winnow.settings)
    sources = (SourceConfig("first", SourceKind.FAKE, "one"), SourceConfig("second", SourceKind.FAKE, "two"))
    experiment = Experiment("reuters8", sources, review=Review(form))
    project = set_up_project(winnow.settings, client, experiment, CODEBOOK, title=f"live, form {form}")
    work = Work.open(winnow.settings, project.id)
    # Documents of equal text share their proposals, so no two projects have the same texts.
    work.import_documents([Document(name, f"{text} ({project.id})") for name, text in TEXTS.items()])
    return work


def retrieve(sdk: LabelStudio, work: Work) -> None:
    """The Data Manager's action "Retrieve predictions" on all tasks. Raises ApiError where Label Studio refuses."""
    sdk.actions.create(
        id="retrieve_tasks_predictions", project=work.project.id, selected_items={"all": True, "excluded": []}
    )


def versions(work: Work) -> dict[str, list[str]]:
    """Document id -> versions of its predictions, sorted."""
    return {
        task["data"]["document_id"]: sorted(str(p["model_version"]) for p in task["predictions"])
        for task in work.client.tasks(work.project.id)
    }


@pytest.mark.parametrize("form", [ReviewForm.REJECT, ReviewForm.WHOLE])
def test_retrieving_what_was_pushed_makes_no_duplicates(winnow: Running, sdk: LabelStudio, form: ReviewForm) -> None:
    work = connected(winnow, form)
    work.prelabel(Console(quiet=True))
    pushed = versions(work)
    assert pushed == dict.fromkeys(pushed, sorted([*SOURCES, Plan.of(work.project).version]))
    retrieve(sdk, work)
    retrieve(sdk, work)
    assert versions(work) == pushed


def test_a_form_that_draws_on_the_task_is_pushed_and_not_answered(winnow: Running, sdk: LabelStudio) -> None:
    # Label Studio has read the task before it asks: candidates written meanwhile would come too late for the page.
    work = connected(winnow, ReviewForm.REJECT)
    wanted = sorted([*SOURCES, Plan.of(work.project).version])
    retrieve(sdk, work)
    until(lambda: all(found == wanted for found in versions(work).values()), 30)
    work.prelabel(Console(quiet=True))
    retrieve(sdk, work)
    assert versions(work) == {"harvest": wanted, "refinery": wanted}
    assert all(task["data"]["candidates"] for task in work.client.tasks(work.project.id))


def test_what_is_not_ready_is_answered_with_nothing_and_pushed_later(winnow: Running, sdk: LabelStudio) -> None:
    work = connected(winnow, ReviewForm.WHOLE)
    review = Plan.of(work.project).version
    ids = {task["data"]["document_id"]: int(task["id"]) for task in work.client.tasks(work.project.id)}
    propose(work, [ids["harvest"]])
    assert versions(work) == {"harvest": [], "refinery": []}

    worker = process_named(winnow.settings.home, "worker", "propose")
    assert worker is not None
    worker.suspend()
    try:
        retrieve(sdk, work)
        assert versions(work) == {"harvest": [review], "refinery": []}
    finally:
        worker.resume()

    until(lambda: review in versions(work)["refinery"], 30)
    until(lambda: queue.queue(work.redis, queue.PROPOSE).count == 0, 30)
    retrieve(sdk, work)
    assert versions(work) == {"harvest": [review], "refinery": sorted([*SOURCES, review])}


def propose(work: Work, task_ids: Sequence[int]) -> None:
    """Have the worker propose for these tasks without pushing anything."""
    job = queue.enqueue(
        work.redis, queue.PROPOSE, PROPOSE_JOB, [work.project.id, list(task_ids)], job_id="test-propose", timeout=60
    )
    assert job is not None
    until(lambda: job.get_status() == "finished", 30)
