"""A chat API that fails for some documents: they fail alone and by name, the others are proposed for, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import Codebook
from label_configs.errors import ModelError, SourceError
from label_configs.records import Document, Proposal
from ml_backend.classifying import ClassifySpec, propose_each, propose_missing
from ml_backend.source_config import Budget, Calibration, ChatApi, SourceConfig, SourceKind, Structure
from ml_backend.sources.base import Source
from ml_backend.sources.calibrated import CalibratedSource
from ml_backend.sources.chat_api import ChatApiSource
from ml_backend.spending import Ledger
from ml_backend.versions import ActiveSource
from tests.unit.ml_backend.chat_server import ChatServer, Reply, Request, completion

KEY = "sk-winnow-9876543210"
BAD = "Document number 5."
DOCUMENTS = [Document(f"d{n}", f"Document number {n}.") for n in range(10)]
TOKENS = 52  # of an answer, as the server counts

FAULTS = {
    "429": (Reply(b"{}", 429), "answers 429: too many requests"),
    "429 with Retry-After": (Reply(b"{}", 429, {"Retry-After": "0"}), "answers 429: too many requests"),
    "500": (Reply(b"oops", 500), "answers 500: it failed again and again"),
    "half a body": (Reply(b'{"choices": [{"mess', cut=True), "broke off"),
    "wrong JSON": (Reply(b'{"choices": ['), "no chat completion"),
    "wrong shape": (Reply(b'{"choices": "grain"}'), "no chat completion"),
    "no choice": (Reply(b'{"choices": []}'), "no chat completion"),
    "empty answer": (completion("", usage=None), "none of the codebook's words"),
    "hung up": (Reply(silent=True), "broke off"),
}
FREE = ("429", "429 with Retry-After", "500")
PASSING = [name for name in FAULTS if name not in ("wrong JSON", "wrong shape", "no choice", "empty answer")]

Answering = Callable[[Request], Reply]


def is_bad(request: Request) -> bool:
    return BAD in str(request["messages"][-1]["content"])


@pytest.fixture
def ledger(home: Path) -> Ledger:
    return Ledger(home)


@contextmanager
def source(
    codebook: Codebook, ledger: Ledger, answer: Answering, **more: Any
) -> Iterator[tuple[ChatApiSource, ChatServer]]:
    with ChatServer(answer) as server:
        fields = {name: more.pop(name) for name in list(more) if name in SourceConfig.__dataclass_fields__}
        settings = {"retries": 1, "concurrency": 2, "structure": Structure.NONE, **more}
        config = SourceConfig("far", SourceKind.CHAT_API, model="m", api=ChatApi(server.url, **settings), **fields)
        yield ChatApiSource(config, "m/zero_shot-api@base", codebook, ledger, SecretStr(KEY)), server


@pytest.mark.parametrize("fault", FAULTS)
def test_a_document_fails_alone_and_by_name(
    codebook: Codebook, ledger: Ledger, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    trouble, told = FAULTS[fault]
    with source(codebook, ledger, lambda asked: trouble if is_bad(asked) else completion("grain")) as (far, server):
        made = far.propose_each(DOCUMENTS)
    for document, one in zip(DOCUMENTS, made, strict=True):
        if document.text == BAD:
            assert isinstance(one, ModelError)
            assert str(one).startswith("source far: ")
            assert told in str(one)
            assert KEY not in str(one)
            assert "number 5" not in str(one)
        else:
            assert isinstance(one, Proposal)
            assert (one.document_id, one.labels[0].label) == (document.id, "grain")
    asked = sum(map(is_bad, server.requests))
    assert asked == (2 if fault in PASSING else 1), "what will not pass is not asked again"
    spent = ledger.spent("far").tokens - 9 * TOKENS
    assert spent == 0 if fault in FREE else spent > 0, "a refusal is free; what may have been computed is paid for"
    assert KEY not in caplog.text
    assert "number 5" not in caplog.text


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_sat_out(codebook: Codebook, ledger: Ledger, fault: str) -> None:
    left = [FAULTS[fault][0]]
    with source(codebook, ledger, lambda _asked: left.pop() if left else completion("grain")) as (far, server):
        made = far.propose_each(DOCUMENTS)
    assert all(isinstance(one, Proposal) for one in made)
    assert len(server.requests) == len(DOCUMENTS) + 1
    spent = ledger.spent("far").tokens - 10 * TOKENS
    assert spent == 0 if fault in FREE else 0 < spent < 1000


def test_no_answer_in_time_is_one_document_too(codebook: Codebook, ledger: Ledger) -> None:
    over = Event()

    def answer(asked: Request) -> Reply:
        if is_bad(asked):
            over.wait(30)
        return completion("grain")

    with source(codebook, ledger, answer, retries=0, timeout_seconds=0.5) as (far, _server):
        made = far.propose_each(DOCUMENTS)
        over.set()
    (failed,) = [one for one in made if isinstance(one, ModelError)]
    assert "gave no answer within 0.5 seconds" in str(failed)


def test_what_fails_as_a_whole_is_not_asked_on(codebook: Codebook, ledger: Ledger) -> None:
    with source(codebook, ledger, lambda _asked: Reply(b"{}", 401)) as (far, server):
        made = far.propose_each(DOCUMENTS)
    assert all(isinstance(one, SourceError) and "refuses the key" in str(one) for one in made)
    assert len(server.requests) <= 2
    with source(codebook, ledger, lambda _asked: Reply(b"{}", 500), retries=0) as (far, server):
        made = far.propose_each(DOCUMENTS)
    assert all(isinstance(one, ModelError) for one in made)
    assert len(server.requests) <= 4, "three in a row, and what was under way"
    budget = Budget(tokens=4 * TOKENS + 500)
    with source(codebook, ledger, lambda _asked: completion("grain"), budget=budget, concurrency=1) as (far, server):
        made = far.propose_each(DOCUMENTS)
    done = [one for one in made if isinstance(one, Proposal)]
    assert 0 < len(done) == len(server.requests) < len(DOCUMENTS)
    assert all("the budget of" in str(one) for one in made if isinstance(one, ModelError))


def test_another_temperature_and_a_prior_change_nothing_about_that(
    codebook: Codebook, ledger: Ledger, redis: Redis
) -> None:
    def answer(asked: Request) -> Reply:
        return Reply(b"{}", 500) if is_bad(asked) else completion("grain")

    with source(codebook, ledger, answer, retries=0, calibration=Calibration.CONTEXTUAL) as (far, _server):
        spec = ActiveSource(SourceConfig("far", SourceKind.CHAT_API), "v")
        pool = One(CalibratedSource(far, 2.0, codebook))
        made = propose_each(redis, pool, ClassifySpec(codebook, (spec,)), DOCUMENTS)
    assert [isinstance(one, ModelError) for one in made] == [one.text == BAD for one in DOCUMENTS]


def test_what_was_made_is_kept_and_not_paid_for_again(codebook: Codebook, ledger: Ledger, redis: Redis) -> None:
    mended = Event()

    def answer(asked: Request) -> Reply:
        return Reply(b"{}", 500) if is_bad(asked) and not mended.is_set() else completion("grain")

    with source(codebook, ledger, answer, retries=0) as (far, server):
        spec = ClassifySpec(codebook, (ActiveSource(SourceConfig("far", SourceKind.CHAT_API), far.version),))
        with pytest.raises(ModelError, match="answers 500"):
            propose_missing(redis, One(far), spec, DOCUMENTS)
        assert len(server.requests) == 10
        mended.set()
        assert len(propose_missing(redis, One(far), spec, DOCUMENTS)) == 10
        assert len(server.requests) == 11, "only the one that failed"
    assert ledger.spent("far").tokens == 10 * TOKENS


class One:
    """A pool of one source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def source(self, codebook: Codebook, active: ActiveSource) -> Source:
        del codebook, active
        return self._source
