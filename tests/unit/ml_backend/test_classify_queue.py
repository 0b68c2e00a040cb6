"""Documents over the queue: nothing lost, nothing doubled, no text in Redis, whatever is wiped or killed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis
from rq.job import JobStatus

from label_configs.errors import ConfigError, EnvironmentFault, ModelError, QueueError, WinnowError
from label_configs.records import Document
from ml_backend import classify_queue, jobs, queue
from ml_backend.classify_queue import TRIES, ClassifyQueue, Outcome, State, classify_over_queue
from ml_backend.classifying import ClassifySpec, propose_all, resolve
from ml_backend.exchange import Exchange
from ml_backend.experiment import Project
from ml_backend.heartbeat import beat
from ml_backend.log_format import log_formatter
from ml_backend.settings import Settings
from ml_backend.sources.base import Source
from tests.unit.ml_backend.classifying_parts import NotingPool, ThreadWorker

DOCUMENTS = [Document("d1", "confidential cargo: ship ship grain"), Document("d2", "grain"), Document("d3", "ship")]


@pytest.fixture
def spec(project: Project) -> ClassifySpec:
    return resolve(project.home, project=project)


@pytest.fixture
def line(redis: Redis, home: Path) -> ClassifyQueue:
    return ClassifyQueue(redis, Exchange(str(home / "exchange")), home)


@pytest.fixture
def job(line: ClassifyQueue, spec: ClassifySpec) -> str:
    return line.submit(spec, DOCUMENTS, job_id="one")


def state(line: ClassifyQueue, job_id: str) -> State | None:
    outcome = line.collect(job_id)
    return outcome.state if outcome else None


def objects(line: ClassifyQueue) -> list[str]:
    folder = Path(line.exchange.url)
    return sorted(path.name.removesuffix(".winnow.jsonl") for path in folder.iterdir()) if folder.exists() else []


def started(redis: Redis, job_id: str, worker: str) -> None:
    """As when a worker has taken the job."""
    job = queue.fetch_job(redis, job_id)
    assert job is not None
    redis.lrem(f"rq:queue:{queue.PROPOSE}", 0, job_id)
    job.set_status(JobStatus.STARTED)
    redis.hset(job.key, "worker_name", worker)


# --- one job --------------------------------------------------------------------------------------------------------


def test_a_job_goes_through_its_states(line: ClassifyQueue, redis: Redis, spec: ClassifySpec, job: str) -> None:
    assert state(line, job) is State.QUEUED
    (enqueued,) = queue.queue(redis, queue.PROPOSE).jobs
    assert (enqueued.func_name, list(enqueued.args)) == ("ml_backend.jobs.classify_documents", ["one"])
    assert (enqueued.timeout, enqueued.result_ttl) == (queue.PROPOSE_TIMEOUT, queue.RESULT_TTL)
    beat(redis, "alive")
    started(redis, job, "alive")
    assert state(line, job) is State.WORKING
    pool = NotingPool()
    assert line.work(pool, job) == 3
    assert line.collect(job) == Outcome(State.DONE, tuple(propose_all(NotingPool(), spec, DOCUMENTS)))
    assert objects(line) == ["one.result"], "the documents are gone as soon as they are classified"
    assert line.work(pool, job) == 0
    assert len(pool.asked) == 1, "a job that has ended is not computed again"


def test_no_text_is_in_redis(line: ClassifyQueue, redis: Redis, job: str) -> None:
    line.work(NotingPool(), job)
    line.collect(job)
    kept = b"".join(redis.dump(key) or b"" for key in redis.scan_iter())
    assert b"one" in kept
    for word in (b"confidential", b"cargo"):
        assert word not in kept


def test_what_was_proposed_before_is_not_computed_again(line: ClassifyQueue, spec: ClassifySpec, job: str) -> None:
    pool = NotingPool()
    line.work(pool, job)
    again = line.submit(spec, [*DOCUMENTS, Document("d4", "new")], job_id="two")
    line.work(pool, again)
    assert pool.asked == [("words", ["d1", "d2", "d3"]), ("words", ["d4"])]
    outcome = line.collect(again)
    assert outcome is not None
    assert [row[0].document_id for row in outcome.proposals] == ["d1", "d2", "d3", "d4"]


def test_what_was_never_sent_is_unknown(line: ClassifyQueue) -> None:
    assert line.collect("nothing") is None
    assert line.work(NotingPool(), "nothing") == 0
    line.delete("nothing")
    with pytest.raises(ConfigError, match="no name of an object"):
        line.collect("../../etc/passwd")


def test_when_redis_is_wiped_the_job_is_enqueued_again(line: ClassifyQueue, redis: Redis, job: str) -> None:
    redis.flushall()
    assert state(line, job) is State.QUEUED
    assert queue.queue(redis, queue.PROPOSE).job_ids == [job]
    redis.flushall()
    line.work(NotingPool(), job)
    assert state(line, job) is State.DONE, "the result does not lie in Redis"


def test_when_its_worker_is_gone_the_job_is_enqueued_again(
    line: ClassifyQueue, redis: Redis, job: str, caplog: pytest.LogCaptureFixture
) -> None:
    started(redis, job, "killed")
    assert state(line, job) is State.QUEUED
    assert "classification revived: job=one" in caplog.text
    assert queue.queue(redis, queue.PROPOSE).job_ids == [job]


def test_two_who_ask_enqueue_it_once(line: ClassifyQueue, redis: Redis, job: str) -> None:
    redis.flushall()
    asking = [threading.Thread(target=line.collect, args=(job,)) for _ in range(4)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert queue.queue(redis, queue.PROPOSE).job_ids == [job]
    assert int(redis.get(classify_queue.TRIES_KEY.format(job=job)) or 0) == 1


def test_a_job_that_ends_its_workers_is_given_up(line: ClassifyQueue, redis: Redis, job: str) -> None:
    for _ in range(TRIES - 1):
        started(redis, job, "killed")
        assert state(line, job) is State.QUEUED
        redis.delete(classify_queue.AGAIN_KEY.format(job=job))
    started(redis, job, "killed")
    outcome = line.collect(job)
    assert outcome is not None
    assert outcome.state is State.FAILED
    assert f"was begun {TRIES} times and never ended" in outcome.reason
    assert objects(line) == ["one.result"]


def test_a_deleted_job_leaves_nothing(line: ClassifyQueue, redis: Redis, job: str) -> None:
    line.delete(job)
    assert objects(line) == []
    assert queue.queue(redis, queue.PROPOSE).job_ids == []
    assert line.collect(job) is None


def test_one_that_is_deleted_while_it_is_worked_on_leaves_nothing(line: ClassifyQueue, redis: Redis, job: str) -> None:
    class Deleting(NotingPool):
        def source(self, *given: object) -> Source:
            line.delete(job)
            return super().source(*given)  # type: ignore[arg-type]

    started(redis, job, "alive")
    line.work(Deleting(), job)
    assert objects(line) == []


def test_two_workers_at_one_job_are_no_harm(line: ClassifyQueue, spec: ClassifySpec, job: str) -> None:
    class Overtaken(NotingPool):
        def source(self, *given: object) -> Source:
            line.work(NotingPool(), job)
            return super().source(*given)  # type: ignore[arg-type]

    line.work(Overtaken(), job)
    assert line.collect(job) == Outcome(State.DONE, tuple(propose_all(NotingPool(), spec, DOCUMENTS)))


def test_a_job_that_redis_did_not_take_leaves_no_documents(
    line: ClassifyQueue, spec: ClassifySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise QueueError("Redis: away")

    monkeypatch.setattr(queue, "enqueue", away)
    with pytest.raises(QueueError):
        line.submit(spec, DOCUMENTS, job_id="one")
    assert objects(line) == []


def test_what_nobody_fetches_expires(
    line: ClassifyQueue, redis: Redis, spec: ClassifySpec, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify_queue, "KEEP_SECONDS", -60.0)
    line.submit(spec, DOCUMENTS, job_id="two")
    assert objects(line) == ["one.request", "two.request"], "it is not looked for at every job"
    redis.delete(classify_queue.CLEANED_KEY)
    line.submit(spec, DOCUMENTS, job_id="three")
    assert objects(line) == ["three.request"]
    assert line.collect(job) is None


# --- in the worker --------------------------------------------------------------------------------------------------


@pytest.fixture
def worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a propose worker without Label Studio."""
    assert settings.redis_url
    monkeypatch.setenv("WINNOW_HOME", str(settings.home))
    monkeypatch.setenv("WINNOW_REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setenv("WINNOW_THREADS", "1")
    jobs.context.cache_clear()
    yield
    jobs.context.cache_clear()


@pytest.mark.usefixtures("worker")
def test_the_worker_needs_no_label_studio(line: ClassifyQueue, job: str) -> None:
    assert jobs.classify_documents(job) == 3
    assert state(line, job) is State.DONE


@pytest.mark.usefixtures("worker")
def test_what_goes_wrong_is_the_result(line: ClassifyQueue, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> Source:
        raise ModelError("model org/absent: cannot be loaded; download it")

    monkeypatch.setattr(jobs.SourcePool, "source", absent)
    with pytest.raises(ModelError):
        jobs.classify_documents(job)
    outcome = line.collect(job)
    assert outcome == Outcome(State.FAILED, code="model", reason="model org/absent: cannot be loaded; download it")
    assert outcome is not None
    assert (outcome.error().code, str(outcome.error())) == ("model", outcome.reason)
    assert objects(line) == ["one.result"]


@pytest.mark.usefixtures("worker")
def test_an_error_that_quotes_a_document_is_not_passed_on(
    line: ClassifyQueue, job: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Source:
        raise ValueError(f"cannot read {DOCUMENTS[0].text!r}")

    monkeypatch.setattr(jobs.SourcePool, "source", broken)
    caplog.handler.setFormatter(log_formatter("console"))  # as every process of Winnow has it
    with caplog.at_level(logging.DEBUG), pytest.raises(QueueError) as caught:
        jobs.classify_documents(job)
    assert caught.value.__suppress_context__
    outcome = line.collect(job)
    assert outcome is not None
    assert outcome.reason == "unexpected ValueError; the log of the propose worker says where"
    assert "test_classify_queue:" in caplog.text
    assert " broken\n    ValueError\n" in caplog.text
    assert "confidential" not in caplog.text


# --- many chunks ----------------------------------------------------------------------------------------------------


def chunks(number: int, size: int = 3) -> list[list[Document]]:
    return [[Document(f"{k}-{i}", f"ship {k} grain {i}") for i in range(size)] for k in range(number)]


def test_chunks_come_back_in_order(line: ClassifyQueue, redis: Redis, spec: ClassifySpec) -> None:
    sent = chunks(25)
    with ThreadWorker(redis, line, "one") as one, ThreadWorker(redis, line, "two") as two:
        found = list(classify_over_queue(redis, line.exchange, line.home, spec, iter(sent), at_once=4))
    assert found == [propose_all(NotingPool(), spec, chunk) for chunk in sent]
    asked = sorted(i for _, ids in one.pool.asked + two.pool.asked for i in ids)
    assert asked == sorted(d.id for chunk in sent for d in chunk), "each document once"
    assert objects(line) == []
    assert not [key for key in redis.scan_iter() if b"proposals" in key], "what a run made is its own"
    assert all(redis.ttl(key) > 0 for key in redis.scan_iter("rq:job:*")), "what is left of jobs expires"


def test_only_so_many_are_under_way(line: ClassifyQueue, redis: Redis, spec: ClassifySpec) -> None:
    taken = 0

    def counting() -> Iterator[list[Document]]:
        nonlocal taken
        for chunk in chunks(20):
            taken += 1
            yield chunk

    with ThreadWorker(redis, line):
        for fetched, _ in enumerate(classify_over_queue(redis, line.exchange, line.home, spec, counting(), at_once=3)):
            assert taken <= fetched + 4
            assert len(objects(line)) <= 3
    assert taken == 20


def test_nothing_is_sent_when_no_worker_is_alive(line: ClassifyQueue, redis: Redis, spec: ClassifySpec) -> None:
    with pytest.raises(QueueError, match="no propose worker is alive; start one or more with `winnow worker propose`"):
        next(classify_over_queue(redis, line.exchange, line.home, spec, chunks(1)))
    assert objects(line) == []


def test_a_run_whose_workers_are_gone_ends_after_a_while(
    line: ClassifyQueue, redis: Redis, spec: ClassifySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify_queue, "WORKERLESS_SECONDS", 0.1)
    monkeypatch.setattr(classify_queue, "LOOK_SECONDS", 1.0)
    beat(redis, "dying")
    run = classify_over_queue(redis, line.exchange, line.home, spec, dying(redis))
    with pytest.raises(QueueError, match="no propose worker is alive"):
        next(run)
    assert objects(line) == []


def dying(redis: Redis) -> Iterator[list[Document]]:
    redis.delete("winnow:workers")
    yield from chunks(2)


def test_stopping_cancels_what_is_queued(line: ClassifyQueue, redis: Redis, spec: ClassifySpec) -> None:
    with ThreadWorker(redis, line, "one"):
        run = classify_over_queue(redis, line.exchange, line.home, spec, chunks(50), at_once=4)
        with closing(run):
            next(run)
    assert queue.queue(redis, queue.PROPOSE).job_ids == []
    assert [name for name in objects(line) if not name.endswith(".deleted")] == [], "a mark may stay that holds no text"


def test_a_row_that_cannot_be_read_cancels_too(line: ClassifyQueue, redis: Redis, spec: ClassifySpec) -> None:
    def broken() -> Iterator[list[Document]]:
        yield from chunks(3)
        raise ConfigError("in.csv:4: no text")

    beat(redis, "alive")
    with pytest.raises(ConfigError, match=r"in\.csv:4"):
        list(classify_over_queue(redis, line.exchange, line.home, spec, broken()))
    assert queue.queue(redis, queue.PROPOSE).job_ids == []
    assert objects(line) == []


def test_a_chunk_that_fails_ends_the_run_with_its_reason(line: ClassifyQueue, redis: Redis, spec: ClassifySpec) -> None:
    beat(redis, "alive")

    def failing() -> Iterator[list[Document]]:
        yield from chunks(2)
        for job_id in queue.queue(redis, queue.PROPOSE).job_ids[:1]:
            line.fail(job_id, ModelError("model org/absent: cannot be loaded"))

    with pytest.raises(WinnowError, match="model org/absent: cannot be loaded") as caught:
        list(classify_over_queue(redis, line.exchange, line.home, spec, failing()))
    assert caught.value.code == "model"
    assert objects(line) == []


def test_documents_that_are_gone_are_told(line: ClassifyQueue, redis: Redis, spec: ClassifySpec) -> None:
    beat(redis, "alive")

    def losing() -> Iterator[list[Document]]:
        yield from chunks(1)
        line.exchange.clean(-60)

    with pytest.raises(EnvironmentFault, match="are gone; classify again"):
        list(classify_over_queue(redis, line.exchange, line.home, spec, losing()))
