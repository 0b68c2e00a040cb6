"""A real HTTP server on 127.0.0.1 that speaks OpenAI's chat interface, and misbehaves as a test wants."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Request = dict[str, Any]  # the body, with the path under "path"


@dataclass(frozen=True)
class Reply:
    """What is sent back. ``cut`` promises more bytes than it sends, and hangs up; ``silent`` hangs up at once."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    silent: bool = False


def completion(
    text: str,
    tables: Sequence[tuple[str, Mapping[str, float]]] | None = None,
    usage: tuple[int, int] | None = (50, 2),
) -> Reply:
    """An answer; ``tables`` are its tokens, each with the probabilities of what could have stood there."""
    content = [
        {"token": token, "bytes": list(token.encode()), "logprob": math.log(table[token])}
        | {"top_logprobs": [{"token": t, "bytes": None, "logprob": math.log(p)} for t, p in table.items()]}
        for token, table in tables or ()
    ]
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    body: dict[str, Any] = {
        "id": "1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [choice | {"logprobs": {"content": content} if tables else None}],
    }  # fmt: skip
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Reply(json.dumps(body).encode())


class ChatServer:
    """Answers each request with ``answer(request)``; keeps what it was asked and how many at once."""

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.requests: list[Request] = []
        self.headers: list[Mapping[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._respond({})

            def do_POST(self) -> None:
                self._respond(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def _respond(self, body: Request) -> None:
                request = body | {"path": self.path}
                with outer.changed:
                    outer.requests.append(request)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                    outer.changed.notify_all()
                reply = answer(request)
                with outer.changed:
                    outer.at_once -= 1
                if reply.silent:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body) + (100 if reply.cut else 0)))
                self.end_headers()
                with suppress(ConnectionError):  # the client may have lost its patience
                    self.wfile.write(reply.body)
                self.close_connection = reply.cut

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        """The base URL of its interface."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def wait_for_requests_at_once(self, number: int, timeout: float = 5) -> bool:
        """Return when so many requests have been under way at once, False after ``timeout`` seconds."""
        with self.changed:
            return self.changed.wait_for(lambda: self.most_at_once >= number, timeout)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
