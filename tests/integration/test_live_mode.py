"""Live mode: Label Studio itself asks the backend, by the Data Manager's action, and keeps what it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from label_studio_sdk import LabelStudio
from rich.console import Console

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Arm, Document
from ml_backend import queue
from ml_backend.arms import arm_of
from ml_backend.experiment import Experiment, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.predicting import PROPOSE_JOB
from ml_backend.proposing import Plan
from ml_backend.set_up import set_up_project
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.conftest import Running
from tests.integration.running import import_documents, process_named, until
from trainer.demo.label_studio import LabelStudioServer
from trainer.work import Work

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(120)]

CODEBOOK = load_codebook("reuters8")
TEXTS = {
    "harvest": "The grain harvest was poor, and grain is dear.",
    "refinery": "Oil flows again: the refinery takes oil from the north.",
}
SOURCES = ("one/fake@base", "two/fake@base")
CHOOSE_SHARE = 0.52  # of these two documents, the second is coded without candidates


@pytest.fixture
def sdk(label_studio: LabelStudioServer) -> LabelStudio:
    return LabelStudio(base_url=label_studio.url, api_key=label_studio.token())


def connected(winnow: Running, form: ReviewForm, choose_share: float = 0.0, like: int | None = None) -> Work:
    """A project with two documents for which nothing is proposed yet; ``like`` that project, with the same texts."""
    client = LabelStudioClient(winnow.settings)
    sources = (SourceConfig("first", SourceKind.FAKE, "one"), SourceConfig("second", SourceKind.FAKE, "two"))
    experiment = Experiment("reuters8", sources, review=Review(form, choose_share=choose_share))
    project = set_up_project(winnow.settings, client, experiment, CODEBOOK, title=f"live, form {form}")
    work = Work.open(winnow.settings, project.id)
    # Documents of equal text share their proposals, so no two projects have the same texts.
    import_documents(work, [Document(name, f"{text} ({like or project.id})") for name, text in TEXTS.items()])
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


@pytest.mark.parametrize("form", [ReviewForm.REJECT, ReviewForm.KEEP, ReviewForm.WHOLE])
def test_opening_reloading_and_retrieving_pile_up_nothing_and_show_what_push_mode_shows(
    winnow: Running, sdk: LabelStudio, form: ReviewForm
) -> None:
    work = connected(winnow, form, CHOOSE_SHARE)
    experiment = work.project.experiment
    assert [arm_of(experiment, name) for name in TEXTS] == [Arm.REVIEW, Arm.CHOOSE]
    sdk.projects.update(work.project.id, evaluate_predictions_automatically=True, show_collab_predictions=True)
    review = Plan.of(work.project).version
    ids = {task["data"]["document_id"]: int(task["id"]) for task in work.client.tasks(work.project.id)}
    assert versions(work) == {name: [] for name in TEXTS}, "Winnow's own reading asks no backend"

    for name in TEXTS:
        open_page(sdk, work, ids[name])
    until(lambda: all(review in found for found in versions(work).values()), 30)
    until(lambda: not queue.pushing(work.redis, work.project.id), 30)
    first = versions(work)
    for found in first.values():
        assert len(found) == len(set(found))
    for _ in range(2):
        for name in TEXTS:
            open_page(sdk, work, ids[name])
        retrieve(sdk, work)
        assert versions(work) == first
    work.prelabel(Console(quiet=True))
    assert all(found.count(review) == 1 and len(found) == len(set(found)) for found in versions(work).values())

    pushed = connected(winnow, form, CHOOSE_SHARE, like=work.project.id)
    pushed.prelabel(Console(quiet=True))
    assert reviews(work, review) == reviews(pushed, Plan.of(pushed.project).version)


def open_page(sdk: LabelStudio, work: Work, task_id: int) -> None:
    """What the page asks for when a coder opens a task from the list, and as the next one of the stream."""
    for path in (
        f"api/tasks/{task_id}/",
        f"api/projects/{work.project.id}/next/",
        f"api/tasks?project={work.project.id}",
    ):
        answer = sdk._client_wrapper.httpx_client.request(path, method="GET")
        assert answer.status_code == 200, answer.text


def reviews(work: Work, version: str) -> dict[str, tuple[float, str, str]]:
    """Document id -> score and results of its only review prediction, without what names the project, and its data."""
    found = {}
    for task in work.client.tasks(work.project.id):
        (one,) = [p for p in task["predictions"] if p["model_version"] == version]
        result = [{key: item[key] for key in ("from_name", "type", "value")} for item in one["result"]]
        text = json.dumps(result, sort_keys=True).replace(version, "")
        found[task["data"]["document_id"]] = (one["score"], text, json.dumps(task["data"].get("candidates")))
    return found
