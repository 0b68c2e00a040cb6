"""A source behind a real HTTP server that refuses, fails, breaks off, redirects: nothing leaks, nothing is guessed."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import ConfigError, ModelError
from label_configs.records import Document
from ml_backend.adapters import store_of
from ml_backend.devices import DeviceFacts
from ml_backend.source_config import Budget, Calibration, ChatApi, Price, SourceConfig, SourceKind, Structure
from ml_backend.sources.chat_api import ChatApiSource
from ml_backend.sources.pool import SourcePool
from ml_backend.spending import Amount, Ledger
from ml_backend.versions import ActiveSource
from tests.unit.ml_backend.chat_server import ChatServer, Reply, Request, completion

KEY = "sk-winnow-0123456789"
SECRET_TEXT = "The minister's diary says Tuesday."
DOCUMENT = Document("d1", SECRET_TEXT)
DOCUMENTS = [Document(f"d{n}", f"Document number {n}.") for n in range(12)]

Serve = Callable[..., ChatServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that answer with these replies in turn, the last one for ever, or as a function says."""
    with ExitStack() as stack:

        def start(*replies: Reply, answer: Callable[[Request], Reply] | None = None) -> ChatServer:
            left = list(replies)
            return stack.enter_context(
                ChatServer(answer or (lambda _request: left.pop(0) if len(left) > 1 else left[0]))
            )

        yield start


@pytest.fixture
def ledger(home: Path) -> Ledger:
    return Ledger(home)


Make = Callable[..., ChatApiSource]


@pytest.fixture
def make(codebook: Codebook, ledger: Ledger) -> Make:
    """A source of a server; keywords go into its api where it has such a field, else into the source."""

    def build(url: str, key: str | None = KEY, book: Codebook = codebook, **more: Any) -> ChatApiSource:
        fields = {name: more.pop(name) for name in list(more) if name not in ChatApi.__dataclass_fields__}
        api = ChatApi(**{"base_url": url, "retries": 0, "concurrency": 1, **more})
        config = SourceConfig("far", SourceKind.CHAT_API, model="m", api=api, **fields)
        return ChatApiSource(config, "m/zero_shot-api@base", book, ledger, SecretStr(key) if key else None)

    return build


def found(source: ChatApiSource, document: Document = DOCUMENT) -> dict[str, float]:
    (proposal,) = source.propose([document])
    return {scored.label: scored.probability for scored in proposal.labels}


def test_log_probabilities_become_probabilities(serve: Serve, make: Make) -> None:
    first = ("ship", {"ship": 0.6, "gr": 0.2, "The": 0.2})
    server = serve(completion("ship", [first, ("<end>", {"<end>": 0.5, "ping": 0.5})]))
    assert found(make(server.url)) == {"ship": 0.375, "shipping": 0.375, "grain": 0.25}


def test_without_log_probabilities_the_answer_is_a_vote(serve: Serve, make: Make) -> None:
    assert found(make(serve(completion("shipping")).url)) == {"shipping": 1, "ship": 0, "grain": 0}


def test_the_prompt_is_that_of_local_sources(serve: Serve, make: Make) -> None:
    server = serve(completion("grain"))
    make(server.url, prompt="definitions").propose([DOCUMENT])
    (request,) = server.requests
    system, user = request["messages"]
    assert request["path"] == "/v1/chat/completions"
    assert (request["model"], request["temperature"]) == ("m", 0)
    assert (system["role"], user["role"]) == ("system", "user")
    assert "- ship: Vessels and ports." in system["content"]
    assert user["content"].startswith(f"Document: {SECRET_TEXT}\n")
    assert user["content"].endswith("Which label fits best?")


def test_a_model_without_a_system_turn_gets_one_turn(serve: Serve, make: Make) -> None:
    server = serve(completion("grain"))
    make(server.url).propose([DOCUMENT])
    make(server.url, system_turn=False).propose([DOCUMENT])
    two, one = (request["messages"] for request in server.requests)
    assert one == [{"role": "user", "content": "\n\n".join(turn["content"] for turn in two)}]


WORDS = ["ship", "shipping", "grain"]


