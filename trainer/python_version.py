"""Which Python Winnow runs on."""

from __future__ import annotations

import sys

from label_configs.errors import EnvironmentFault

OLDEST = (3, 11)


def check_python(version: tuple[int, int, int] = sys.version_info[:3]) -> str:
    """The running Python's version, as ``3.11.9``. Raises EnvironmentFault when it is too old."""
    told = ".".join(str(part) for part in version)
    if version[:2] < OLDEST:
        raise EnvironmentFault(f"Python {told} is too old; make the environment anew with Python 3.11 or newer")
    return told
