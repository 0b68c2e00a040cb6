"""The web process under gunicorn, with clients that are slow, odd or hostile on the wire."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.running import until
from trainer.demo.walk import free_port
from trainer.serving import THREADS
from trainer.tether import tethered
from trainer.up import web_answers

# The very process of `winnow serve`, which waits for a second instead of a minute.
PROGRAM = "import trainer.web_worker as w; w.READ_SECONDS = 1.0; from trainer.cli import main; main(['serve'])"


@pytest.fixture(scope="module")
def port(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a web process with one worker."""
    home, port = tmp_path_factory.mktemp("slow"), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")} | {
        "WINNOW_HOME": str(home), "WINNOW_REDIS_URL": redis_url, "WINNOW_PORT": str(port), "WINNOW_WEB_WORKERS": "1",
        "WINNOW_PASSWORD": "p",
    }  # fmt: skip
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            tethered([sys.executable, "-c", PROGRAM]), env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    until(lambda: process.poll() is not None or web_answers(f"http://127.0.0.1:{port}"), 120)
    yield port
    process.terminate()
    process.wait(15)
    told = (home / "log").read_text()
    assert "Traceback" not in told
    assert "hunter2" not in told


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.settimeout(30)
    return connection


def answer_of(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """Status and JSON of what comes until the connection is closed."""
    with connection:
        came = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = came.partition(b"\r\n\r\n")
    assert b"application/json" in head, came
    return int(head.split()[1]), json.loads(body)


def test_clients_that_never_end_their_requests_leave_room_for_others(port: int) -> None:
    slow = [connect(port) for _ in range(2 * THREADS)]
    for number, connection in enumerate(slow):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"y" * number)
    assert web_answers(f"http://127.0.0.1:{port}") or web_answers(f"http://127.0.0.1:{port}")
    for connection in slow:
        with connection:
            assert connection.recv(1000) == b"", "closed, without an answer"


def test_a_body_that_never_ends_is_refused(port: int) -> None:
    connection = connect(port)
    connection.sendall(
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nAuthorization: Basic d2lubm93OnA=\r\nConnection: close\r\n"
        b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"action": '
    )
    status, body = answer_of(connection)
    assert status == 400
    assert body["error"]["code"] == "bad-request"  # type: ignore[index]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"hunter2 nonsense\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: " + b"hunter2" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: hunter2\r\n" % n for n in range(300)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : hunter2\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: hunter2\r\n\r\n", 501),
    ],
    ids=["no request", "address", "header", "headers", "name", "version", "encoding"],
)
def test_what_is_no_request_has_the_one_shape(port: int, sent: bytes, expected: int) -> None:
    connection = connect(port)
    connection.sendall(sent)
    status, body = answer_of(connection)
    assert status == expected
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["code", "message"]  # type: ignore[call-overload]
    assert "hunter2" not in str(body)
