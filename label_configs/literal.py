"""Text that Label Studio shows as it is: it would put task data in the place of ``$word`` in headers and choices."""

from __future__ import annotations

import re

_JOINER = "\N{WORD JOINER}"  # takes no room on the page, and is no part of a key of the task's data


def to_literal(text: str) -> str:
    """``text`` for an attribute in which Label Studio looks for keys of the task's data."""
    return re.sub(r"\$(?=[\w\[\].{}])", f"${_JOINER}", text)


def from_literal(text: str) -> str:
    """The text of which ``to_literal`` made this."""
    return text.replace(f"${_JOINER}", "$")
