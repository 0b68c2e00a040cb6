"""Prelabelling with the real server and workers: arms, open tasks, and what is said of every task."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from label_studio_sdk import LabelStudio
from rich.console import Console

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.errors import QueueError
from label_configs.forms import ReviewForm
from label_configs.records import Arm, CandidateSet, Document
from label_configs.wire.shown import candidates_from_text
from ml_backend import queue
from ml_backend.arms import arm_of, coders_of
from ml_backend.experiment import Experiment, Review
from ml_backend.heartbeat import WORKERS_KEY
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel_progress import TaskState, prelabel_progress, tasks_in
from ml_backend.proposing import Plan
from ml_backend.pushing import HAS_DRAFT
from ml_backend.registered_projects import register
from ml_backend.set_up import set_up_project
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.conftest import Running
from tests.integration.running import import_documents, process_named, until
from trainer.demo.label_studio import LabelStudioServer
from trainer.leftovers import Leftovers
from trainer.prelabelling import Prelabelling
from trainer.up import environment
from trainer.work import Work

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(180)]

CODEBOOK = load_codebook("reuters8")
SOURCES = (SourceConfig("first", SourceKind.FAKE, "one"), SourceConfig("second", SourceKind.FAKE, "two"))
OWN = ["one/fake@base", "two/fake@base"]
QUIET = Console(quiet=True)


@dataclass(frozen=True)
class Arms:
    """A prelabelled project with documents in every arm."""

    work: Work
    sdk: LabelStudio
    second: LabelStudio  # another coder
    tasks: Mapping[str, int]

    def of(self, arm: Arm) -> list[str]:
        """Ids of the documents in this arm."""
        return [name for name in self.tasks if arm_of(self.work.project.experiment, name) is arm]

    def task(self, name: str) -> dict[str, Any]:
        """A document's task as it is now."""
        (task,) = self.work.client.tasks(self.work.project.id, [self.tasks[name]])
        return task

    def versions(self, name: str) -> list[str]:
        """Versions of a task's predictions, oldest first."""
        return [str(p["model_version"]) for p in sorted(self.task(name)["predictions"], key=lambda p: int(p["id"]))]


@pytest.fixture(scope="module")
def arms(winnow: Running, label_studio: LabelStudioServer) -> Iterator[Arms]:
    review = Review(ReviewForm.REJECT, blind_share=0.3, choose_share=0.3)
    client = LabelStudioClient(winnow.settings)
    project = set_up_project(
        winnow.settings, client, Experiment("reuters8", SOURCES, review=review), CODEBOOK, title="arms"
    )
    work = Work.open(winnow.settings, project.id)
    import_documents(work, [Document(f"doc-{n}", f"Grain and oil, report {n} of {project.id}.") for n in range(18)])
    work.prelabel(QUIET)
    tasks = {task["data"]["document_id"]: int(task["id"]) for task in client.tasks(project.id)}
    sdk = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())
    token = label_studio.create_user("arms@example.com", "a-long-password-17")
    found = Arms(work, sdk, LabelStudio(base_url=label_studio.url, api_key=token), tasks)
    assert all(len(found.of(arm)) >= 3 for arm in Arm)
    yield found
    work.redis.close()


def shown(task: Mapping[str, Any]) -> CandidateSet:
    """What the task's last prediction shows."""
    last = max(task["predictions"], key=lambda p: int(p["id"]))
    (record,) = [item for item in last["result"] if item["from_name"] == "shown"]
    return candidates_from_text(record["value"]["text"][0])


def test_each_arm_has_what_it_may_see(arms: Arms) -> None:
    review = Plan.of(arms.work.project).version
    for arm, versions in ((Arm.REVIEW, [*OWN, review]), (Arm.CHOOSE, [*OWN, review]), (Arm.BLIND, [review])):
        for name in arms.of(arm):
            task = arms.task(name)
            assert arms.versions(name) == versions
            assert bool(task["data"]["candidates"]) == (arm is Arm.REVIEW)
            assert shown(task).arm is arm
            assert bool(shown(task).candidates) == (arm is Arm.REVIEW)
            flags = [item["value"]["choices"] for item in last_result(task) if item["from_name"] == "flag"]
            assert flags == ([] if arm is Arm.REVIEW else [["missing"]])
    blind = json.dumps([arms.task(name) for name in arms.of(Arm.BLIND)], default=str)
    assert "fake" not in blind
    assert "first" not in blind