@pytest.mark.parametrize(
    ("structure", "text", "field", "told"),
    [
        (Structure.CHOICE, "ship", "structured_outputs", {"choice": WORDS}),
        (Structure.JSON_SCHEMA, '{ "answer": "ship"}', "response_format", {"enum": WORDS, "type": "string"}),
        (Structure.NONE, "ship", "response_format", None),
    ],
)
def test_the_server_is_held_to_the_words(
    serve: Serve, make: Make, structure: Structure, text: str, field: str, told: Mapping[str, Any] | None
) -> None:
    server = serve(completion(text))
    assert found(make(server.url, structure=structure))["ship"] == 1
    (request,) = server.requests
    asked = request.get(field)
    if structure is Structure.JSON_SCHEMA:
        asked = asked["json_schema"]["schema"]["properties"]["answer"]
    assert asked == told
    assert request["max_tokens"] >= len("shipping")
    assert request["logprobs"] is True


def test_log_probabilities_within_json(serve: Serve, make: Make) -> None:
    tokens = [('{"answer":', {'{"answer":': 0.8, "{": 0.2}), (' "', {' "': 1.0})]
    word = [("gr", {"gr": 0.7, "ship": 0.3}), ("ain", {"ain": 1.0}), ('"}', {'"}': 1.0})]
    server = serve(completion('{"answer": "grain"}', [*tokens, *word]))
    assert found(make(server.url, structure=Structure.JSON_SCHEMA)) == {"grain": 0.7, "ship": 0.15, "shipping": 0.15}


def test_log_probabilities_are_not_asked_for_when_there_are_none(serve: Serve, make: Make) -> None:
    server = serve(completion("grain"))
    make(server.url, logprobs=False).propose([DOCUMENT])
    assert "logprobs" not in server.requests[0]


def test_each_code_is_asked_about_where_several_may_hold(serve: Serve, make: Make, codebook: Codebook) -> None:
    def answer(request: Request) -> Reply:
        yes = 0.9 if "grain" in request["messages"][1]["content"].splitlines()[-1] else 0.25
        return completion("yes", [("yes", {"yes": yes, "no": 1 - yes})])

    server = serve(answer=answer)
    source = make(server.url, book=Codebook("many", Kind.MULTILABEL, codebook.codes), concurrency=3)
    (proposal,) = source.propose([DOCUMENT])
    assert {s.label: s.probability for s in proposal.labels} == {"grain": 0.9, "ship": 0.25, "shipping": 0.25}
    assert (proposal.tokens, proposal.output_tokens) == (150, 6)
    assert {r["structured_outputs"]["choice"][0] for r in server.requests} == {"yes"}


def test_levels_are_asked_for(serve: Serve, make: Make) -> None:
    book = Codebook("moods", Kind.GRADED, tuple(Code(k, k, k, k) for k in ("joy", "fear")), levels=("low", "high"))
    server = serve(completion("high", [("high", {"high": 0.5, "low": 0.2, "none": 0.3})]))
    assert found(make(server.url, book=book)) == {"joy:high": 0.5, "joy:low": 0.2, "fear:high": 0.5, "fear:low": 0.2}
    assert server.requests[0]["structured_outputs"] == {"choice": ["none", "low", "high"]}


def test_a_free_answer_is_read_from_its_log_probabilities_alone(serve: Serve, make: Make) -> None:
    server = serve(completion("Grain!", [("Grain", {"Grain": 0.7, "gr": 0.2, "ship": 0.1}), ("!", {"!": 1.0})]))
    assert found(make(server.url, structure=Structure.NONE))["grain"] == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize("text", ["I think it is about a ship.", "", "Ship"])
def test_an_answer_that_is_no_label_is_not_guessed_at(serve: Serve, make: Make, text: str) -> None:
    with pytest.raises(
        ModelError, match=r"source far: m answered with none of the codebook's words; set api.structure"
    ):
        make(serve(completion(text)).url, structure=Structure.NONE).propose([DOCUMENT])


def test_long_documents_lose_their_middle(serve: Serve, make: Make) -> None:
    server = serve(completion("grain"))
    text = "a" * 80 + "b" * 1001 + "c" * 40
    (proposal,) = make(server.url, max_document_tokens=30).propose([Document("long", text)])
    assert proposal.truncated == 251
    assert server.requests[0]["messages"][1]["content"] == "Document: " + "a" * 80 + "c" * 40


