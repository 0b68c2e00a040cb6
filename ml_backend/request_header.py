"""X-Request-ID: taken from a call or made, told in its answer, and standing over all that the call does."""

from __future__ import annotations

from flask import Flask, Response, g, request

from ml_backend import request_ids


def carry_request_ids(app: Flask) -> None:
    """Have every call of the application under an id; to be called before what may refuse one is added."""
    app.before_request(_begin)
    app.after_request(_tell)
    app.teardown_request(_end)


def _begin() -> None:
    g.request_id = request_ids.begin(request.headers.get(request_ids.HEADER))


def _tell(answer: Response) -> Response:
    answer.headers[request_ids.HEADER] = g.request_id
    return answer


def _end(error: BaseException | None) -> None:
    del error
    request_ids.end()