def last_result(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(max(task["predictions"], key=lambda p: int(p["id"]))["result"])


def test_a_blind_document_gets_the_sources_once_it_is_coded(arms: Arms) -> None:
    review = Plan.of(arms.work.project).version
    leftovers = Leftovers(arms.work.redis, arms.work.client, chunk=4)
    first, second, still_open = arms.of(Arm.BLIND)[:3]
    code(arms, first)
    arms.work.prelabel(QUIET)
    until(lambda: arms.versions(first) == [review, *OWN], 30)
    code(arms, second)
    assert leftovers.look(arms.work.project) in (0, 1)  # the scheduler may have been faster
    until(lambda: arms.versions(second) == [review, *OWN], 30)
    assert leftovers.look(arms.work.project) == 0
    arms.work.prelabel(QUIET)
    until(lambda: not queue.pushing(arms.work.redis, arms.work.project.id), 30)
    assert arms.versions(first) == arms.versions(second) == [review, *OWN]
    assert arms.versions(still_open) == [review]


def code(arms: Arms, name: str) -> None:
    result = wire.coder_result(CODEBOOK, shown(arms.task(name)), ReviewForm.REJECT, missed=["grain"])
    arms.sdk.annotations.create(id=arms.tasks[name], result=result)


def test_a_task_that_another_coder_has_open_keeps_its_candidates(arms: Arms) -> None:
    work, name = arms.work, arms.of(Arm.REVIEW)[0]
    before = arms.task(name)
    draft = open_draft(arms, name)
    try:
        # Another source is another plan: all open tasks are proposed anew.
        experiment = Experiment("reuters8", SOURCES[:1], review=work.project.experiment.review)
        project = register(work.settings.home, work.project.id, experiment, CODEBOOK)
        changed = Work(work.settings, work.redis, work.client, project)
        said = io.StringIO()
        changed.prelabel(Console(file=said, width=200))
        assert "1 tasks are left alone" in said.getvalue()
        assert tasks_in(work.redis, project.id, TaskState.LEFT)[0].reason == HAS_DRAFT
        after = arms.task(name)
        assert (after["data"], arms.versions(name)) == (before["data"], versions_of(before))
        other = arms.of(Arm.REVIEW)[1]
        assert Plan.of(project).version in arms.versions(other)
        assert all("second" not in one["html"] for one in arms.task(other)["data"]["candidates"])
    finally:
        arms.second._client_wrapper.httpx_client.request(f"api/drafts/{draft}/", method="DELETE")
    leftovers = Leftovers(work.redis, work.client, chunk=4)
    assert leftovers.look(project) in (0, 1)  # the scheduler may have been faster
    until(lambda: Plan.of(project).version in arms.versions(name), 30)
    assert all("second" not in one["html"] for one in arms.task(name)["data"]["candidates"])
    assert prelabel_progress(work.redis, project.id)[TaskState.LEFT] == 0


def open_draft(arms: Arms, name: str) -> int:
    """As the page of the second coder does at the first change."""
    result = wire.coder_result(CODEBOOK, shown(arms.task(name)), ReviewForm.REJECT, rejected=[])
    answer = arms.second._client_wrapper.httpx_client.request(
        f"api/tasks/{arms.tasks[name]}/drafts", method="POST", json={"result": result, "lead_time": 3}
    )
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def versions_of(task: Mapping[str, Any]) -> list[str]:
    return [str(p["model_version"]) for p in sorted(task["predictions"], key=lambda p: int(p["id"]))]


def test_command_and_route_tell_of_every_task(winnow: Running, arms: Arms) -> None:
    settings = winnow.settings
    work = Work.open(settings, arms.work.project.id)
    project = work.project
    work.client.import_tasks(project.id, [{"document_id": "without text", "text": 17, "candidates": []}])
    with pytest.raises(QueueError, match=r"1 tasks failed \(task \d+: .*data.text is not a text.*`winnow status"):
        work.prelabel(QUIET)
    work.redis.close()
    assert settings.password
    login = (settings.username, settings.password.get_secret_value())
    answer = httpx.get(f"{settings.backend_url}/projects/{project.id}/prelabel?state=failed", auth=login)
    (failed,) = answer.json()["tasks"]
    assert (failed["state"], answer.json()["failed"], answer.json()["workers"]) == ("failed", 1, 1)
    assert "data.text is not a text" in failed["reason"]
    assert httpx.get(f"{settings.backend_url}/projects/{project.id}/prelabel").status_code == 401

    def status(*options: str) -> str:
        command = [sys.executable, "-m", "trainer.cli", "status", "--project", str(project.id), *options]
        done = subprocess.run(command, env=environment(settings), capture_output=True, text=True, check=True)
        return done.stdout

    assert json.loads(status("--json"))["tasks"] == [failed]
    assert f"│ {failed['task']}" in status()
    assert "1 propose worker is alive." in status()


def test_without_a_worker_it_is_said_and_a_run_again_enqueues_nothing_twice(winnow: Running, arms: Arms) -> None:
    work = Work.open(winnow.settings, arms.work.project.id)
    project = work.project
    worker = process_named(winnow.settings.home, "worker", "propose")
    assert worker is not None
    names = [f"late-{n}" for n in range(6)]
    worker.suspend()
    try:
        import_documents(work, [Document(name, f"Trade talks, report {name} of {project.id}.") for name in names])
        work.redis.delete(WORKERS_KEY)  # as after half a minute of silence
        for _ in range(2):
            said = io.StringIO()
            prelabelling = Prelabelling(work.redis, work.client, project, 4, workerless_seconds=0, check_seconds=0.1)
            with pytest.raises(QueueError, match="tasks wait in the queue and no propose worker is alive; start one"):
                prelabelling.run(Console(file=said, width=200))
            assert "Waiting: no propose worker is alive" in said.getvalue()
        waiting = [task_id for job in queue.pushing_jobs(work.redis, project.id) for task_id in job.args[1]]
        assert len(waiting) == len(set(waiting))
    finally:
        worker.resume()
    until(lambda: prelabel_progress(work.redis, project.id).ended, 30)
    review = Plan.of(project).version
    tasks = {task["data"]["document_id"]: task for task in work.client.tasks(project.id)}
    for name in names:
        found = versions_of(tasks[name])
        assert len(found) == len(set(found))
        assert found[-1] == review
    work.redis.close()


def test_a_random_share_of_the_documents_is_for_several_coders(winnow: Running, arms: Arms) -> None:
    review = Review(ReviewForm.REJECT, overlap=2, overlap_share=0.4)
    experiment = Experiment("reuters8", SOURCES, review=review)
    project = set_up_project(winnow.settings, arms.work.client, experiment, CODEBOOK, title="overlap")
    work = Work.open(winnow.settings, project.id)

    def overlaps() -> dict[str, int]:
        return {task["data"]["document_id"]: task["overlap"] for task in work.client.tasks(project.id)}

    names = [f"shared-{n}" for n in range(12)]
    expected = {name: coders_of(review, name) for name in names}
    assert set(expected.values()) == {1, 2}
    for part in (names[:9], names[9:]):  # an import draws nothing anew, and coded tasks stay what they were
        import_documents(work, [Document(name, f"Trade talks, report {name} of {project.id}.") for name in part])
        work.prelabel(QUIET)
        assert overlaps() == {name: expected[name] for name in overlaps()}
        task_ids = {task["data"]["document_id"]: task["id"] for task in work.client.tasks(project.id)}
        arms.sdk.annotations.create(task_ids[part[0]], result=[])
    assert overlaps() == expected
    labelled = {task["data"]["document_id"] for task in work.client.tasks(project.id) if task["is_labeled"]}
    assert labelled == {name for name in (names[0], names[9]) if expected[name] == 1}
    work.redis.close()
