"""Starting and stopping a round by hand: who is refused and why, and what the queue holds afterwards."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from ml_backend import queue
from ml_backend.experiment import Project
from ml_backend.registered_projects import register
from ml_backend.round_queue import put_round_progress, round_queued, stop_asked
from ml_backend.settings import Settings
from tests.made_project import working
from tests.unit.trainer.dashboard.conftest import login, save
from trainer.rounds import RoundState, list_rounds, rounds_folder

START, STOP = "/dashboard/projects/7/round/start", "/dashboard/projects/7/round/stop"


def confirmed(client: FlaskClient, path: str, user: str = "operator", token: str | None = None) -> TestResponse:
    """Open the page and send its form."""
    page = client.get(path, headers=login("operator"))
    assert page.status_code == 200, page.text
    found = re.search(r'name="token" value="([^"]*)"', page.text)
    assert found
    return client.post(path, data={"token": found.group(1) if token is None else token}, headers=login(user))


def ended(project: Project) -> None:
    save(project, RoundState.PROMOTED)


def test_an_operator_starts_one(client: FlaskClient, project: Project, redis: Redis) -> None:
    ended(project)
    page = client.get("/dashboard/projects/7", headers=login("operator")).text
    assert 'id="round-start"' in page
    assert 'id="round-stop"' not in page
    assert "88 documents are verified, 28 of them" in client.get(START, headers=login("operator")).text
    answer = confirmed(client, START)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/dashboard/projects/7#rounds")
    assert round_queued(redis, project.id)
    page = client.get("/dashboard/projects/7", headers=login("operator")).text
    assert "A round waits for a train worker" in page
    assert 'id="round-start"' not in page
    assert confirmed(client, START).status_code == 303
    assert queue.queue(redis, queue.TRAIN).job_ids == ["round-7"], "a second start is no second round"


def test_one_that_waits_is_taken_back(client: FlaskClient, project: Project, redis: Redis) -> None:
    ended(project)
    confirmed(client, START)
    assert confirmed(client, STOP).status_code == 303
    assert not round_queued(redis, project.id)
    assert [one.state for one in list_rounds(rounds_folder(project.home, 7))] == [RoundState.PROMOTED]


def test_one_at_work_is_asked_to_end_and_goes_on_when_started(
    client: FlaskClient, project: Project, redis: Redis
) -> None:
    save(project, RoundState.RUNNING)
    confirmed(client, START)
    with working(redis):
        put_round_progress(redis, project.id, {"stage": "train", "step": 3, "steps": 90})
        assert "ends at its next step" in client.get(STOP, headers=login("operator")).text
        assert confirmed(client, STOP).status_code == 303
        assert stop_asked(redis, project.id)


def test_what_is_not_there_cannot_be_stopped(client: FlaskClient, project: Project) -> None:
    ended(project)
    answer = confirmed(client, STOP)
    assert answer.status_code == 409
    assert "no round is queued or running by now" in answer.get_json()["error"]["message"]


@pytest.mark.parametrize("path", [START, STOP])
def test_a_viewer_and_a_forged_form_are_refused(client: FlaskClient, project: Project, redis: Redis, path: str) -> None:
    ended(project)
    assert 'id="round-start"' not in client.get("/dashboard/projects/7", headers=login("viewer")).text
    assert client.get(path, headers=login("viewer")).status_code == 403
    for user, token in (("viewer", None), ("operator", ""), ("winnow", None)):
        assert confirmed(client, path, user, token).status_code == 403
    assert not round_queued(redis, project.id)
    assert client.get(path).status_code == 401


def test_a_project_that_trains_nothing_says_so(client: FlaskClient, project: Project, settings: Settings) -> None:
    register(settings.home, 7, replace(project.experiment, training=None), project.codebook)
    answer = client.get(START, headers=login("operator"))
    assert answer.status_code == 409
    assert "trains nothing; add `training` to winnow.yaml" in answer.get_json()["error"]["message"]
    assert 'id="round-start"' not in client.get("/dashboard/projects/7", headers=login("operator")).text


@pytest.mark.parametrize("path", ["/dashboard/projects/7/round/remove", "/dashboard/projects/99/round/start"])
def test_another_change_or_project_is_not_found(client: FlaskClient, project: Project, path: str) -> None:
    assert client.get(path, headers=login("operator")).status_code == 404
