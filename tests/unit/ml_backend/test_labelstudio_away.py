"""What is sent again to a Label Studio that is away, and how long: against real HTTP servers that misbehave."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from label_configs.errors import LabelStudioAway, LabelStudioBusy, LabelStudioError
from ml_backend.labelstudio_access import label_studio_errors
from ml_backend.labelstudio_away import BUSY_TRIES, PatientClient, through_outages

SILENT = 0


class Server:
    """Answers with these statuses in turn, the last one for ever; ``SILENT`` is no answer."""

    def __init__(self, *statuses: int) -> None:
        self.asked: list[str] = []
        left = list(statuses)
        outer = self
        self.over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                outer.asked.append(self.command)
                status = left.pop(0) if len(left) > 1 else left[0]
                if status == SILENT:
                    outer.over.wait(20)
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = do_PATCH = do_DELETE = _answer

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/x"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made: list[Server] = []
    yield made
    for one in made:
        one.close()


def client(patience: float = 5, timeout: float = 5, post_timeout: float = 5) -> PatientClient:
    made = PatientClient(timeout, post_timeout, patience, threading.Event())
    made._reached = True
    return made


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_what_is_the_same_twice_is_sent_again(servers: list[Server], method: str) -> None:
    servers.append(Server(503, 502, 200))
    assert client().request(method, servers[0].url).status_code == 200
    assert servers[0].asked == [method] * 3


@pytest.mark.parametrize("status", [500, 503])
def test_what_was_posted_is_not(servers: list[Server], status: int) -> None:
    servers.append(Server(status, 200))
    assert client().post(servers[0].url, json={}).status_code == status
    assert servers[0].asked == ["POST"]
    servers.append(Server(status, 200))
    assert client().post(servers[1].url.replace("/x", "/api/token/refresh"), json={}).status_code == 200


def test_what_was_deleted_by_an_answer_that_was_lost_is_deleted(servers: list[Server]) -> None:
    servers.append(Server(502, 404))
    assert client().delete(servers[0].url).status_code == 204
    servers.append(Server(404))
    assert client().delete(servers[1].url).status_code == 404


def test_a_failure_that_stays_is_told_after_a_few_tries(servers: list[Server]) -> None:
    servers.append(Server(500))
    assert client(patience=60).get(servers[0].url).status_code == 500
    assert len(servers[0].asked) == BUSY_TRIES


def test_every_request_has_its_limit(servers: list[Server]) -> None:
    servers.append(Server(SILENT))
    for method, kind in (("GET", httpx.ReadTimeout), ("POST", httpx.ReadTimeout)):
        started = time.monotonic()
        with pytest.raises(kind):
            client(patience=0, timeout=0.2, post_timeout=0.4).request(method, servers[0].url, timeout=0.2)
        assert time.monotonic() - started < 5
    assert servers[0].asked == ["GET", "POST"]


def test_nobody_there_is_waited_for_once_it_has_answered(
    servers: list[Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
        stopped = threading.Event()
        far = PatientClient(5, 5, 300, stopped)
        far._reached = True
        threading.Timer(1.5, stopped.set).start()
        started = time.monotonic()
        with label_studio_errors(url, "importing"), pytest.raises(httpx.ConnectError):
            far.post(url)
        assert 1 < time.monotonic() - started < 20, "until it is stopped"
        assert "label studio away" in caplog.text
        with pytest.raises(LabelStudioAway, match="is it running") as caught, label_studio_errors(url, "importing"):
            client(patience=0).get(url)
        assert "\n" not in str(caught.value)


def test_work_is_begun_anew_while_label_studio_is_away_and_a_few_times_while_it_is_busy() -> None:
    for error, tries in ((LabelStudioAway, 4), (LabelStudioBusy, BUSY_TRIES), (LabelStudioError, 1)):
        done: list[int] = []

        def work(error: type[LabelStudioError] = error, done: list[int] = done) -> str:
            done.append(1)
            if len(done) < 4:
                raise error("not now")
            return "done"

        if error is LabelStudioAway:
            assert through_outages(30, work) == "done"
        else:
            with pytest.raises(error, match="not now"):
                through_outages(30, work)
        assert len(done) == tries
