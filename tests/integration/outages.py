"""Label Studio going away: a server of one's own that is killed or hangs, and a way between that loses answers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import httpx

from trainer.demo.label_studio import LabelStudioServer

HOP_BY_HOP = ("connection", "content-length", "content-encoding", "transfer-encoding", "keep-alive", "date", "server")


@dataclass
class OwnLabelStudio:
    """A server that comes back at the same address with the same data; ``token`` outlives it."""

    server: LabelStudioServer
    token: str

    def kill(self) -> None:
        """As by a crash: connections break, and then are refused."""
        assert self.server.pid
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.stop()

    def start(self) -> None:
        """Return when it answers again."""
        self.server.start()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Connections are taken and nothing is answered; what was asked meanwhile is done afterwards."""
        assert self.server.pid
        os.killpg(self.server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.server.pid, signal.SIGCONT)


class Between:
    """An HTTP server that hands everything on to Label Studio, and loses answers: what was asked has been done.

    ``lose(method, path, times)``: the next so many answers to requests whose path holds ``path``, or with ``status``
    that is answered instead. ``lost`` has the method and path of each. ``before(method, path)`` is called before a
    request is handed on. Any other server may be behind it, too.
    """

    def __init__(self, url: str) -> None:
        self.lost: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self._losing: list[tuple[str, str, int, int]] = []
        self._lock = threading.Lock()
        # A connection that is kept open would be one to a server that was killed meanwhile.
        self._upstream = httpx.Client(base_url=url, timeout=120, limits=httpx.Limits(max_keepalive_connections=0))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with suppress(ConnectionError):  # the client hung up
                    super().handle()

            def _hand_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                outer.before(self.command, self.path)
                answer = outer._upstream.request(self.command, self.path, headers=headers, content=body)
                status = outer._lose(self.command, self.path)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status or answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                content = b"" if status else answer.content
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(ConnectionError):  # the client may have lost its patience
                    self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _hand_on

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        """Where Label Studio seems to be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def lose(self, method: str, path: str, times: int = 1, status: int = 0) -> None:
        """Lose answers to come; ``status`` 0 breaks the connection off."""
        with self._lock:
            self._losing.append((method, path, times, status))

    def forget(self) -> None:
        """Lose no more answers."""
        with self._lock:
            self._losing.clear()

    def _lose(self, method: str, path: str) -> int | None:
        with self._lock:
            for place, (wanted, part, times, status) in enumerate(self._losing):
                if method == wanted and part in path and times:
                    self._losing[place] = (wanted, part, times - 1, status)
                    self.lost.append((method, path))
                    return status
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._upstream.close()
