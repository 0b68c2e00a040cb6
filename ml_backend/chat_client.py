"""A client of one model behind OpenAI's chat interface: requests are repeated, paid for, and fail in one line."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, Field, FiniteFloat, NonNegativeInt, SecretStr, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_random_exponential

from label_configs.errors import ModelError, SourceError
from ml_backend.answers import Position
from ml_backend.source_config import ChatApi, Price, SourceConfig, is_local_url
from ml_backend.spending import Amount, Ledger, cost

PASSING = (408, 409, 425, 429)  # statuses, besides 500 and above, that another attempt may not meet
LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the server asks for
FRAME_TOKENS = 256  # what a chat template and a schema add to the tokens of the messages, at most
NO_KEY = "none"  # the library wants one; servers without keys do not look at it
UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # httpx's and httpx2's: no server has seen the request

Byte = Annotated[int, Field(ge=0, le=255)]
_backoff = wait_random_exponential(multiplier=0.5, max=8)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote, token by token where the server tells (else no positions), and what it took."""

    text: str
    positions: tuple[Position, ...]
    tokens: int
    output_tokens: int
    seconds: float


class _Token(BaseModel):
    token: str
    logprob: FiniteFloat
    raw: list[Byte] | None = Field(default=None, alias="bytes")

    @property
    def utf8(self) -> bytes:
        return self.token.encode(errors="replace") if self.raw is None else bytes(self.raw)


class _Written(_Token):
    top_logprobs: list[_Token] = []


class _LogProbabilities(BaseModel):
    content: list[_Written] | None = None


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    logprobs: _LogProbabilities | None = None


