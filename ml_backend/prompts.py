"""Codebook + document -> token segments: a prefix that all documents share, and a suffix for each document.

A prompt is a Jinja file with the blocks ``system`` and ``user``. Rendered through the model's chat template it is cut
at the document: what stands before is the prefix (computed once per model, adapter and prompt), what follows is the
tail. The three parts are tokenized apart, so that scoring and training see the same tokens whatever the document.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from label_configs.codebook import Codebook
from label_configs.errors import CodebookError, ConfigError

TEMPLATES = Path(__file__).parent / "prompt_templates"
MARK = "\ue000document\ue000"  # private-use characters: no chat template and no codebook holds them
EXAMPLE_BLOCK = re.compile(r"{%-?\s*block\s+example\b")
PLAIN_CUE = "\nLabel:"


def shipped_prompts() -> tuple[str, ...]:
    """Names of the prompts that come with Winnow."""
    return tuple(sorted(p.stem for p in TEMPLATES.glob("*.j2")))


def prompt_version(name: str) -> str:
    """A prompt's part of a source version: its name, and for a team's own file a digest of its content."""
    if not name.endswith(".j2"):
        return name
    return f"{Path(name).stem}-{hashlib.sha256(_read(name).encode()).hexdigest()[:8]}"


def shows_examples(name: str) -> bool:
    """Whether a prompt shows verified examples: its template has a block ``example``."""
    return EXAMPLE_BLOCK.search(_read(name)) is not None


def _read(name: str) -> str:
    path = Path(name) if name.endswith(".j2") else TEMPLATES / f"{name}.j2"
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"prompt {name!r}: not UTF-8; save the file with the encoding UTF-8") from None
    except OSError:
        shipped = ", ".join(shipped_prompts())
        raise ConfigError(f"prompt {name!r}: no such prompt; use one of {shipped}, or the path of a .j2 file") from None


def _template_line(template: jinja2.Template, error: Exception) -> int:
    """The line of the template at which rendering failed."""
    frames = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == template.filename
    ]
    return template.get_corresponding_lineno(frames[-1]) if frames and frames[-1] else 1


@dataclass(frozen=True)
class Prompt:
    """A prompt bound to a codebook and a tokenizer.

    ``max_document_tokens`` is where a longer document loses its middle: two thirds of the tokens kept are its head, one
    third its tail.
    """

    name: str
    codebook: Codebook
    tokenizer: Any
    max_document_tokens: int = 512

    @cached_property
    def _parts(self) -> tuple[str, str]:
        """Text before and after the document."""
        system, user = self._blocks()
        text = self._chat(system, user)
        if MARK in system or text.count(MARK) != 1:
            raise ConfigError(
                f"prompt {self.name!r}: {{{{ document }}}} must stand once in the user block, nowhere else"
            )
        before, after = text.split(MARK)
        return before, after

    def _blocks(self) -> tuple[str, str]:
        """The rendered blocks ``system`` and ``user``, with a mark for the document."""
        environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined)
        variables = {"codebook": self.codebook, "labels": self.codebook.labels, "document": MARK}
        try:
            template = environment.from_string(_read(self.name))
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"prompt {self.name!r}:{error.lineno}: {error.message}; mend the template") from None
        for block in ("system", "user"):
            if block not in template.blocks:
                raise ConfigError(
                    f"prompt {self.name!r}: no block {block!r}; add {{% block {block} %}}...{{% endblock %}}"
                )
        try:
            context = template.new_context(variables)
            system, user = ("".join(template.blocks[block](context)).strip() for block in ("system", "user"))
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise ConfigError(
                f"prompt {self.name!r}:{_template_line(template, error)}: {error}; "
                "the variables are codebook, labels and document"
            ) from None
        return system, user

    def _chat(self, system: str, user: str) -> str:
        """The prompt as the model's chat template has it, up to where the answer begins."""
        if not getattr(self.tokenizer, "chat_template", None):
            return f"{system}\n\n{user}{PLAIN_CUE}"
        turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        merged = [{"role": "user", "content": f"{system}\n\n{user}"}]
        try:
            try:
                return self._through_template(turns)
            except jinja2.TemplateError:  # Gemma and others know no system turn
                return self._through_template(merged)
        except jinja2.TemplateError as error:
            raise ConfigError(f"prompt {self.name!r}: the model's chat template refuses it ({error})") from None

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
        bos = getattr(self.tokenizer, "bos_token", None)
        ids = self._tokens(self._parts[0])
        needs_bos = bos and not getattr(self.tokenizer, "chat_template", None)
        return [self.tokenizer.bos_token_id, *ids] if needs_bos else ids

    @cached_property
    def _tail_ids(self) -> list[int]:
        return self._tokens(self._parts[1])

    def suffix_ids(self, text: str) -> tuple[list[int], int]:
        """Tokens of the document and the cue to answer, and how many tokens of the document were left out."""
        ids = self._tokens(text, literal=True)
        cut = max(0, len(ids) - self.max_document_tokens)
        if cut:
            tail = self.max_document_tokens // 3
            ids = ids[: self.max_document_tokens - tail] + ids[len(ids) - tail :]
        return ids + self._tail_ids, cut

    @cached_property
    def label_ids(self) -> tuple[tuple[int, ...], ...]:
        """Tokens of each label's word as the model would answer it, in the order of ``codebook.labels``.

        Raises CodebookError where the model cannot tell two words apart.
        """
        lead = "" if getattr(self.tokenizer, "chat_template", None) else " "
        first: dict[tuple[int, ...], str] = {}
        for label in self.codebook.labels:
            ids = tuple(self._tokens(lead + label.word, literal=True))
            if (other := first.setdefault(ids, label.word)) != label.word or not ids:
                raise CodebookError(
                    f"codebook {self.codebook.name}: the model reads the words {other!r} and {label.word!r} alike; "
                    "give one of them another word"
                )
        return tuple(first)