def test_proposals_come_in_order_with_their_cost(serve: Serve, make: Make) -> None:
    def answer(request: Request) -> Reply:
        number = int(request["messages"][1]["content"].rpartition(" ")[2].rstrip("."))
        return completion(WORDS[number % 3], usage=(100 + number, 3))

    price = Price(input=2, output=10)
    proposals = make(serve(answer=answer).url, concurrency=4, price=price).propose(DOCUMENTS)
    assert [p.document_id for p in proposals] == [d.id for d in DOCUMENTS]
    assert [p.labels[0].label for p in proposals] == [WORDS[n % 3] for n in range(12)]
    assert [p.tokens for p in proposals] == [100 + n for n in range(12)]
    assert proposals[5].price == pytest.approx((105 * 2 + 3 * 10) / 1e6)
    assert all(p.seconds > 0 for p in proposals)
    assert make("http://127.0.0.1:9").propose([]) == []


def test_requests_at_once_are_limited(serve: Serve, make: Make) -> None:
    def answer(_request: Request) -> Reply:
        assert server.wait_for_requests_at_once(3)
        server.wait_for_requests_at_once(4, timeout=0.1)  # time for one too many to come
        return completion("grain")

    server: ChatServer = serve(answer=answer)
    make(server.url, concurrency=3).propose(DOCUMENTS)
    assert server.most_at_once == 3


BUSY = Reply(b"{}", 429, {"Retry-After": "0"})


@pytest.mark.parametrize("trouble", [BUSY, Reply(b"oops", 500), Reply(b'{"choi', cut=True)])
def test_trouble_that_passes_is_sat_out(serve: Serve, make: Make, trouble: Reply) -> None:
    server = serve(trouble, completion("grain"))
    assert found(make(server.url, retries=1))["grain"] == 1
    assert len(server.requests) == 2


