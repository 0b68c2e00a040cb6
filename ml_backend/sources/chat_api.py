"""A model behind a server with OpenAI's chat interface, as a source: vLLM, Ollama, llama.cpp, OpenAI."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
from pydantic import SecretStr

from label_configs.codebook import Codebook
from label_configs.errors import ConfigError, ModelError
from label_configs.records import Document, Proposal
from ml_backend.answers import Floats, answer_probabilities
from ml_backend.chat_client import Answer, ChatClient
from ml_backend.chat_run import ChatRun
from ml_backend.prompts import Shots
from ml_backend.questions import Question, label_probabilities
from ml_backend.scoring import CONTENT_FREE
from ml_backend.source_config import Calibration, ChatApi, SourceConfig, Structure, source_problems
from ml_backend.sources.base import ranked
from ml_backend.sources.causal import without_prior
from ml_backend.spending import Ledger, cost
from ml_backend.templates import PromptTemplate

CHARACTERS = 4  # in a token, more or less, in languages with an alphabet
ALTERNATIVES = 20  # the most that OpenAI and vLLM tell of each position
FIELD = "answer"
SPACES = 32  # tokens of white space that a server may put around its JSON
_VALUE = re.compile(rf'"{FIELD}"\s*:\s*"')


@dataclass(frozen=True, slots=True)
class _Request:
    """One question about one document."""

    question: Question
    messages: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Answered:
    """The answers about one document, and what they make of it, ``[labels]``."""

    answers: tuple[Answer, ...]
    probabilities: Floats


class ChatApiSource:
    """Asks a server which label fits, or about each code by itself where several may hold.

    The server is held to the answers by ``api.structure``. Where it gives log-probabilities, they become probabilities
    as in ``ml_backend.answers``; where it does not, its answer is a vote: the label answered gets 1, the others 0.
    Without a tokenizer a token counts as four characters: a document of more than four times ``max_document_tokens``
    loses its middle, and ``truncated`` counts the tokens lost in the same way. Raises ConfigError when built with a
    host that is not this machine and not allowed.
    """

    def __init__(
        self,
        config: SourceConfig,
        version: str,
        codebook: Codebook,
        ledger: Ledger,
        api_key: SecretStr | None = None,
        *,
        shots: Shots = (),
    ) -> None:
        for at, problem in source_problems(config):
            raise ConfigError(f"source {config.name}: {'.'.join(map(str, at))}: {problem}")
        if config.api is None:
            raise ConfigError(f"source {config.name}: api: is missing; add `api: {{base_url: ...}}`")
        self.name = config.name
        self.version = version
        self._config = config
        self._api: ChatApi = config.api
        self._codebook = codebook
        self._template = PromptTemplate(config.prompt, codebook)
        self._shots = shots
        self._client = ChatClient(config, config.api, ledger, api_key)
        self._prior: Floats | None = None

    def propose(self, documents: Sequence[Document]) -> list[Proposal]:
        """One proposal for each document, in order. Raises ModelError when the server fails or the budget is spent.

        ``seconds`` is a document's share of the time that all took, by how long its own answers took.
        """
        proposals = []
        for one in self._made(documents, each=False):
            if isinstance(one, ModelError):
                raise one
            proposals.append(one)
        return proposals

    def propose_each(self, documents: Sequence[Document]) -> list[Proposal | ModelError]:
        """For each document, in order, a proposal, or why there is none: it failed alone, or the server for all."""
        return self._made(documents, each=True)

    def _made(self, documents: Sequence[Document], *, each: bool) -> list[Proposal | ModelError]:
        if not documents:
            return []
        if self._config.calibration is Calibration.CONTEXTUAL and self._prior is None:
            self._prior = self._without_content()
        started = time.perf_counter()
        asked = [self._understood(row) for row in self._answers([d.text for d in documents], each=each)]
        wall = time.perf_counter() - started
        busy = sum(answer.seconds for one in asked if isinstance(one, _Answered) for answer in one.answers)
        return [
            self._proposal(document, one, wall / busy) if isinstance(one, _Answered) else one
            for document, one in zip(documents, asked, strict=True)
        ]

    def _without_content(self) -> Floats:
        """What the model says of documents that say nothing. Raises ModelError."""
        found = []
        for row in self._answers(CONTENT_FREE, each=False):
            one = self._understood(row)
            if isinstance(one, ModelError):
                raise one
            found.append(one.probabilities)
        prior: Floats = np.stack(found).mean(axis=0)
        return prior

    def _understood(self, row: Sequence[Answer] | ModelError) -> _Answered | ModelError:
        """A document's answers with the probabilities ``[labels]`` that they give."""
        if isinstance(row, ModelError):
            return row
        asked = self._template.questions
        try:
            read = [self._read(question, answer)[None] for question, answer in zip(asked, row, strict=True)]
        except ModelError as error:
            return error
        return _Answered(tuple(row), label_probabilities(self._codebook, asked, read)[0])

    def _proposal(self, document: Document, answered: _Answered, wall_share: float) -> Proposal:
        """``wall_share`` is how many seconds passed for each second that answers took."""
        found, answers = answered.probabilities, answered.answers
        if self._prior is not None:
            found = without_prior(self._codebook, found, self._prior)
        tokens, output = sum(a.tokens for a in answers), sum(a.output_tokens for a in answers)
        seconds = wall_share * sum(a.seconds for a in answers)
        return Proposal(
            document.id, self.name, self.version, ranked(self._codebook, found.tolist()), tokens, seconds, output,
            self._shortened(document.text)[1], self._price(tokens, output, seconds),
        )  # fmt: skip

    def _price(self, tokens: int, output_tokens: int, seconds: float) -> float | None:
        price = self._config.price
        return cost(price, tokens, output_tokens) + seconds / 3600 * price.device_hour if price else None

    def _answers(self, texts: Sequence[str], *, each: bool) -> list[list[Answer] | ModelError]:
        """For each text the answers to all questions, or why there are none; see ``ChatRun``."""
        run = ChatRun(self._ask, self._api.concurrency, each=each)
        return run.answers([self._requests(text) for text in texts])

    def _requests(self, text: str) -> list[_Request]:
        """All questions about one document; what they share comes first, so that a server can keep it."""
        shown = self._shots(text) if callable(self._shots) else self._shots
        user = self._template.user(self._shortened(text)[0], self._template.examples(shown))
        system = self._template.system()
        requests = []
        for question in self._template.questions:
            asked = self._template.question(question)
            turns = [("system", system), ("user", f"{user}\n{asked}" if asked else user)]
            if not self._api.system_turn:
                turns = [("user", "\n\n".join(content for _, content in turns))]
            requests.append(_Request(question, tuple({"role": role, "content": content} for role, content in turns)))
        return requests

    def _shortened(self, text: str) -> tuple[str, int]:
        """The document without its middle, two thirds of what is kept its head; and how many tokens were left out."""
        most = CHARACTERS * self._config.max_document_tokens
        if len(text) <= most:
            return text, 0
        tail = most // 3
        return text[: most - tail] + text[len(text) - tail :], -(-(len(text) - most) // CHARACTERS)

    def _ask(self, request: _Request, stopped: Event) -> Answer:
        most_tokens, options = self._held_to(request.question.answers)
        if self._api.logprobs:
            options |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
        return self._client.ask(request.messages, most_tokens, options, stopped)

    def _held_to(self, words: Sequence[str]) -> tuple[int, dict[str, object]]:
        """The most tokens of an answer, a byte being one at worst, and how the server is told to give one of these."""
        longest = max(len(word.encode()) for word in words) + 2
        if self._api.structure is Structure.CHOICE:
            # Models that think aloud would do so before the label; vLLM's templates without the switch ignore it.
            plainly = {"chat_template_kwargs": {"enable_thinking": False}}
            return longest, {"structured_outputs": {"choice": list(words)}, **plainly}
        if self._api.structure is Structure.NONE:
            return longest, {}
        answer = {"type": "string", "enum": list(words)}
        schema = {"type": "object", "properties": {FIELD: answer}, "required": [FIELD], "additionalProperties": False}
        asked = {"type": "json_schema", "json_schema": {"name": FIELD, "strict": True, "schema": schema}}
        return 2 * longest + SPACES, {"response_format": asked}

    def _read(self, question: Question, answer: Answer) -> Floats:
        """Probabilities ``[answers]`` of one question."""
        texts, written = self._texts(question.answers, answer.text.strip())
        found = answer_probabilities([text.encode() for text in texts], written, answer.positions)
        if found is None:
            raise ModelError(
                f"source {self.name}: {self._config.model} answered with none of the codebook's words; set "
                f"api.structure to what {self._client.host} supports (choice or json_schema), and api.logprobs to true "
                "if it has them"
            )
        return found

    def _texts(self, words: Sequence[str], answered: str) -> tuple[list[str], int | None]:
        """How the server writes each of the words, and which of them it wrote, None where it is none."""
        value = _VALUE.search(answered) if self._api.structure is Structure.JSON_SCHEMA else None
        if value is None:
            return list(words), words.index(answered) if answered in words else None
        texts = [answered[: value.end()] + json.dumps(word, ensure_ascii=False)[1:] for word in words]
        return texts, next((i for i, text in enumerate(texts) if answered.startswith(text)), None)
