"""Codebook + document -> tokens: a prefix that all documents share, the document, and a tree of questions after it.

Rendered through the model's chat template a prompt is cut at the document. What stands before is the prefix (computed
once per model, adapter and prompt); what follows is one tail for each question. The parts are tokenized apart, so that
scoring and training see the same tokens whatever the document.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jinja2

from label_configs.codebook import Codebook
from label_configs.errors import CodebookError, ConfigError
from ml_backend.label_trie import LabelTrie
from ml_backend.questions import Question
from ml_backend.templates import EXAMPLES_MARK, MARK, Example, PromptTemplate
from ml_backend.token_tree import Path, TokenTree

PLAIN_CUES = {True: "\nAnswer:", False: "\nLabel:"}  # by whether the question is about one code

Shots = Sequence[Example] | Callable[[str], Sequence[Example]]


@dataclass(frozen=True)
class Prompt:
    """A prompt bound to a codebook and a tokenizer.

    ``max_document_tokens`` is where a longer document loses its middle: two thirds of the tokens kept are its head, one
    third its tail. ``shots`` are the examples that it shows: the same for every document, then they are a part of the
    prefix, or a function of the document's text.
    """

    name: str
    codebook: Codebook
    tokenizer: Any
    max_document_tokens: int = 512
    shots: Shots = ()

    @cached_property
    def template(self) -> PromptTemplate:
        """The template, bound to the codebook."""
        return PromptTemplate(self.name, self.codebook)

    @property
    def questions(self) -> tuple[Question, ...]:
        """What is asked about each document."""
        return self.template.questions

    @cached_property
    def _parts(self) -> tuple[str, str, str, tuple[str, ...]]:
        """Text before the examples, between these and the document, at its head, and after it for each question.

        Spaces before the document belong to its first word, as tokenizers have it, and so stand at its head.
        """
        system, user = self.template.system(), self.template.user(MARK, EXAMPLES_MARK if self.shots else "")
        texts = [self._chat(system, user, question) for question in self.questions]
        cut = [text.split(MARK) for text in texts]
        if any(len(parts) != 2 or parts[0] != cut[0][0] or not parts[1] for parts in cut):
            raise ConfigError(f"prompt {self.name!r}: the model's chat template moves what precedes the document")
        upto = cut[0][0].rstrip(" ")
        before, _, between = upto.partition(EXAMPLES_MARK)
        return before, between, cut[0][0][len(upto) :], tuple(parts[1] for parts in cut)

    def _chat(self, system: str, user: str, question: Question) -> str:
        """The prompt as the model's chat template has it, up to where the answer begins."""
        asked = self.template.question(question)
        user = f"{user}\n{asked}" if asked else user
        if not self._chats:
            return f"{system}\n\n{user}{PLAIN_CUES[question.code is not None]}"
        turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        merged = [{"role": "user", "content": f"{system}\n\n{user}"}]
        try:
            try:
                return self._through_template(turns)
            except jinja2.TemplateError:  # Gemma and others know no system turn
                return self._through_template(merged)
        except jinja2.TemplateError as error:
            raise ConfigError(f"prompt {self.name!r}: the model's chat template refuses it ({error})") from None

    @property
    def _chats(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def _through_template(self, turns: list[dict[str, str]]) -> str:
        # Models that think aloud would put a thought where the label is read; templates without the switch ignore it.
        return str(
            self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        )

    def _tokens(self, text: str, *, literal: bool = False) -> list[int]:
        """Tokens of ``text``; ``literal`` reads a turn's end that a document quotes as mere characters."""
        found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=literal)
        return list(found["input_ids"])

    @cached_property
    def prefix_ids(self) -> list[int]:
        """Tokens that every document's prompt begins with."""
        ids = self._tokens(self._parts[0])
        if self.shots and not callable(self.shots):
            ids += self._example_ids(self.shots)
        needs_bos = getattr(self.tokenizer, "bos_token", None) and not self._chats
        return [self.tokenizer.bos_token_id, *ids] if needs_bos else ids

    def document_ids(self, text: str) -> tuple[list[int], int]:
        """Tokens of the document, its own examples before it, and how many tokens of the document were left out."""
        ids = self._tokens(self._parts[2] + text, literal=True)
        cut = max(0, len(ids) - self.max_document_tokens)
        if cut:
            tail = self.max_document_tokens // 3
            ids = ids[: self.max_document_tokens - tail] + ids[len(ids) - tail :]
        if not callable(self.shots):
            return ids, cut
        return self._example_ids(self.shots(text)) + ids, cut

    def _example_ids(self, shots: Sequence[Example]) -> list[int]:
        """Tokens of the examples, read literally as the document is, and of what stands between them and it."""
        return self._tokens(self.template.examples(shots), literal=True) + self._tokens(self._parts[1])

    @cached_property
    def tails(self) -> tuple[Path, ...]:
        """For each question the tokens from the document's end to where the answer begins."""
        return tuple(tuple(self._tokens(after)) for after in self._parts[3])

    @cached_property
    def answer_ids(self) -> tuple[tuple[Path, ...], ...]:
        """For each question the tokens of its answers, as the model would give them.

        Raises CodebookError where the model cannot tell two words apart.
        """
        return tuple(self._word_ids(question.answers) for question in self.questions)

    def _word_ids(self, words: Sequence[str]) -> tuple[Path, ...]:
        lead = "" if self._chats else " "
        first: dict[Path, str] = {}
        for word in words:
            ids = tuple(self._tokens(lead + word, literal=True))
            if (other := first.setdefault(ids, word)) != word or not ids:
                raise CodebookError(
                    f"codebook {self.codebook.name}: the model reads the words {other!r} and {word!r} alike; "
                    "give one of them another word"
                )
        return tuple(first)

    @cached_property
    def tries(self) -> tuple[LabelTrie, ...]:
        """For each question the trie of its answers. Raises CodebookError where the model cannot tell them apart."""
        made: dict[tuple[Path, ...], LabelTrie] = {}
        for ids in self.answer_ids:
            if ids not in made:
                made[ids] = self._trie(ids)
        return tuple(made[ids] for ids in self.answer_ids)

    def _trie(self, ids: tuple[Path, ...]) -> LabelTrie:
        try:
            return LabelTrie.build(ids, self.tokenizer.eos_token_id)
        except ValueError as error:
            raise CodebookError(
                f"codebook {self.codebook.name}: the model cannot tell its words apart ({error}); change them"
            ) from None

    @property
    def reads(self) -> list[list[Path]]:
        """For each question the paths after the document at whose ends its branches are read."""
        return [[tail + at for at in trie.branches] for tail, trie in zip(self.tails, self.tries, strict=True)]

    @cached_property
    def tree(self) -> TokenTree:
        """All that is computed after a document."""
        return TokenTree.build(path for paths in self.reads for path in paths)