ECHO = json.dumps({"error": {"message": f"bad key {KEY}, bad document {SECRET_TEXT}", "code": KEY}}).encode()


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (BUSY, r"answers 429: too many requests.*lower api.concurrency"),
        (Reply(ECHO, 500), r"answers 500: it failed again and again; see the server's log"),
        (Reply(ECHO, 400), r"answers 400: it refuses the request; set api.structure"),
        (Reply(ECHO, 401), r"answers 401: it refuses the key; mend the key 'NAME' in WINNOW_API_KEYS"),
        (Reply(ECHO, 404), r"answers 404: it has no model 'm', or no chat interface there; mend model or api.base_url"),
        (Reply(b"{}", 307, {"Location": "http://127.0.0.1:9/"}), "a redirect, which is not followed"),
        (Reply(ECHO[:40], cut=True), r"cannot be reached or broke off \(\w+\); start the server"),
        (Reply(ECHO[:-5]), r"answers with something that is no chat completion; check api.base_url"),
        (Reply(b'{"choices": []}'), r"something that is no chat completion"),
        (Reply(b"<html>", headers={"Content-Type": "text/html"}), r"something that is no chat completion"),
    ],
)
def test_trouble_that_stays_is_told_in_one_line_without_key_or_document(
    serve: Serve, make: Make, caplog: pytest.LogCaptureFixture, trouble: Reply, message: str
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("openai").setLevel(logging.NOTSET)
    server = serve(trouble)
    with pytest.raises(ModelError, match=message) as caught:
        make(server.url).propose([DOCUMENT])
    assert str(caught.value).startswith("source far: 127.0.0.1:")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert caplog.records, "the libraries below do log"
    for text in (str(caught.value), caplog.text):
        assert KEY not in text
        assert "minister" not in text


def test_a_server_that_is_not_there_or_silent(serve: Serve, make: Make, ledger: Ledger) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(ModelError, match=r"cannot be reached or broke off \(ConnectError\)"):
            make(f"http://127.0.0.1:{probe.getsockname()[1]}/v1").propose([DOCUMENT])
    assert ledger.spent("far") == Amount(), "no server has seen it"
    server: ChatServer = serve(answer=lambda _: completion("grain") if server.wait_for_requests_at_once(2) else Reply())
    with pytest.raises(ModelError, match=r"gave no answer within 0.2 seconds; raise api.timeout_seconds"):
        make(server.url, timeout_seconds=0.2).propose([DOCUMENT])
    assert ledger.spent("far").tokens > len(SECRET_TEXT), "it may have computed all of it"
    with server.changed:
        server.most_at_once = 2
        server.changed.notify_all()


def test_documents_follow_no_redirect_and_no_proxy(serve: Serve, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    other = serve(completion("grain"))
    server = serve(Reply(b"{}", 307, {"Location": f"{other.url}/chat/completions"}), completion("ship"))
    monkeypatch.setenv("HTTP_PROXY", other.url)
    monkeypatch.setenv("http_proxy", other.url)
    source = make(server.url)
    with pytest.raises(ModelError, match="a redirect"):
        source.propose([DOCUMENT])
    assert found(source)["ship"] == 1
    assert other.requests == []


def test_another_host_is_refused_without_leave(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"api.base_url: models.example is not this machine.*allow_remote: true"):
        make("https://models.example/v1")
    make("https://models.example/v1", allow_remote=True)


def test_the_budget_stops_the_run_before_it_is_passed(serve: Serve, make: Make, ledger: Ledger) -> None:
    server = serve(completion("grain", usage=(400, 2)))
    source = make(server.url, concurrency=4, budget=Budget(tokens=5000))
    with pytest.raises(
        ModelError, match=r"source far: the budget of 5,000 tokens is spent .*; raise api.budget.tokens"
    ):
        source.propose(DOCUMENTS)
    assert 0 < len(server.requests) * 402 <= 5000
    assert ledger.spent("far").tokens == len(server.requests) * 402
    made = len(server.requests)
    again = make(server.url, budget=Budget(tokens=ledger.spent("far").tokens))
    with pytest.raises(ModelError, match="budget"):
        again.propose([DOCUMENT])
    assert len(server.requests) == made


def test_refusals_cost_nothing_and_an_answer_without_usage_its_bound(serve: Serve, make: Make, ledger: Ledger) -> None:
    server = serve(BUSY, BUSY, completion("grain", usage=None))
    (proposal,) = make(server.url, retries=2, price=Price(input=1)).propose([DOCUMENT])
    assert proposal.tokens > len(SECRET_TEXT)
    assert ledger.spent("far").tokens == proposal.tokens + proposal.output_tokens
    assert ledger.spent("far").money == pytest.approx(proposal.tokens / 1e6)


def test_after_an_error_nothing_more_is_asked(serve: Serve, make: Make) -> None:
    server = serve(Reply(b"{}", 401))
    with pytest.raises(ModelError):
        make(server.url).propose(DOCUMENTS)
    assert len(server.requests) < len(DOCUMENTS)


def test_what_the_model_says_without_content_is_divided_out(serve: Serve, make: Make) -> None:
    def answer(request: Request) -> Reply:
        asked = request["messages"][1]["content"] == f"Document: {SECRET_TEXT}"
        return completion("grain", [("grain", {"grain": 0.6, "ship": 0.4} if asked else {"grain": 0.8, "ship": 0.2})])

    server = serve(answer=answer)
    source = make(server.url, calibration=Calibration.CONTEXTUAL)
    assert found(source) == pytest.approx({"ship": 8 / 19, "shipping": 8 / 19, "grain": 3 / 19}, abs=1e-6)
    assert found(source)["ship"] > 0
    assert len(server.requests) == 3 + 2, "three documents without content, once"


def test_the_pool_builds_it_with_the_key_that_is_named(
    serve: Serve, home: Path, cpu: DeviceFacts, codebook: Codebook
) -> None:
    server = serve(completion("grain"))
    api = ChatApi(server.url, key="house", retries=0)
    active = ActiveSource(SourceConfig("far", SourceKind.CHAT_API, model="m", api=api), "m/zero_shot-api@base")
    pool = SourcePool(cpu, store_of(home), {"house": SecretStr(KEY)})
    assert pool.source(codebook, active).propose([DOCUMENT])[0].labels[0].label == "grain"
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert Ledger(home).spent("far") == Amount(52)
    with pytest.raises(ConfigError, match=r"source far: api.key: no key 'house' in WINNOW_API_KEYS; set it to"):
        SourcePool(cpu, store_of(home)).source(codebook, active)
