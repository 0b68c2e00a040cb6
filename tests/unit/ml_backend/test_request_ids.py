"""Request ids: from a call's header through Redis to the job that it led to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis
from rq.serializers import JSONSerializer

from label_configs.codebook import load_codebook
from ml_backend import changed_projects, queue
from ml_backend.experiment import Experiment, Project
from ml_backend.registered_projects import register
from ml_backend.request_header import carry_request_ids
from ml_backend.request_ids import HEADER, KEPT, META, begin, end, id_of, newest, request_ids, under
from ml_backend.round_queue import enqueue_round
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from ml_backend.worker import ProposeWorker

FORGED = ("", "-a", "a b", "a\nb", "a" * 65, "é", "a;b", "a/b", "１")


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


@pytest.fixture
def project(tmp_path: Path) -> Project:
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),), training=Training("no-model"))
    return register(tmp_path, 7, experiment, load_codebook("reuters8"))


def test_a_short_and_plain_header_is_the_id() -> None:
    assert id_of("Ab-1_2.c") == "Ab-1_2.c"
    assert id_of("a" * 64) == "a" * 64


@pytest.mark.parametrize("header", [None, *FORGED])
def test_any_other_is_not(header: str | None) -> None:
    made = {id_of(header) for _ in range(3)}
    assert len(made) == 3
    assert all(len(one) == 16 and one != header for one in made)


def test_the_newest_are_kept_once_and_forged_ones_never() -> None:
    assert newest(["a", "b", "a", 7, None, *FORGED]) == ("a", "b")
    assert newest(map(str, range(50))) == tuple(map(str, range(50 - KEPT, 50)))


def test_ids_stand_over_a_block() -> None:
    with under(["a"]):
        with under(["b", "c"]):
            assert request_ids() == ("b", "c")
        assert request_ids() == ("a",)
    assert request_ids() == ()
    found = begin("mine")
    assert request_ids() == (found,) == ("mine",)
    end()
    assert request_ids() == ()


def test_every_answer_has_an_id_and_no_call_leaves_its_own_behind() -> None:
    app = Flask("here")
    carry_request_ids(app)
    app.add_url_rule("/", view_func=lambda: " ".join(request_ids()))
    client = app.test_client()
    answer = client.get("/", headers={HEADER: "from-the-proxy"})
    assert (answer.text, answer.headers[HEADER]) == ("from-the-proxy", "from-the-proxy")
    made = client.get("/", headers={HEADER: "a b"})
    assert made.text == made.headers[HEADER] != "a b"
    assert client.get("/nowhere").headers[HEADER]
    assert request_ids() == ()


def test_a_job_carries_the_ids_and_the_worker_stands_under_them(redis: Redis) -> None:
    with under(["one"]):
        queue.enqueue(redis, queue.PROPOSE, "tests.unit.ml_backend.noted.note_ids", [], job_id="j", timeout=60)
    worker = ProposeWorker(queue.queues(redis, queue.PROPOSE), connection=redis, serializer=JSONSerializer)
    worker.work(burst=True)
    job = queue.fetch_job(redis, "j")
    assert job is not None
    assert (job.meta[META], job.return_value()) == (["one"], ["one"])
    assert request_ids() == ()


def test_a_failed_job_tells_where_and_not_what(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    from tests.unit.ml_backend.noted import TEXT

    queue.enqueue(redis, queue.PROPOSE, "tests.unit.ml_backend.noted.fail", [], job_id="j", timeout=60)
    worker = ProposeWorker(queue.queues(redis, queue.PROPOSE), connection=redis, serializer=JSONSerializer)
    worker.work(burst=True)
    job = queue.fetch_job(redis, "j")
    assert job is not None
    result = job.latest_result()
    assert result is not None
    told = str(result.exc_string)
    assert "tests.unit.ml_backend.noted:" in told
    assert told.endswith("ValueError")
    assert TEXT not in told
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == ["job failed: job=j"]


def test_calls_that_changed_a_project_go_with_its_next_round(redis: Redis, project: Project) -> None:
    for number in range(KEPT + 5):
        with under([f"call-{number}"]):
            changed_projects.mark_changed(redis, 7)
    changed_projects.mark_changed(redis, 7)  # by nobody's call
    assert changed_projects.wait_changed(redis, 1) == {7}
    with under(["asked-for"]):
        assert enqueue_round(redis, project)
    (job,) = queue.queue(redis, queue.TRAIN).jobs
    assert job.meta[META] == [*(f"call-{number}" for number in range(6, KEPT + 5)), "asked-for"]
    assert changed_projects.changing_requests(redis, 7) == ()
    with under(["late"]):
        changed_projects.mark_changed(redis, 7)
        assert not enqueue_round(redis, project), "one is at hand"
    assert changed_projects.changing_requests(redis, 7) == ("late",), "it waits for the next round"


def test_ids_in_redis_that_are_none_are_left_out(redis: Redis) -> None:
    redis.rpush(changed_projects.REQUESTS_KEY.format(project=7), "good", "bad one", b"\xff\xfe")
    assert changed_projects.changing_requests(redis, 7) == ("good",)
