"""What is kept in Redis, and what never is."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import Codebook
from label_configs.errors import QueueError
from label_configs.records import Document
from ml_backend import changed_projects, locks, proposal_cache, queue, round_queue
from ml_backend.prelabel_progress import TaskState, move_tasks, prelabel_progress, start_prelabel, tasks_in
from ml_backend.settings import Settings
from ml_backend.sources.fake import FakeSource

SECRET_TEXT = "confidential: the tanker Aurora carries wheat"


def everything(redis: Redis) -> bytes:
    """Every key and value, as bytes."""
    found = b""
    for key in redis.scan_iter():
        kind = redis.type(key)
        found += key + b"\n"
        if kind == b"string":
            found += redis.get(key) or b""
        elif kind == b"hash":
            found += b"\n".join(part for pair in redis.hgetall(key).items() for part in pair)
        elif kind == b"list":
            found += b"\n".join(redis.lrange(key, 0, -1))
        elif kind == b"set":
            found += b"\n".join(redis.smembers(key))
        elif kind == b"zset":
            found += b"\n".join(redis.zrange(key, 0, -1))
        else:
            found += repr(redis.xrange(key)).encode()
        found += b"\n"
    return found


@pytest.fixture
def source(codebook: Codebook) -> FakeSource:
    return FakeSource("words", "words/fake@base", codebook)


def test_proposals_come_back_as_they_were_kept(redis: Redis, source: FakeSource) -> None:
    documents = [Document("d1", "ship ship grain"), Document("d2", "grain"), Document("d3", "nothing of it")]
    made = source.propose(documents)
    proposal_cache.put_proposals(redis, "book", zip(documents, made, strict=True))
    names = [("words", "words/fake@base")]
    assert [row["words"] for row in proposal_cache.get_proposals(redis, "book", documents, names)] == made
    assert proposal_cache.get_proposals(redis, "other book", documents, names) == [{}, {}, {}]
    assert proposal_cache.get_proposals(redis, "book", documents, [("words", "words/fake@a1")]) == [{}, {}, {}]
    assert proposal_cache.get_proposals(redis, "book", [], names) == []
    assert proposal_cache.get_proposals(redis, "book", documents, []) == [{}, {}, {}]


def test_documents_of_equal_text_share_their_proposals(redis: Redis, source: FakeSource) -> None:
    first, twin = Document("d1", "grain"), Document("d9", "grain")
    proposal_cache.put_proposals(redis, "book", [(first, source.propose([first])[0])])
    (row,) = proposal_cache.get_proposals(redis, "book", [twin], [("words", source.version)])
    assert row["words"].document_id == "d9"


def test_no_text_of_a_document_is_in_redis(redis: Redis, source: FakeSource) -> None:
    document = Document("d1", SECRET_TEXT)
    proposal_cache.put_proposals(redis, "book", [(document, source.propose([document])[0])])
    queue.enqueue(redis, queue.PROPOSE, "ml_backend.jobs.propose_tasks", [7, [1, 2]], job_id="j", timeout=9)
    changed_projects.mark_changed(redis, 7)
    start_prelabel(redis, 7, "v", [1, 2])
    round_queue.put_round_progress(redis, 7, {"stage": "train"})
    kept = everything(redis)
    assert kept.count(b"winnow") >= 5
    for word in SECRET_TEXT.split():
        if len(word) > 5:  # "wheat" stands in nothing either, but short words may occur in digests
            assert word.encode() not in kept


def test_everything_kept_runs_out(redis: Redis, source: FakeSource) -> None:
    document = Document("d1", "grain")
    proposal_cache.put_proposals(redis, "book", [(document, source.propose([document])[0])])
    start_prelabel(redis, 7, "v", [1, 2])
    move_tasks(redis, 7, TaskState.FAILED, [1], {1: "no text"})
    round_queue.put_round_progress(redis, 7, {"stage": "train"})
    assert all(0 < redis.ttl(key) <= queue.KEPT_SECONDS for key in redis.scan_iter())


def test_a_job_is_enqueued_once_until_it_ended(redis: Redis) -> None:
    def enqueue() -> bool:
        return queue.enqueue(redis, queue.PROPOSE, "builtins.abs", [-1], job_id="one", timeout=9) is not None

    assert enqueue()
    assert not enqueue()
    job = queue.fetch_job(redis, "one")
    assert job is not None
    assert (job.timeout, job.func_name, list(job.args)) == (9, "builtins.abs", [-1])
    job.cancel()
    assert enqueue()
    assert queue.fetch_job(redis, "none-such") is None


def test_changes_are_collected_and_handed_out_once(redis: Redis) -> None:
    for project in (7, 8, 7):
        changed_projects.mark_changed(redis, project)
    assert changed_projects.wait_changed(redis, 5) == {7, 8}
    started = time.monotonic()
    assert changed_projects.wait_changed(redis, 0.1) == set()
    assert 0.1 <= time.monotonic() - started < 2
    assert redis.dbsize() == 0


def test_a_lock_has_one_owner_who_may_renew_it(redis: Redis) -> None:
    mine, other = locks.Lock(redis, "scheduler", 60), locks.Lock(redis, "scheduler", 60)
    assert mine.hold()
    assert mine.hold()
    assert not other.hold()
    other.release()
    assert not other.hold(), "only the owner gives it up"
    mine.release()
    mine.release()
    assert other.hold()
    assert not mine.hold()


def test_a_lock_runs_out_with_its_owner(redis: Redis) -> None:
    mine, other = locks.Lock(redis, "scheduler", 60), locks.Lock(redis, "scheduler", 60)
    assert mine.hold()
    assert redis.pexpire(locks.LOCK_KEY.format(name="scheduler"), 1)
    while redis.exists(locks.LOCK_KEY.format(name="scheduler")):
        pass
    assert other.hold()
    assert not mine.hold()
    mine.release()
    assert other.hold(), "the late owner has not taken it away"


def away() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@127.0.0.1:{port}/0",
        "redis://user:hunter2@127.0.0.1:{port}/0?socket_timeout=1",
        "redis://127.0.0.1:{port}/0?password=hunter2",
        "redis://:hunter2/x@127.0.0.1:{port}/0",
        "redis://:hun#ter2@127.0.0.1:{port}",
        "redis://:hunter2@127.0.0.1:99999/0",
        "http://:hunter2@127.0.0.1:{port}/",
        "hunter2",
        "unix:///nonexistent/hunted.sock?password=hunter2",
    ],
)
def test_redis_away_is_told_without_the_password(tmp_path: Path, url: str) -> None:
    settings = Settings(home=tmp_path, redis_url=SecretStr(url.format(port=away())))
    with pytest.raises(QueueError) as caught:
        queue.connect(settings)
    message = str(caught.value)
    assert "hunter2" not in message
    assert "ter2" not in message
    assert "WINNOW_REDIS_URL" in message
    assert "\n" not in message


def test_a_wrong_password_is_told(redis_db: str, tmp_path: Path) -> None:
    wrong = redis_db.replace("redis://:", "redis://:wrong")
    with pytest.raises(QueueError, match="WINNOW_REDIS_URL"):
        queue.connect(Settings(home=tmp_path, redis_url=SecretStr(wrong)))


def test_without_an_address_the_embedded_redis_is_meant(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match=r"redis\.sock: .*; start it with `winnow up`"):
        queue.connect(Settings(home=tmp_path))


def test_every_function_tells_when_redis_goes_away(codebook: Codebook, source: FakeSource, tmp_path: Path) -> None:
    gone = queue.client(Settings(home=tmp_path, redis_url=SecretStr(f"redis://:hunter2@127.0.0.1:{away()}/0")))
    document = Document("d1", "grain")
    for call in (
        lambda: proposal_cache.put_proposals(gone, "book", [(document, source.propose([document])[0])]),
        lambda: proposal_cache.get_proposals(gone, "book", [document], [("words", "v")]),
        lambda: queue.enqueue(gone, queue.PROPOSE, "builtins.abs", [1], job_id="j", timeout=9),
        lambda: queue.fetch_job(gone, "j"),
        lambda: changed_projects.mark_changed(gone, 7),
        lambda: changed_projects.wait_changed(gone, 0.1),
        lambda: start_prelabel(gone, 7, "v", [1]),
        lambda: move_tasks(gone, 7, TaskState.DONE, [1]),
        lambda: prelabel_progress(gone, 7),
        lambda: tasks_in(gone, 7, TaskState.DONE),
        lambda: round_queue.put_round_progress(gone, 7, {}),
        lambda: round_queue.round_progress(gone, 7),
        lambda: round_queue.round_at_hand(gone, 7),
        lambda: round_queue.ask_to_stop(gone, 7),
        lambda: locks.Lock(gone, "scheduler", 60).hold(),
    ):
        with pytest.raises(QueueError, match=r"^Redis: .*winnow doctor"):
            call()


def test_a_wait_takes_as_many_blocking_commands_as_it_needs(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    # /predict waits up to 100 s for a job; a Redis that hangs is to be noticed sooner.
    assert redis.connection_pool.connection_kwargs["socket_timeout"] == queue.SOCKET_TIMEOUT > queue.BLOCK_SECONDS
    monkeypatch.setattr(queue, "BLOCK_SECONDS", 1)
    job = queue.enqueue(redis, queue.PROPOSE, "time.sleep", [0], job_id="one", timeout=10)
    assert job is not None
    began = time.monotonic()
    queue.wait_for(job, 2)
    assert time.monotonic() - began >= 2


def test_a_job_whose_worker_died_before_it_began_is_put_back(redis: Redis) -> None:
    def enqueue() -> None:
        queue.enqueue(redis, queue.PROPOSE, "time.sleep", [0], job_id="one", timeout=10)

    line = queue.queue(redis, queue.PROPOSE)
    enqueue()
    enqueue()
    assert line.job_ids == ["one"]
    assert redis.lpop(line.key) == b"one"
    enqueue()
    assert line.job_ids == ["one"]
