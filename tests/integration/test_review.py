"""Adjudication and repeated documents on the real Label Studio, with two coders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from redis import Redis

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Candidate, CandidateSet, Document, Proposer
from label_configs.render import render_label_config
from ml_backend import queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.labelstudio_views import VIEW_TASKS
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from trainer.adjudication import TIES, UNRESOLVED
from trainer.demo.label_studio import LabelStudioServer
from trainer.repeats import Repeating, repeated
from trainer.review_command import review
from trainer.verified import read_project

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(120)]

CODEBOOK = load_codebook("reuters8")
FORM = ReviewForm.REJECT
TOMORROW = datetime.now(UTC) + timedelta(days=2)
BOB = "bob-review@example.com"


@dataclass(frozen=True)
class Coding:
    """A project, and two coders at it through the API."""

    server: LabelStudioServer
    settings: Settings
    client: LabelStudioClient
    project: Project
    ann: LabelStudio
    bob: LabelStudio
    bob_token: str
    tasks: dict[str, int]

    def says(self, coder: LabelStudio, task_id: int, *labels: str, **fields: Any) -> int:
        """Have a coder submit that of the candidates earn, acq and ship these hold."""
        document = next(iter(wire.document(task).id for task in self.client.tasks(self.project.id, [task_id])))
        shown = candidate_set(document)
        rejected = [one.label for one in shown.candidates if one.label not in labels]
        result = wire.coder_result(CODEBOOK, shown, FORM, rejected=rejected)
        return int(coder.annotations.create(id=task_id, result=result, lead_time=3.0, **fields).id)

    def review(self, *options: str) -> str:
        """What `winnow review` prints."""
        environment = {
            "WINNOW_HOME": str(self.settings.home),
            "WINNOW_LABEL_STUDIO_URL": self.server.url,
            "WINNOW_LABEL_STUDIO_TOKEN": self.server.token(),
        }
        done = CliRunner().invoke(review, ["--project", str(self.project.id), *options], env=environment)
        assert done.exit_code == 0, done.output
        return done.output

    def views(self) -> dict[str, list[int]]:
        """Title of a view -> the tasks that it shows, as Label Studio itself filters them."""
        return {
            view.data["title"]: [task.id for task in self.ann.tasks.list(project=self.project.id, view=view.id)]
            for view in self.ann.views.list(project=self.project.id)
        }

    def next_task(self, token: str) -> int | None:
        """The task that the label stream serves to a coder now."""
        access = httpx.post(f"{self.server.url}/api/token/refresh", json={"refresh": token}, trust_env=False)
        headers = {"Authorization": f"Bearer {access.json()['access']}"}
        url = f"{self.server.url}/api/projects/{self.project.id}/next"
        answer = httpx.get(url, headers=headers, trust_env=False)
        return int(answer.json()["id"]) if answer.status_code == 200 else None


def candidate_set(document_id: str) -> CandidateSet:
    candidates = tuple(
        Candidate(label, 0.5, (Proposer("words", "v", 0.5, rank),))
        for rank, label in enumerate(("earn", "acq", "ship"))
    )
    return CandidateSet(document_id, "review-1", candidates)


@pytest.fixture(scope="module")
def bob_token(label_studio: LabelStudioServer) -> str:
    return label_studio.create_user(BOB, "a-long-password-of-bob")


@pytest.fixture
def coding(label_studio: LabelStudioServer, bob_token: str, tmp_path: Path) -> Iterator[Coding]:
    token = label_studio.token()
    settings = Settings(home=tmp_path, label_studio_url=label_studio.url, label_studio_token=SecretStr(token))
    client = LabelStudioClient(settings)
    experiment = Experiment(
        "reuters8", (SourceConfig("words", SourceKind.FAKE),), review=Review(FORM, repeat_share=1.0)
    )
    project_id = client.create_project("review", render_label_config(CODEBOOK, FORM))
    names = ["tied", "broken", "agreed", "alone"]
    ids = client.import_tasks(
        project_id, [{**wire.task_data(Document(name, f"text {name}"), form=FORM), "origin": "team"} for name in names]
    )
    sdks = [LabelStudio(base_url=label_studio.url, api_key=key) for key in (token, bob_token)]
    project = register(tmp_path, project_id, experiment, CODEBOOK)
    yield Coding(label_studio, settings, client, project, *sdks, bob_token, dict(zip(names, ids, strict=True)))
    sdks[0].projects.delete(project_id)


def verified(coding: Coding) -> dict[str, tuple[str, ...]]:
    examples = read_project(coding.client, coding.project, annotated_only=True).examples
    return {example.document_id: example.labels for example in examples}


def test_ties_and_unresolved_decisions_are_listed_shown_in_tabs_and_settled_by_ground_truth(coding: Coding) -> None:
    tied, broken, agreed = (coding.tasks[name] for name in ("tied", "broken", "agreed"))
    coding.says(coding.ann, tied, "earn")
    coding.says(coding.bob, tied, "acq")
    coding.says(coding.ann, broken, "earn", "acq")
    coding.says(coding.ann, agreed, "earn")
    coding.says(coding.bob, agreed, "earn")
    assert verified(coding) == {"agreed": ("earn",)}

    text = coding.review()
    link = f"{coding.server.url}/projects/{coding.project.id}/data?task="
    assert "1 decision is unresolved:" in text
    assert f"  broken  {link}{broken}\n    {coding.server.username}: 2 codes are left where exactly one holds" in text
    assert f"  tied  {link}{tied}\n    no majority among the coders: {coding.server.username}: earn; {BOB}: acq" in text

    views = {"Default": list(coding.tasks.values()), TIES: [tied], UNRESOLVED: [broken]}
    assert coding.views() == views
    before = coding.ann.views.list(project=coding.project.id)
    assert "unresolved" not in coding.review("--ties")
    assert coding.ann.views.list(project=coding.project.id) == before

    # Ann is a coder as well: of hers, only what she adds to a tie is a ruling.
    assert "0 of" in coding.review("--adjudicator", coding.server.username)
    coding.says(coding.ann, tied, "ship")
    coding.says(coding.ann, broken, "earn")
    assert verified(coding) == {"agreed": ("earn",), "broken": ("earn",)}
    done = coding.review("--json", "--adjudicator", coding.server.username.upper())
    assert json.loads(done[done.index("{") :]) == {"unresolved": [], "ties": []}
    assert coding.views() == {**views, TIES: [], UNRESOLVED: []}
    assert verified(coding) == {"agreed": ("earn",), "tied": ("ship",), "broken": ("earn",)}
    truths = [d for d in read_project(coding.client, coding.project).decisions if d.ground_truth]
    assert {d.document_id: d.labels for d in truths} == {"broken": ("earn",), "tied": ("ship",)}


def test_the_teams_own_views_are_left_alone(coding: Coding) -> None:
    own = coding.ann.views.create(project=coding.project.id, data={"title": "Ties, says Ann", "gridWidth": 7})
    assert coding.client.show_in_view(coding.project.id, TIES, []) is None
    made = coding.client.show_in_view(coding.project.id, TIES, [coding.tasks["tied"]] * (VIEW_TASKS + 1))
    assert made is not None
    ours = next(view for view in coding.ann.views.list(project=coding.project.id) if view.id == made)
    assert len(ours.data["filters"]["items"]) == VIEW_TASKS
    coding.ann.views.update(str(made), project=coding.project.id, data={**ours.data, "gridWidth": 5})
    assert coding.client.show_in_view(coding.project.id, TIES, [coding.tasks["agreed"]]) == made
    left, now = coding.ann.views.list(project=coding.project.id)
    assert (left.id, left.data) == (own.id, own.data)
    assert (now.id, now.data["gridWidth"], now.data["hiddenColumns"]) == (made, 5, ours.data["hiddenColumns"])
    assert coding.views()[TIES] == [coding.tasks["agreed"]]


def test_no_views_are_written_when_not_wanted(coding: Coding) -> None:
    assert coding.review("--no-views") == "0 decisions are unresolved.\n\n0 documents are tied.\n"
    assert coding.ann.views.list(project=coding.project.id) == []


def test_a_document_is_shown_again_once_and_reaches_its_coder(coding: Coding, redis_db: str) -> None:
    with Redis.from_url(redis_db) as redis:
        coding.says(coding.ann, coding.tasks["alone"], "earn")
        assert Repeating(redis, coding.client).look(coding.project) == 0
        looking = Repeating(redis, coding.client)
        assert looking.look(coding.project, TOMORROW) == 1
        assert looking.look(coding.project, TOMORROW) == 0
        (copy,) = coding.client.repeats(coding.project.id)
        expected = wire.task_data(Document("alone", "text alone", repeat=1), form=FORM)
        assert copy["data"] == {**expected, "origin": "team"}
        assert queue.queue(redis, queue.PROPOSE).count == 1

        redis.flushall()
        assert Repeating(redis, coding.client).look(coding.project, TOMORROW) == 0
        assert len(coding.client.repeats(coding.project.id)) == 1
        assert queue.queue(redis, queue.PROPOSE).count == 1  # what was lost with Redis is enqueued again

        # Bob takes the copy, and then it is still there for Ann, who coded the document first.
        for name in ("tied", "broken", "agreed"):
            for coder in (coding.ann, coding.bob):
                coding.says(coder, coding.tasks[name], "earn")
        assert coding.next_task(coding.bob_token) == copy["id"]
        coding.says(coding.bob, copy["id"], "ship")
        assert coding.next_task(coding.server.token()) is None
        Repeating(redis, coding.client).look(coding.project, TOMORROW)
        assert coding.next_task(coding.server.token()) == copy["id"]
        coding.says(coding.ann, copy["id"], "acq")
        Repeating(redis, coding.client).look(coding.project, TOMORROW)
        (served,) = (task for task in coding.client.repeats(coding.project.id) if task["id"] == copy["id"])
        assert (served["overlap"], served["is_labeled"]) == (2, True)

    reading = read_project(coding.client, coding.project)
    pairs = {pair.first.document_id: (pair.first.labels, pair.second.labels) for pair in repeated(reading.decisions)}
    assert pairs == {"alone": (("earn",), ("acq",))}
    (example,) = (example for example in reading.examples if example.document_id == "alone")
    assert (example.labels, example.task_id) == (("earn",), coding.tasks["alone"])
    assert len([d for d in reading.documents if d.id == "alone"]) == 1
