"""Projects share the workers: whose jobs come first, and that all who look at queues see all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from label_configs.records import Document
from ml_backend import queue
from ml_backend.classify_queue import ClassifyQueue
from ml_backend.classifying import resolve
from ml_backend.exchange import Exchange
from ml_backend.experiment import Priority, Project
from ml_backend.metrics import render_metrics
from ml_backend.predicting import predict
from ml_backend.prelabel import enqueue_chunk, tasks_at_hand
from ml_backend.pushing import Scope
from ml_backend.registered_projects import register
from ml_backend.round_queue import enqueue_round

NAMES = {Priority.HIGH: "winnow-propose-high", Priority.NORMAL: "winnow-propose", Priority.LOW: "winnow-propose-low"}


def with_priority(project: Project, priority: Priority) -> Project:
    return register(project.home, project.id, replace(project.experiment, priority=priority), project.codebook)


def waiting(redis: Redis) -> dict[str, int]:
    """Jobs in each queue that has some."""
    lines = [line for kind in (queue.PROPOSE, queue.TRAIN) for line in queue.queues(redis, kind)]
    return {line.name: line.count for line in lines if line.count}


def test_a_worker_takes_high_before_normal_before_low(redis: Redis) -> None:
    for number, priority in enumerate((Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.LOW, Priority.HIGH)):
        queue.enqueue(
            redis, queue.PROPOSE, "builtins.abs", [number], job_id=f"job-{number}", timeout=9, priority=priority
        )
    worker = SimpleWorker(queue.queues(redis, queue.PROPOSE), connection=redis, serializer=JSONSerializer)
    taken = []
    for _ in range(5):
        before = {job_id for line in queue.queues(redis, queue.PROPOSE) for job_id in line.job_ids}
        worker.work(burst=True, max_jobs=1)
        (done,) = before - {job_id for line in queue.queues(redis, queue.PROPOSE) for job_id in line.job_ids}
        taken.append(done)
    assert taken == ["job-2", "job-4", "job-1", "job-0", "job-3"]


@pytest.mark.parametrize("priority", Priority)
def test_all_of_a_projects_work_has_its_priority(redis: Redis, project: Project, priority: Priority) -> None:
    chosen, kind = with_priority(project, priority), NAMES[priority]
    enqueue_chunk(redis, chosen, "v1", [1, 2], Scope.REVIEW)
    assert waiting(redis) == {kind: 1}
    predict(redis, chosen, [{"id": 3, "data": {"text": "ship"}}], chunk=4, deadline=0.1)
    assert waiting(redis) == {kind: 3}
    assert enqueue_round(redis, chosen)
    assert waiting(redis) == {kind: 3, kind.replace("propose", "train"): 1}
    assert tasks_at_hand(redis, project.id)[Scope.REVIEW] == {1, 2, 3}
    told = render_metrics(redis, [])[0].decode()
    assert f'winnow_jobs{{queue="{kind}",state="queued"}} 3.0' in told


def test_a_project_that_becomes_urgent_has_no_job_twice(redis: Redis, project: Project) -> None:
    enqueue_chunk(redis, with_priority(project, Priority.LOW), "v1", [1], Scope.REVIEW)
    enqueue_chunk(redis, with_priority(project, Priority.HIGH), "v1", [1], Scope.REVIEW)
    assert waiting(redis) == {"winnow-propose-low": 1}


def test_documents_to_classify_have_the_priority_that_they_were_sent_with(
    redis: Redis, project: Project, tmp_path: Path
) -> None:
    line, spec = ClassifyQueue(redis, Exchange(str(tmp_path)), project.home), resolve(project.home, project=project)
    line.submit(spec, [Document("a", "ship")], job_id="usual")
    line.submit(spec, [Document("b", "ship")], job_id="urgent", priority=Priority.HIGH)
    assert waiting(redis) == {"winnow-propose": 1, "winnow-propose-high": 1}
    redis.flushall()
    assert line.collect("urgent") is not None
    assert waiting(redis) == {"winnow-propose-high": 1}, "enqueued again as it was"
    (request,) = [path for path in tmp_path.iterdir() if path.name.startswith("urgent.request")]
    rows = [json.loads(row) for row in request.read_text(encoding="utf-8").splitlines()]
    del rows[0]["priority"]  # as an earlier version of Winnow wrote it
    request.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    redis.flushall()
    line.collect("urgent")
    assert waiting(redis) == {"winnow-propose": 1}