class _Usage(BaseModel):
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class ChatClient:
    """Asks the model of one source; for many threads at once.

    Redirects are not followed, and a server on this machine is never asked through a proxy: no document goes to a host
    that winnow.yaml does not name. Errors name neither the key nor anything of a document or an answer.
    """

    def __init__(self, config: SourceConfig, api: ChatApi, ledger: Ledger, key: SecretStr | None) -> None:
        self._name, self._model = config.name, config.model
        self._api = api
        self._price: Price | None = config.price
        self._ledger = ledger
        self._has_key = key is not None
        self.host = urlsplit(api.base_url).netloc.rpartition("@")[2]
        self._client = openai.OpenAI(
            base_url=api.base_url,
            api_key=key.get_secret_value() if key else NO_KEY,
            max_retries=0,  # each attempt is set apart and booked by itself, so they are made here
            timeout=api.timeout_seconds,
            http_client=openai.DefaultHttpxClient(
                follow_redirects=False, trust_env=not is_local_url(api.base_url), timeout=api.timeout_seconds
            ),
        )
        self._client.organization = self._client.project = None  # of some other use of the environment's variables

    def ask(
        self, messages: Sequence[dict[str, str]], most_tokens: int, options: dict[str, object], stopped: Event
    ) -> Answer:
        """The model's answer of at most ``most_tokens``, at temperature 0; ``options`` go into the request's body.

        Repeated while the server is busy, fails or cannot be reached, until ``stopped`` is set. Raises ModelError, and
        SourceError where no other document would fare better: no server there, a refused key, a spent budget.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self._api.retries + 1) | stop_when_event_set(stopped),
            retry=retry_if_exception(_may_pass),
            wait=_pause,
            sleep=sleep_using_event(stopped),
            reraise=True,
        )
        try:
            return retrying(self._attempt, messages, most_tokens, options)
        except openai.OpenAIError as error:
            kind = SourceError if _is_of_the_server(error) else ModelError
            raise kind(f"source {self._name}: {self._told(error)}") from None

    def _attempt(self, messages: Sequence[dict[str, str]], most_tokens: int, options: dict[str, object]) -> Answer:
        # A token is a byte at least. What the server holds the answer to may become a part of the prompt, too.
        size = len(json.dumps([list(messages), options], ensure_ascii=False).encode())
        most = Amount(size + FRAME_TOKENS + most_tokens, cost(self._price, size + FRAME_TOKENS, most_tokens))
        hold = 4 * self._api.timeout_seconds + 60  # the limit holds for each of connecting, sending, waiting, reading
        with self._ledger.reserved(self._name, self._api.budget, most, hold) as reservation:
            started = time.perf_counter()
            try:
                raw = self._client.chat.completions.with_raw_response.create(
                    model=self._model,
                    messages=cast(Any, messages),
                    max_tokens=most_tokens,
                    temperature=0,
                    extra_body=options,
                )
            except openai.APIStatusError:
                reservation.settle(Amount())
                raise
            except openai.APIConnectionError as error:
                if type(error.__cause__).__name__ in UNSENT:
                    reservation.settle(Amount())
                raise
            seconds = time.perf_counter() - started
            completion = self._completion(raw.text)
            usage = completion.usage
            tokens, output = (usage.prompt_tokens, usage.completion_tokens) if usage else (size, most_tokens)
            reservation.settle(Amount(tokens + output, cost(self._price, tokens, output)))
        choice = completion.choices[0]
        written = (choice.logprobs.content if choice.logprobs else None) or []
        positions = tuple(Position(w.utf8, {t.utf8: t.logprob for t in (*w.top_logprobs, w)}) for w in written)
        return Answer(choice.message.content or "", positions, tokens, output, seconds)

    def _completion(self, body: str) -> _Completion:
        try:
            return _Completion.model_validate_json(body)
        except ValidationError:
            raise ModelError(
                f"source {self._name}: {self.host} answers with something that is no chat completion; "
                "check api.base_url, which ends with /v1 for most servers"
            ) from None

    def _told(self, error: openai.OpenAIError) -> str:
        """What went wrong, with the remedy; nothing that the server wrote, since that may quote key or document."""
        if isinstance(error, openai.APITimeoutError):
            limit = f"{self._api.timeout_seconds:g}"
            return (
                f"{self.host} gave no answer within {limit} seconds; raise api.timeout_seconds or lower api.concurrency"
            )
        if isinstance(error, openai.APIConnectionError):
            cause = type(error.__cause__).__name__
            return f"{self.host} cannot be reached or broke off ({cause}); start the server, or mend api.base_url"
        if not isinstance(error, openai.APIStatusError):
            return f"{self.host} answers with something unreadable ({type(error).__name__}); check api.base_url"
        status = error.status_code
        return f"{self.host} answers {status}: {self._remedy(status)}"

    def _remedy(self, status: int) -> str:
        if status < 400:
            return "a redirect, which is not followed; put the final address into api.base_url"
        if status in (401, 403):
            entry = self._api.key or "NAME"
            named = f"mend the key {entry!r} in WINNOW_API_KEYS"
            return f"it refuses the key; {named}" if self._has_key else f"it wants a key; set api.key, and {named}"
        if status == 404:
            return f"it has no model {self._model!r}, or no chat interface there; mend model or api.base_url"
        if status == 429:
            return "too many requests, or nothing left on the account; lower api.concurrency or look at the account"
        if status in PASSING or status >= 500:
            return "it failed again and again; see the server's log"
        return (
            "it refuses the request; set api.structure and api.logprobs to what it supports, and see that prompt and "
            "max_document_tokens fit into the model's context"
        )


def _is_of_the_server(error: openai.OpenAIError) -> bool:
    if isinstance(error, openai.APIStatusError):
        return error.status_code < 400 or error.status_code in (401, 403, 404)
    return isinstance(error, openai.APIConnectionError) and type(error.__cause__).__name__ in UNSENT


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        return error.status_code in PASSING or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError)


def _pause(state: RetryCallState) -> float:
    """Seconds to the next attempt: as the server asks, else longer each time, at random."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    try:
        return min(LONGEST_WAIT, max(0.0, float(asked)))
    except ValueError:
        pass
    try:
        return min(LONGEST_WAIT, max(0.0, parsedate_to_datetime(asked).timestamp() - time.time()))
    except ValueError:
        return _backoff(state)
