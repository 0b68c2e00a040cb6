"""Codebook + document -> token segments: a prefix that all documents share, and a suffix for each document.

A prompt is a Jinja file with the blocks ``system`` and ``user``. Rendered through the model's chat template it is cut at the
document: what stands before is the prefix (computed once per model, adapter and prompt), what follows is the tail. The three
parts are tokenized apart, so that scoring and training see the same tokens whatever the document.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from label_configs.codebook import Codebook
from label_configs.errors import ConfigError

TEMPLATES = Path(__file__).parent / "prompt_templates"
MARK = "\ue000document\ue000"  # private-use characters: no chat template and no codebook holds them
PLAIN_CUE = "\nLabel:"


def shipped_prompts() -> tuple[str, ...]:
    """Names of the prompts that come with Winnow."""
    return tuple(sorted(p.stem for p in TEMPLATES.glob("*.j2")))


def prompt_version(name: str) -> str:
    """A prompt's part of a source version: its name, and for a team's own file a digest of its content."""
    if not name.endswith(".j2"):
        return name
    return f"{Path(name).stem}-{hashlib.sha256(_read(name).encode()).hexdigest()[:8]}"


def _read(name: str) -> str:
    path = Path(name) if name.endswith(".j2") else TEMPLATES / f"{name}.j2"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        shipped = ", ".join(shipped_prompts())
        raise ConfigError(f"prompt {name!r}: no such prompt; use one of {shipped}, or the path of a .j2 file") from None


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
        environment = SandboxedEnvironment(trim_blocks=False, undefined=jinja2.StrictUndefined)
        labels = self.codebook.labels
        try:
            template = environment.from_string(_read(self.name))
            context = template.new_context({"codebook": self.codebook, "labels": labels, "document": MARK})
            system, user = ("".join(template.blocks[block](context)).strip() for block in ("system", "user"))
        except KeyError as error:
            raise ConfigError(
                f"prompt {self.name!r}: block {error} is missing; add {{% block system %}} and user"
            ) from None
        except jinja2.TemplateError as error:
            line = getattr(error, "lineno", None)
            raise ConfigError(
                f"prompt {self.name!r}:{line or 1}: {error}; see the variables in the shipped prompts"
            ) from None
        text = self._chat(system, user)
        if text.count(MARK) != 1:
            raise ConfigError(f"prompt {self.name!r}: the user block must contain {{{{ document }}}} exactly once")
        before, after = text.split(MARK)
        return before, after

    def _chat(self, system: str, user: str) -> str:
        if getattr(self.tokenizer, "chat_template", None):
            turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        return f"{system}\n\n{user}{PLAIN_CUE}"

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

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
        ids = self._tokens(text)
        cut = max(0, len(ids) - self.max_document_tokens)
        if cut:
            tail = self.max_document_tokens // 3
            ids = ids[: self.max_document_tokens - tail] + ids[len(ids) - tail :]
        return ids + self._tail_ids, cut

    @cached_property
    def label_ids(self) -> tuple[tuple[int, ...], ...]:
        """Tokens of each label's word as the model would answer it, in the order of ``codebook.labels``."""
        lead = "" if getattr(self.tokenizer, "chat_template", None) else " "
        return tuple(tuple(self._tokens(lead + label.word)) for label in self.codebook.labels)
