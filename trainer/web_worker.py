"""gunicorn's threaded worker, which waits for no client longer than it takes to send a request in earnest.

A thread serves one request at a time, so clients that send a byte now and then could occupy them all. What gunicorn
itself refuses, before the application sees it, gets the application's shape of error, and neither log nor answer quotes
the request: a mistyped header may hold a password.
"""

from __future__ import annotations

import errno
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import TConn, ThreadWorker

from ml_backend.log_events import LogEvent, tell

log = logging.getLogger(__name__)

READ_SECONDS = 60.0  # for headers and body together; 64 MiB take 5 at 100 Mbit/s
WRITE_SECONDS = 60.0  # for a piece of an answer
REFUSED = {
    LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long; shorten its query"),
    LimitRequestHeaders: (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers, or too long ones; send fewer"),
    UnsupportedTransferCoding: (HTTPStatus.NOT_IMPLEMENTED, "this Transfer-Encoding is not known; use chunked or none"),
    ExpectationFailed: (HTTPStatus.EXPECTATION_FAILED, "this Expect is not known; leave it out"),
    ParseException: (HTTPStatus.BAD_REQUEST, "this is no HTTP request; see what sends it"),
}
INTERNAL = (HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error; the log of the web process has it")


class ImpatientSocket(socket.socket):
    """A connection that is taken for closed by its client when a request was not read in time."""

    _until = 0.0

    def expect_request(self) -> None:
        """From now on the client has READ_SECONDS."""
        self._until = time.monotonic() + READ_SECONDS

    def recv(self, size: int, flags: int = 0) -> bytes:
        """What the client sent; nothing where it hung up or is too late."""
        with self._in_time(self._until - time.monotonic()) as left:
            try:
                return super().recv(size, flags) if left > 0 else b""
            except TimeoutError:
                return b""

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of it. Raises BrokenPipeError where the client does not take it in time."""
        with self._in_time(WRITE_SECONDS):
            try:
                super().sendall(data, flags)
            except TimeoutError:
                raise BrokenPipeError(errno.EPIPE, "the client does not read its answer") from None

    @contextmanager
    def _in_time(self, seconds: float) -> Iterator[float]:
        """Within the block the socket waits no longer than this, or than it would have."""
        before = self.gettimeout()
        left = seconds if before is None else min(seconds, before)
        if left > 0:
            self.settimeout(left)
        try:
            yield seconds
        finally:
            self.settimeout(before)


class WebWorker(ThreadWorker):
    """See above."""

    def handle(self, conn: TConn) -> Any:
        """One request of a connection, in one of the threads."""
        if not isinstance(conn.sock, ImpatientSocket):
            conn.sock = ImpatientSocket(fileno=conn.sock.detach())
        conn.sock.expect_request()
        return super().handle(conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:  # noqa: ARG002
        """Answer what is no request, or what failed outside of the application."""
        status, message = next((told for kind, told in REFUSED.items() if isinstance(exc, kind)), INTERNAL)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            tell(log, LogEvent.REQUEST_FAILED, error=exc)
        else:
            address = addr[0] if addr else None
            tell(log, LogEvent.REQUEST_REFUSED, status=status.value, code=type(exc).__name__, address=address)
        code = status.phrase.lower().replace(" ", "-")
        body = json.dumps({"error": {"code": code, "message": message}}).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\r\n"
        )
        try:
            write_nonblock(client, head.encode() + body)
        except OSError:
            log.debug("the client of a refused request is gone")
