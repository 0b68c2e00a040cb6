"""Many requests to a chat API, several under way at once: what each came to, and when it is no use to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import Generic, TypeVar

from label_configs.errors import ModelError, SourceError
from ml_backend.chat_client import Answer

R = TypeVar("R")

GIVE_UP_AFTER = 3  # requests that failed in a row, each after its retries; or ``concurrency`` where that is more


class ChatRun(Generic[R]):
    """Asks ``ask(request, stopped)``, for ``concurrency`` requests at once.

    With ``each`` a document fails alone. The run is given up where the source as a whole fails (SourceError), or so
    many requests in a row that it seems to: each may have taken minutes. Without, it is given up at the first failure.
    What is given up is not asked and not paid for.
    """

    def __init__(self, ask: Callable[[R, Event], Answer], concurrency: int, *, each: bool) -> None:
        self._ask = ask
        self._concurrency = concurrency
        self._most = max(GIVE_UP_AFTER, concurrency) if each else 1
        self._stopped = Event()
        self._lock = Lock()
        self._in_a_row = 0
        self._given_up: ModelError | None = None

    def answers(self, documents: Sequence[Sequence[R]]) -> list[list[Answer] | ModelError]:
        """For each document's requests all their answers, or why there are none. Raises what is no ModelError."""
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="chat-api") as pool:
            futures = [[pool.submit(self._one, request) for request in row] for row in documents]
            try:
                wait([future for row in futures for future in row])
            finally:  # after Ctrl-C, too, nothing more is asked and paid for
                self._stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
        return [self._of(row) for row in futures]

    def _one(self, request: R) -> Answer | ModelError | None:
        """None where it was not asked."""
        if self._stopped.is_set():
            return None
        try:
            answer = self._ask(request, self._stopped)
        except ModelError as error:
            self._failed(error)
            return error
        except BaseException:
            self._stopped.set()
            raise
        with self._lock:
            self._in_a_row = 0
        return answer

    def _failed(self, error: ModelError) -> None:
        with self._lock:
            self._in_a_row += 1
            if self._given_up is None and (isinstance(error, SourceError) or self._in_a_row >= self._most):
                self._given_up = error
                self._stopped.set()

    def _of(self, row: Sequence[Future[Answer | ModelError | None]]) -> list[Answer] | ModelError:
        found = [future.result() for future in row]
        answers = [one for one in found if isinstance(one, Answer)]
        if len(answers) == len(found):
            return answers
        failed = next((one for one in found if isinstance(one, ModelError)), self._given_up)
        if failed is None:
            raise AssertionError("a request is left out only where the run was given up")
        return failed
