"""Prompt templates: Jinja files with the blocks ``system``, ``user``, ``question``, and ``example`` if they show some.

The variables, all of them in every block:

- ``codebook``: its ``name``, ``kind``, ``instruction``, ``levels`` and ``codes`` (``key``, ``name``, ``definition``,
  ``word``)
- ``labels``: what may be answered where one question is asked (``key``, ``name``, ``word``)
- ``each_code``: whether one question is asked for each code
- ``document``: the document; must stand once, in ``user``
- ``examples``: the rendered examples, in ``user`` before the document; empty where there are none
- ``code`` and ``answers``: in ``question`` the code asked about (none where one question is asked), the words to answer
- ``example``: in ``example``, its ``text`` and ``label``

A template that begins with ``{% set each_code = true %}`` asks one question for each code of any codebook; the others
do so only where several codes may hold.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

from label_configs.codebook import Codebook, Kind
from label_configs.errors import ConfigError
from ml_backend.questions import Question, questions

TEMPLATES = Path(__file__).parent / "prompt_templates"
MARK, EXAMPLES_MARK = "\ue000document\ue000", "\ue000examples\ue000"  # private use: in no template and no codebook
_EXAMPLE_BLOCK = re.compile(r"{%[-+]?\s*block\s+example\b")
_ENVIRONMENT = SandboxedEnvironment(undefined=jinja2.StrictUndefined)
_VARIABLES = "codebook, labels, each_code, document, examples, code, answers and example"


class Example(Protocol):
    """A verified document as a prompt shows it."""

    @property
    def text(self) -> str:
        """The document, shortened."""

    @property
    def label(self) -> str:
        """The words of its labels."""


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
    return _EXAMPLE_BLOCK.search(_read(name)) is not None


def _read(name: str) -> str:
    path = Path(name) if name.endswith(".j2") else TEMPLATES / f"{name}.j2"
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"prompt {name!r}: not UTF-8; save the file with the encoding UTF-8") from None
    except OSError:
        shipped = ", ".join(shipped_prompts())
        raise ConfigError(f"prompt {name!r}: no such prompt; use one of {shipped}, or the path of a .j2 file") from None


@dataclass(frozen=True)
class PromptTemplate:
    """A template bound to a codebook. Raises ConfigError, at its first use, with the line at fault."""

    name: str
    codebook: Codebook

    @cached_property
    def _template(self) -> jinja2.Template:
        try:
            template = _ENVIRONMENT.from_string(_read(self.name))
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"prompt {self.name!r}:{error.lineno}: {error.message}; mend the template") from None
        for block in ("system", "user", "question"):
            if block not in template.blocks:
                raise ConfigError(
                    f"prompt {self.name!r}: no block {block!r}; add {{% block {block} %}}...{{% endblock %}}"
                )
        return template

    @cached_property
    def _each_code(self) -> bool:
        return self.codebook.kind is not Kind.EXCLUSIVE or (bool(self._template) and _sets_each_code(_read(self.name)))

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What is asked about a document."""
        return questions(self.codebook, each_code=self._each_code)

    def system(self) -> str:
        """The system turn."""
        text = self._render("system")
        if MARK in text or EXAMPLES_MARK in text:
            raise self._misplaced()
        return text

    def user(self, document: str, examples: str = "") -> str:
        """The user's turn up to the question; ``document`` and ``examples`` may be marks to cut the text at."""
        marked = self._render("user", document=MARK, examples=EXAMPLES_MARK)
        before, _, after = marked.partition(MARK)
        if marked.count(MARK) != 1 or marked.count(EXAMPLES_MARK) > 1 or EXAMPLES_MARK in after:
            raise self._misplaced()
        # Replaced in a text that is rendered: a document is never read as a template.
        return before.replace(EXAMPLES_MARK, examples) + document + after

    def question(self, question: Question) -> str:
        """The question, empty where the template asks none in words."""
        text = self._render("question", code=question.code, answers=question.answers)
        if MARK in text or EXAMPLES_MARK in text:
            raise self._misplaced()
        return text

    def examples(self, shown: Sequence[Example]) -> str:
        """The rendered examples, one after the other."""
        return "".join(f"{self._render('example', example=example)}\n\n" for example in shown)

    def _misplaced(self) -> ConfigError:
        return ConfigError(
            f"prompt {self.name!r}: {{{{ document }}}} must stand once in the user block, nowhere else, and "
            "{{ examples }} at most once before it"
        )

    def _render(self, block: str, **more: Any) -> str:
        variables = {
            "codebook": self.codebook, "labels": self.codebook.labels, "each_code": self._each_code,
            "document": MARK, "examples": EXAMPLES_MARK, "code": None, "answers": (), "example": None, **more,
        }  # fmt: skip
        template = self._template
        try:
            return "".join(template.blocks[block](template.new_context(variables))).strip()
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            line = _template_line(template, error)
            raise ConfigError(f"prompt {self.name!r}:{line}: {error}; the variables are {_VARIABLES}") from None


def _sets_each_code(source: str) -> bool:
    assigned = _ENVIRONMENT.parse(source).find_all(nodes.Assign)
    return any(
        isinstance(a.target, nodes.Name) and a.target.name == "each_code" and isinstance(a.node, nodes.Const)
        and a.node.value is True
        for a in assigned
    )  # fmt: skip


def _template_line(template: jinja2.Template, error: Exception) -> int:
    """The line of the template at which rendering failed."""
    frames = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == template.filename
    ]
    return template.get_corresponding_lineno(frames[-1]) if frames and frames[-1] else 1
