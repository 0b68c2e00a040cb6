"""A Label Studio that is away for a while: which requests are sent again, how long, and what waits for it.

Nothing that writes is sent twice unless twice is the same as once: an answer that is lost may be one that was given.
Whoever posts such a thing looks first what has arrived (``trainer.importing``, ``ml_backend.jobs``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, stop_any, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_exponential, wait_random

from label_configs.errors import LabelStudioAway, LabelStudioBusy, reason
from ml_backend.log_events import LogEvent, tell

log = logging.getLogger(__name__)

T = TypeVar("T")

AWAY = (502, 503, 504)  # statuses of a proxy that finds no Label Studio behind it
BUSY = (408, 425, 429, 500)  # such as a database that is locked; another try may go well
BUSY_TRIES = 3
CONNECT_SECONDS = 10.0  # for reaching it at all
SHORT_PATIENCE = 3.0  # seconds, of whoever has others to serve, and of all before Label Studio has answered once
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)  # it has not seen the request
REPEATABLE = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
SAFE_POSTS = ("/api/token/refresh", "/api/token/refresh/")

_pause = wait_exponential(0.3, max=5) + wait_random(0, 0.3)


class PatientClient(httpx.Client):
    """Sends again what Label Studio did not answer, for ``patience`` seconds once it has answered at all.

    ``timeout`` is a request's limit in seconds; ``post_timeout`` that of one that must not be sent twice, since waiting
    on is the only way to learn what became of it. ``stopped`` ends all waiting.
    """

    def __init__(self, timeout: float, post_timeout: float, patience: float, stopped: Event) -> None:
        super().__init__(timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)), follow_redirects=True)
        self._post_timeout = post_timeout
        self._patience = patience
        self._stopped = stopped
        self._reached = False

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """The answer. Raises httpx's errors when there is none in time."""
        self._limit(request)
        waiting = _Waiting(f"Label Studio at {request.url.copy_with(raw_path=b'/')}", self._given())
        retrying = Retrying(
            retry=_is_worth_another,
            stop=stop_any(stop_after_delay(self._given()), stop_when_event_set(self._stopped)),
            wait=_pause, sleep=sleep_using_event(self._stopped), before_sleep=waiting.told,
            retry_error_callback=_as_it_ended,
        )  # fmt: skip
        answer: httpx.Response = retrying(self._send_once, request, options)
        waiting.over()
        self._reached = True
        if request.method == "DELETE" and answer.status_code == 404 and waiting.times:  # an earlier try did it
            return httpx.Response(204, request=request)
        return answer

    def _send_once(self, request: httpx.Request, options: dict[str, Any]) -> httpx.Response:
        return super().send(request, **options)

    def _given(self) -> float:
        return self._patience if self._reached else min(self._patience, SHORT_PATIENCE)

    def _limit(self, request: httpx.Request) -> None:
        # The SDK gives each request one number for all of its steps.
        limits = dict(request.extensions.get("timeout", {}))
        limits["connect"] = min(limits.get("connect") or CONNECT_SECONDS, CONNECT_SECONDS)
        if not _repeatable(request):
            limits["read"] = self._post_timeout
        request.extensions = {**request.extensions, "timeout": limits}


def through_outages(seconds: float, work: Callable[[], T]) -> T:
    """The result of ``work``, begun anew while Label Studio is away, for so many seconds, or busy, a few times.

    ``work`` must look itself at what an earlier try has done. Raises what it raised last.
    """
    waiting = _Waiting("Label Studio", seconds)

    too_late = stop_after_delay(seconds)

    def enough(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return too_late(state) or (isinstance(error, LabelStudioBusy) and state.attempt_number >= BUSY_TRIES)

    done: T = Retrying(
        retry=retry_if_exception_type((LabelStudioAway, LabelStudioBusy)),
        stop=enough, wait=wait_exponential(0.5, max=10), before_sleep=waiting.told, reraise=True,
    )(work)  # fmt: skip
    waiting.over()
    return done


class _Waiting:
    """Says once that something is waited for, and once that it is over."""

    def __init__(self, whom: str, seconds: float) -> None:
        self._whom, self._seconds = whom, seconds
        self._since = 0.0
        self.times = 0

    def told(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is None and state.outcome and isinstance(answer := state.outcome.result(), httpx.Response):
            answer.close()
        self.times += 1
        if self.times == 1:
            self._since = time.monotonic()
        elif self.times == 2:  # a single hiccup is nobody's business
            why = reason(error) if error else None
            tell(log, LogEvent.LABEL_STUDIO_AWAY, whom=self._whom, patience_seconds=round(self._seconds), reason=why)

    def over(self) -> None:
        if self.times > 1:
            tell(log, LogEvent.LABEL_STUDIO_BACK, after_seconds=round(time.monotonic() - self._since))


def _repeatable(request: httpx.Request) -> bool:
    return request.method in REPEATABLE or request.url.path.endswith(SAFE_POSTS)


def _is_worth_another(state: RetryCallState) -> bool:
    assert state.outcome is not None
    request, error = state.args[0], state.outcome.exception()
    if error is not None:
        return isinstance(error, UNSENT) or (isinstance(error, httpx.TransportError) and _repeatable(request))
    status = state.outcome.result().status_code
    again = status in AWAY or (status in BUSY and state.attempt_number < BUSY_TRIES)
    return again and _repeatable(request)


def _as_it_ended(state: RetryCallState) -> Any:
    """What the last try came to, raised where it is an error."""
    assert state.outcome is not None
    return state.outcome.result()
